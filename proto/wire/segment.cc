#include "wire/segment.h"

#include <algorithm>

#include "modeld/v1/types.pb.h"
#include "wire/memfd.h"
#include "wire/text.h"

namespace modeld::wire {
namespace {

// More would not fit one frame, and no GPU has more memory than the smallest chunks of this many.
constexpr uint64_t kMaxChunks = 200;

absl::Status Unbelievable(std::string_view what) {
  return absl::DataLossError(ToAbsl(StrCat("a segment that makes no sense: ", what)));
}

}  // namespace

std::string SegmentKindName(SegmentKind kind) {
  switch (kind) {
    case SegmentKind::kHostMemfd:
      return "memfd";
    case SegmentKind::kCudaVmm:
      return "vmm";
    case SegmentKind::kCudaIpc:
      return "ipc";
  }
  return "";
}

size_t SegmentInfo::descriptor_count() const {
  switch (kind) {
    case SegmentKind::kHostMemfd:
      return 1;
    case SegmentKind::kCudaVmm:
      return (size_bytes + chunk_bytes - 1) / chunk_bytes;
    case SegmentKind::kCudaIpc:
      return 0;
  }
  return 0;
}

uint64_t SegmentInfo::chunk_size_bytes(size_t index) const {
  return std::min(chunk_bytes, size_bytes - index * chunk_bytes);
}

void ToProto(const SegmentInfo& info, v1::Segment& message) {
  switch (info.kind) {
    case SegmentKind::kHostMemfd:
      message.set_kind(v1::Segment::HOST_MEMFD);
      break;
    case SegmentKind::kCudaVmm:
      message.set_kind(v1::Segment::CUDA_VMM);
      break;
    case SegmentKind::kCudaIpc:
      message.set_kind(v1::Segment::CUDA_IPC);
      break;
  }
  message.set_size_bytes(info.size_bytes);
  message.set_page_size_bytes(info.page_size_bytes);
  message.set_chunk_bytes(info.chunk_bytes);
  message.set_ipc_handle(info.ipc_handle);
}

absl::StatusOr<SegmentInfo> SegmentFromProto(const v1::Segment& message) {
  SegmentInfo info;
  info.size_bytes = message.size_bytes();
  info.page_size_bytes = message.page_size_bytes();
  info.chunk_bytes = message.chunk_bytes();
  info.ipc_handle = message.ipc_handle();
  if (info.size_bytes == 0 || info.size_bytes % kSegmentUnitBytes != 0) {
    return Unbelievable(StrCat("it has ", info.size_bytes, " bytes"));
  }
  switch (message.kind()) {
    case v1::Segment::HOST_MEMFD:
      info.kind = SegmentKind::kHostMemfd;
      return info;
    case v1::Segment::CUDA_VMM:
      info.kind = SegmentKind::kCudaVmm;
      if (info.chunk_bytes == 0 || info.chunk_bytes % kSegmentUnitBytes != 0 ||
          (info.size_bytes - 1) / info.chunk_bytes >= kMaxChunks) {
        return Unbelievable(
            StrCat(info.size_bytes, " bytes in chunks of ", info.chunk_bytes, " bytes"));
      }
      return info;
    case v1::Segment::CUDA_IPC:
      info.kind = SegmentKind::kCudaIpc;
      if (info.ipc_handle.size() != kIpcHandleBytes) {
        return Unbelievable(StrCat("an IPC handle of ", info.ipc_handle.size(), " bytes"));
      }
      return info;
    default:
      return Unbelievable(
          StrCat("its kind, ", static_cast<int>(message.kind()), ", is not known to this build"));
  }
}

absl::Status CheckDescriptors(const SegmentInfo& info, std::span<const UniqueFd> fds) {
  for (const UniqueFd& fd : fds) {
    if (!fd.valid()) return Unbelievable("a descriptor is missing");
  }
  return info.kind == SegmentKind::kHostMemfd ? CheckSealed(fds[0].get(), info.size_bytes)
                                              : absl::OkStatus();
}

}  // namespace modeld::wire
