#include "memory/cuda_ring.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "memory/cuda_status.h"
#include "memory/segment.h"

namespace modeld::memory {
namespace {

constexpr uint64_t kBufferBytes = kMaxWindowBytes + kWindowAlignmentBytes;
constexpr size_t kLeastBuffers = 2;

}  // namespace

struct PinnedRing::Buffer {
  ~Buffer() {
    if (copied != nullptr) (void)cudaEventDestroy(copied);
    if (data != nullptr) (void)cudaFreeHost(data);
  }

  std::byte* data = nullptr;
  cudaEvent_t copied = nullptr;  // of the last copy out of it
};

struct PinnedRing::Streams {
  ~Streams() {
    for (cudaStream_t stream : all) {
      if (stream != nullptr) (void)cudaStreamDestroy(stream);
    }
  }

  std::array<cudaStream_t, 2> all = {};
};

PinnedRing::PinnedRing() : streams_(std::make_unique<Streams>()) {}

PinnedRing::~PinnedRing() { Drain().IgnoreError(); }

absl::StatusOr<std::unique_ptr<PinnedRing>> PinnedRing::Create(uint64_t size_bytes) {
  std::unique_ptr<PinnedRing> ring(new PinnedRing);
  for (cudaStream_t& stream : ring->streams_->all) {
    absl::Status status = CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                                     "making a stream to copy on");
    if (!status.ok()) return status;
  }
  const size_t count = std::max<size_t>(size_bytes / kMaxWindowBytes, kLeastBuffers);
  for (size_t i = 0; i < count; ++i) {
    auto buffer = std::make_unique<Buffer>();
    void* data = nullptr;
    absl::Status status = CudaStatus(
        cudaHostAlloc(&data, kBufferBytes, cudaHostAllocDefault),
        absl::StrCat("locking ", kBufferBytes, " bytes of the host's memory to copy from"));
    buffer->data = static_cast<std::byte*>(data);
    if (status.ok()) {
      status = CudaStatus(
          cudaEventCreateWithFlags(&buffer->copied, cudaEventDisableTiming | cudaEventBlockingSync),
          "making an event");
    }
    if (!status.ok()) return status;
    ring->buffers_.push_back(std::move(buffer));
  }
  wire::MutexLock lock(ring->mutex_);
  for (const auto& buffer : ring->buffers_) ring->free_.push_back(buffer.get());
  return ring;
}

std::byte* PinnedRing::Data(const Buffer& buffer) { return buffer.data; }

absl::StatusOr<PinnedRing::Buffer*> PinnedRing::Take() {
  Buffer* oldest = nullptr;
  {
    wire::MutexLock lock(mutex_);
    while (free_.empty() && copying_.empty()) freed_.Wait(mutex_);
    if (!free_.empty()) {
      Buffer* const buffer = free_.back();
      free_.pop_back();
      return buffer;
    }
    oldest = copying_.front();
    copying_.pop_front();
  }
  absl::Status status =
      CudaStatus(cudaEventSynchronize(oldest->copied), "waiting for a copy to the GPU");
  if (status.ok()) return oldest;
  PutBack(oldest);
  return status;
}

absl::Status PinnedRing::Submit(Buffer* buffer, const std::byte* data, uint64_t size_bytes,
                                void* device_address) {
  absl::Status status;
  {
    // Under the lock, so that the order of copying_ is that of the streams; it only queues.
    wire::MutexLock lock(mutex_);
    cudaStream_t stream = streams_->all[next_stream_++ % streams_->all.size()];
    status = CudaStatus(
        cudaMemcpyAsync(device_address, data, size_bytes, cudaMemcpyHostToDevice, stream),
        "starting a copy to the GPU");
    if (status.ok()) status = CudaStatus(cudaEventRecord(buffer->copied, stream), "marking a copy");
    if (status.ok()) {
      copying_.push_back(buffer);
      freed_.NotifyAll();
    }
  }
  if (!status.ok()) PutBack(buffer);
  return status;
}

void PinnedRing::PutBack(Buffer* buffer) {
  wire::MutexLock lock(mutex_);
  free_.push_back(buffer);
  freed_.NotifyAll();
}

absl::Status PinnedRing::Drain() {
  absl::Status status;
  for (cudaStream_t stream : streams_->all) {
    if (stream == nullptr) continue;
    status.Update(CudaStatus(cudaStreamSynchronize(stream), "waiting for the copies to the GPU"));
  }
  return status;
}

}  // namespace modeld::memory
