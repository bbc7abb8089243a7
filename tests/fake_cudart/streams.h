// Streams: a thread each, which does one piece of work after the other, truly beside the caller.

#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/mutex.h"

namespace fake_cudart {

// That a piece of work is done, and since when. Thread-safe.
class Completion {
 public:
  void Finish();
  void Wait();
  bool done();
  // REQUIRES: done().
  std::chrono::steady_clock::time_point when();

 private:
  Mutex mutex_;
  CondVar changed_;
  bool done_ MODELD_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point when_ MODELD_GUARDED_BY(mutex_);
};

using Completions = std::vector<std::shared_ptr<Completion>>;

// Owned by its thread and by whoever uses it; the thread ends once the stream is closed and empty.
// Thread-safe.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  enum class Kind { kLegacy, kBlocking, kNonBlocking };

  Stream(int device, Kind kind) : device_(device), kind_(kind) {}
  void Start();

  int device() const { return device_; }
  Kind kind() const { return kind_; }
  // Of the work that was added last; done when there was none.
  std::shared_ptr<Completion> last();

  // `work` is left out when the context is broken by then; its completion comes all the same.
  std::shared_ptr<Completion> Add(std::function<void()> work, Completions after);
  void Close();

 private:
  struct Item {
    std::function<void()> work;
    Completions after;
    std::shared_ptr<Completion> completion;
  };

  void Run();

  const int device_;
  const Kind kind_;
  Mutex mutex_;
  CondVar changed_;
  bool closed_ MODELD_GUARDED_BY(mutex_) = false;
  std::deque<Item> items_ MODELD_GUARDED_BY(mutex_);
  std::shared_ptr<Completion> last_ MODELD_GUARDED_BY(mutex_);
};

// The process' streams by handle. Work on a device's legacy stream comes after all earlier work on
// its blocking streams and before all later work on them. Thread-safe.
class Streams {
 public:
  static Streams& Get();

  cudaStream_t Create(int device, unsigned int flags);
  // False for a default stream and for what is no stream. Its work is still done.
  bool Destroy(cudaStream_t handle);
  // 0, cudaStreamLegacy and cudaStreamPerThread mean the legacy stream of `current_device`. Null
  // for what is no stream.
  std::shared_ptr<Stream> Find(cudaStream_t handle, int current_device);

  std::shared_ptr<Completion> Add(const std::shared_ptr<Stream>& stream, std::function<void()> work,
                                  Completions after = {});

  // Until all work that was added before is done.
  void Wait(int device);
  void WaitForAll();
  // Waits, and forgets every stream of the device.
  void DestroyAll(int device);

 private:
  std::shared_ptr<Stream> LegacyLocked(int device) MODELD_REQUIRES(mutex_);

  // Held while work is added, so that work only ever waits for what was added before it.
  Mutex mutex_;
  uintptr_t next_handle_ MODELD_GUARDED_BY(mutex_) = 0x5000;
  std::map<cudaStream_t, std::shared_ptr<Stream>> streams_ MODELD_GUARDED_BY(mutex_);
  std::map<int, std::shared_ptr<Stream>> legacy_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace fake_cudart
