// A segment that another process exports, as a client gets it.

#pragma once

#include <string>
#include <vector>

#include "base/child_process.h"
#include "wire/framed_socket.h"
#include "wire/segment.h"
#include "wire/unique_fd.h"

namespace modeld::test {

// The exporter lives as long as the object. Externally synchronised.
class ExportedSegment {
 public:
  // `ordinal` counts as the exporter does. Ends the test program when it does not come about.
  static ExportedSegment Vmm(int ordinal, uint64_t size_bytes, uint64_t chunk_bytes);
  static ExportedSegment Ipc(int ordinal, uint64_t size_bytes);

  const wire::SegmentInfo& info() const { return info_; }
  const std::vector<wire::UniqueFd>& fds() const { return fds_; }
  // What the segment holds.
  std::string bytes() const;

  void KillExporter();
  void CloseDescriptors() { fds_.clear(); }

 private:
  ExportedSegment(wire::SegmentInfo info, int ordinal);

  wire::SegmentInfo info_;
  std::vector<wire::UniqueFd> fds_;
  wire::FramedSocket socket_;
  base::ChildProcess exporter_;
};

}  // namespace modeld::test
