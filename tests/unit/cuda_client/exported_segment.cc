#include "exported_segment.h"

#include <signal.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace modeld::test {

ExportedSegment::ExportedSegment(wire::SegmentInfo info, int ordinal) : info_(std::move(info)) {
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  socket_ = wire::FramedSocket(wire::UniqueFd(ends[0]));
  const wire::UniqueFd theirs(ends[1]);
  auto exporter = base::ChildProcess::Spawn(
      {.path = CUDA_EXPORTER,
       .args = {wire::SegmentKindName(info_.kind), std::to_string(ordinal),
                std::to_string(info_.size_bytes), std::to_string(info_.chunk_bytes)},
       .env = {"CUDA_VISIBLE_DEVICES=0,1", "FAKE_CUDA_FAULTS="},
       .fds = {{theirs.get(), 3}}});
  if (!exporter.ok()) std::abort();
  exporter_ = *std::move(exporter);
  auto frame = socket_.Receive();
  if (!frame.ok()) {
    std::fprintf(stderr, "the exporter says nothing\n");
    std::abort();
  }
  fds_ = std::move(frame->fds);
  if (info_.kind == wire::SegmentKind::kCudaIpc) info_.ipc_handle = frame->payload;
}

ExportedSegment ExportedSegment::Vmm(int ordinal, uint64_t size_bytes, uint64_t chunk_bytes) {
  return {
      {.kind = wire::SegmentKind::kCudaVmm, .size_bytes = size_bytes, .chunk_bytes = chunk_bytes},
      ordinal};
}

ExportedSegment ExportedSegment::Ipc(int ordinal, uint64_t size_bytes) {
  return {{.kind = wire::SegmentKind::kCudaIpc, .size_bytes = size_bytes}, ordinal};
}

std::string ExportedSegment::bytes() const {
  std::string bytes(info_.size_bytes, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i / 4096 + i) % 251);
  return bytes;
}

void ExportedSegment::KillExporter() {
  exporter_.Kill(SIGKILL);
  exporter_.Wait();
}

}  // namespace modeld::test
