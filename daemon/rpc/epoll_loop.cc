#include "rpc/epoll_loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <span>
#include <utility>

namespace modeld::rpc {
namespace {

constexpr uint64_t kWakeKey = 0;

}  // namespace

absl::StatusOr<std::shared_ptr<EpollLoop>> EpollLoop::Start(const char* name) {
  wire::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  wire::UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = kWakeKey}};
  if (!epoll.valid() || !wake.valid() ||
      ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot create an event loop");
  }
  std::shared_ptr<EpollLoop> loop(new EpollLoop(std::move(epoll), std::move(wake)));
  // Run() waits for the lock, so that the id is there before a handler can ask for it.
  wire::MutexLock lock(loop->mutex_);
  loop->thread_ = std::thread([loop = loop.get()] { loop->Run(); });
  loop->loop_thread_id_ = loop->thread_.get_id();
  ::pthread_setname_np(loop->thread_.native_handle(), name);
  return loop;
}

EpollLoop::~EpollLoop() { Stop(); }

void EpollLoop::Post(base::Task task) {
  {
    wire::MutexLock lock(mutex_);
    if (stopping_) return;
    tasks_.push_back(std::move(task));
    if (tasks_.size() > 1) return;  // the loop has been woken for the first one
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void EpollLoop::Stop() {
  if (!thread_.joinable()) return;
  std::vector<base::Task> dropped;
  {
    wire::MutexLock lock(mutex_);
    stopping_ = true;
    dropped.swap(tasks_);
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

absl::Status EpollLoop::Watch(uint64_t key, int fd, uint32_t events, Handler handler) {
  epoll_event event = {.events = events, .data = {.u64 = key}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return absl::ResourceExhaustedError("cannot watch one more descriptor");
  }
  handlers_[key] = std::make_shared<const Handler>(std::move(handler));
  return absl::OkStatus();
}

void EpollLoop::Change(uint64_t key, int fd, uint32_t events) {
  epoll_event event = {.events = events, .data = {.u64 = key}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EpollLoop::Remove(uint64_t key, int fd) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  handlers_.erase(key);
}

void EpollLoop::Run() {
  epoll_event events[64];
  while (true) {
    {
      wire::MutexLock lock(mutex_);
      if (stopping_) return;
    }
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events), -1);
    for (const epoll_event& event : std::span(events, count > 0 ? count : 0)) {
      if (event.data.u64 == kWakeKey) {
        RunTasks();
        continue;
      }
      const auto found = handlers_.find(event.data.u64);
      if (found == handlers_.end()) continue;
      const std::shared_ptr<const Handler> handler = found->second;
      (*handler)(event.events);
    }
  }
}

void EpollLoop::RunTasks() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
  std::vector<base::Task> tasks;
  {
    wire::MutexLock lock(mutex_);
    tasks.swap(tasks_);
  }
  for (base::Task& task : tasks) task();
}

}  // namespace modeld::rpc
