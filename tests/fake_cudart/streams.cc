#include "fake_cudart/streams.h"

#include <signal.h>

#include <thread>
#include <utility>

#include "fake_cudart/contexts.h"

namespace fake_cudart {
namespace {

// Signals are the program's: its own threads get them.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

void Completion::Finish() {
  MutexLock lock(mutex_);
  done_ = true;
  when_ = std::chrono::steady_clock::now();
  changed_.NotifyAll();
}

void Completion::Wait() {
  MutexLock lock(mutex_);
  while (!done_) changed_.Wait(mutex_);
}

bool Completion::done() {
  MutexLock lock(mutex_);
  return done_;
}

std::chrono::steady_clock::time_point Completion::when() {
  MutexLock lock(mutex_);
  return when_;
}

void Stream::Start() {
  {
    MutexLock lock(mutex_);
    last_ = std::make_shared<Completion>();
    last_->Finish();
  }
  // Detached: it is allowed to run until the process ends, and joined by nobody's destructor.
  const BlockedSignals blocked;
  std::thread([self = shared_from_this()] { self->Run(); }).detach();
}

std::shared_ptr<Completion> Stream::last() {
  MutexLock lock(mutex_);
  return last_;
}

std::shared_ptr<Completion> Stream::Add(std::function<void()> work, Completions after) {
  auto completion = std::make_shared<Completion>();
  MutexLock lock(mutex_);
  items_.push_back({std::move(work), std::move(after), completion});
  last_ = completion;
  changed_.NotifyAll();
  return completion;
}

void Stream::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  changed_.NotifyAll();
}

void Stream::Run() {
  for (;;) {
    Item item;
    {
      MutexLock lock(mutex_);
      while (items_.empty() && !closed_) changed_.Wait(mutex_);
      if (items_.empty()) return;
      item = std::move(items_.front());
      items_.pop_front();
    }
    for (const auto& earlier : item.after) earlier->Wait();
    if (item.work && Contexts::Get().ErrorOf(device_) == cudaSuccess) item.work();
    item.work = nullptr;
    item.completion->Finish();
  }
}

Streams& Streams::Get() {
  static Streams& streams = *new Streams;
  return streams;
}

cudaStream_t Streams::Create(int device, unsigned int flags) {
  auto stream = std::make_shared<Stream>(device, (flags & cudaStreamNonBlocking) != 0
                                                     ? Stream::Kind::kNonBlocking
                                                     : Stream::Kind::kBlocking);
  stream->Start();
  MutexLock lock(mutex_);
  next_handle_ += 0x10;
  auto* handle = reinterpret_cast<cudaStream_t>(next_handle_);
  streams_[handle] = std::move(stream);
  return handle;
}

bool Streams::Destroy(cudaStream_t handle) {
  MutexLock lock(mutex_);
  const auto found = streams_.find(handle);
  if (found == streams_.end()) return false;
  found->second->Close();
  streams_.erase(found);
  return true;
}

std::shared_ptr<Stream> Streams::LegacyLocked(int device) {
  std::shared_ptr<Stream>& stream = legacy_[device];
  if (stream == nullptr) {
    stream = std::make_shared<Stream>(device, Stream::Kind::kLegacy);
    stream->Start();
  }
  return stream;
}

std::shared_ptr<Stream> Streams::Find(cudaStream_t handle, int current_device) {
  MutexLock lock(mutex_);
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread) {
    return LegacyLocked(current_device);
  }
  const auto found = streams_.find(handle);
  return found == streams_.end() ? nullptr : found->second;
}

std::shared_ptr<Completion> Streams::Add(const std::shared_ptr<Stream>& stream,
                                         std::function<void()> work, Completions after) {
  MutexLock lock(mutex_);
  if (stream->kind() == Stream::Kind::kLegacy) {
    for (const auto& [handle, other] : streams_) {
      if (other->device() == stream->device() && other->kind() == Stream::Kind::kBlocking) {
        after.push_back(other->last());
      }
    }
  } else if (stream->kind() == Stream::Kind::kBlocking) {
    const auto legacy = legacy_.find(stream->device());
    if (legacy != legacy_.end()) after.push_back(legacy->second->last());
  }
  return stream->Add(std::move(work), std::move(after));
}

void Streams::Wait(int device) {
  Completions last;
  {
    MutexLock lock(mutex_);
    for (const auto& [handle, stream] : streams_) {
      if (stream->device() == device) last.push_back(stream->last());
    }
    const auto legacy = legacy_.find(device);
    if (legacy != legacy_.end()) last.push_back(legacy->second->last());
  }
  for (const auto& completion : last) completion->Wait();
}

void Streams::WaitForAll() {
  Completions last;
  {
    MutexLock lock(mutex_);
    for (const auto& [handle, stream] : streams_) last.push_back(stream->last());
    for (const auto& [device, stream] : legacy_) last.push_back(stream->last());
  }
  for (const auto& completion : last) completion->Wait();
}

void Streams::DestroyAll(int device) {
  Completions last;
  {
    MutexLock lock(mutex_);
    for (auto it = streams_.begin(); it != streams_.end();) {
      if (it->second->device() != device) {
        ++it;
        continue;
      }
      last.push_back(it->second->last());
      it->second->Close();
      it = streams_.erase(it);
    }
    const auto legacy = legacy_.find(device);
    if (legacy != legacy_.end()) {
      last.push_back(legacy->second->last());
      legacy->second->Close();
      legacy_.erase(legacy);
    }
  }
  for (const auto& completion : last) completion->Wait();
}

}  // namespace fake_cudart
