#include "fork_guard.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <utility>

namespace modeld::client {

// Slots are reused and never freed: the child's handler walks the list without a lock, and what it
// touches stays.
struct Slot {
  std::atomic<bool> taken{true};
  std::atomic<int> fd{-1};
  std::atomic<uint64_t> inode{0};
  Slot* next = nullptr;  // fixed once it is in the list
};

namespace {

std::atomic<Slot*> g_slots{nullptr};
std::atomic<uint64_t> g_generation{0};
std::atomic<uint64_t> g_forks_started{0};
std::atomic<uint64_t> g_forks_under_way{0};

// 0 for what is no socket.
uint64_t SocketInode(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return 0;
  return status.st_ino;
}

void BeforeFork() {
  // In this order: who reads a new value of the second has the first already.
  g_forks_under_way.fetch_add(1);
  g_forks_started.fetch_add(1);
}

void AfterForkInParent() { g_forks_under_way.fetch_sub(1); }

// Only what is async-signal-safe: the other threads are gone, and with them what they had locked.
void AfterForkInChild() {
  const int saved_errno = errno;
  g_generation.fetch_add(1);
  g_forks_under_way.store(0);
  for (Slot* slot = g_slots.load(); slot != nullptr; slot = slot->next) {
    const int fd = slot->fd.load();
    const uint64_t inode = slot->inode.load();
    if (fd >= 0 && inode != 0 && SocketInode(fd) == inode) close(fd);
    slot->fd.store(-1);
  }
  errno = saved_errno;
}

[[gnu::constructor]] void InstallHandlers() {
  pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
}

Slot* TakeSlot() {
  for (Slot* slot = g_slots.load(); slot != nullptr; slot = slot->next) {
    bool free = false;
    if (slot->taken.compare_exchange_strong(free, true)) return slot;
  }
  auto* slot = new Slot;
  slot->next = g_slots.load();
  while (!g_slots.compare_exchange_weak(slot->next, slot)) {
  }
  return slot;
}

}  // namespace

uint64_t ForkGeneration() { return g_generation.load(std::memory_order_relaxed); }

void LeaveToParent(std::shared_ptr<const void> object) {
  struct Left {
    std::shared_ptr<const void> object;
    Left* next;
  };
  static std::atomic<Left*> all{nullptr};  // reachable, so no leak checker complains
  auto* left = new Left{.object = std::move(object), .next = all.load()};
  while (!all.compare_exchange_weak(left->next, left)) {
  }
}

SocketGuard::SocketGuard(int fd) : slot_(TakeSlot()) {
  slot_->inode.store(SocketInode(fd));
  slot_->fd.store(fd);
}

SocketGuard::~SocketGuard() {
  slot_->fd.store(-1);
  slot_->taken.store(false);
}

ForkWindow::ForkWindow() {
  // A fork of a large process takes milliseconds.
  for (int i = 0; i < 1000 && g_forks_under_way.load() != 0; ++i) usleep(50);
  started_ = g_forks_started.load();
  quiet_ = g_forks_under_way.load() == 0;
}

bool ForkWindow::undisturbed() const { return quiet_ && g_forks_started.load() == started_; }

}  // namespace modeld::client
