// Pinned buffers on their way to a GPU.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/mutex.h"

namespace modeld::memory {

// A bounded number of page-locked buffers, and two streams that copy out of them while others are
// being filled. A copy is never synchronous and never from memory that is not page-locked.
// Thread-safe.
class PinnedRing {
 public:
  struct Buffer;

  // Buffers of kMaxWindowBytes and a page more, as many as fit into `size_bytes`, at least two.
  // kBudgetExceeded: the host cannot lock that much.
  static absl::StatusOr<std::unique_ptr<PinnedRing>> Create(uint64_t size_bytes);
  // REQUIRES: every buffer was submitted or put back. Waits for what is under way.
  ~PinnedRing();

  // A buffer that nobody uses: waits for the oldest copy where there is none. Its address is a
  // multiple of 4096. kDeviceLost.
  absl::StatusOr<Buffer*> Take();
  static std::byte* Data(const Buffer& buffer);
  // Starts the copy of [data, data + size_bytes), which lies in the buffer, to `device_address`;
  // the buffer is free again when that is done. On an error it is free at once.
  absl::Status Submit(Buffer* buffer, const std::byte* data, uint64_t size_bytes,
                      void* device_address);
  void PutBack(Buffer* buffer);

  // Waits until every copy that was submitted before is done. kDeviceLost.
  absl::Status Drain();

 private:
  struct Streams;

  PinnedRing();

  std::unique_ptr<Streams> streams_;
  std::vector<std::unique_ptr<Buffer>> buffers_;

  wire::Mutex mutex_;
  wire::CondVar freed_;
  std::vector<Buffer*> free_ MODELD_GUARDED_BY(mutex_);
  std::deque<Buffer*> copying_ MODELD_GUARDED_BY(mutex_);  // in the order of Submit
  size_t next_stream_ MODELD_GUARDED_BY(mutex_) = 0;
};

}  // namespace modeld::memory
