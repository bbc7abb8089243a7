// A segment as it travels: what is known of it besides its descriptors.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::v1 {
class Segment;
}

namespace modeld::wire {

// Segments are multiples of this, and so are the chunks of one.
inline constexpr uint64_t kSegmentUnitBytes = 2 << 20;
// Of a cudaIpcMemHandle_t.
inline constexpr size_t kIpcHandleBytes = 64;

enum class SegmentKind { kHostMemfd, kCudaVmm, kCudaIpc };

// `memfd`, `vmm` or `ipc`
std::string SegmentKindName(SegmentKind kind);

// As modeld.v1.Segment.
struct SegmentInfo {
  SegmentKind kind = SegmentKind::kHostMemfd;
  uint64_t size_bytes = 0;
  uint32_t page_size_bytes = 0;
  uint64_t chunk_bytes = 0;  // kCudaVmm: of each allocation but the last
  std::string ipc_handle;    // kCudaIpc

  // How many descriptors belong to it: of a memfd, of each chunk, or none.
  size_t descriptor_count() const;
  // Of the chunk whose descriptor is index-th. REQUIRES: kCudaVmm, index < descriptor_count()
  uint64_t chunk_size_bytes(size_t index) const;

  bool operator==(const SegmentInfo&) const = default;
};

void ToProto(const SegmentInfo& info, v1::Segment& message);

// What a peer says of a segment. DATA_LOSS: it makes no sense, or this build does not know the
// kind.
absl::StatusOr<SegmentInfo> SegmentFromProto(const v1::Segment& message);

// Do the descriptors fit? A memfd must be sealed and of that size; of a CUDA allocation only the
// driver can tell. DATA_LOSS says what does not. REQUIRES: fds.size() == info.descriptor_count()
absl::Status CheckDescriptors(const SegmentInfo& info, std::span<const UniqueFd> fds);

}  // namespace modeld::wire
