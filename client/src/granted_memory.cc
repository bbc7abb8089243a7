#include "granted_memory.h"

#include "local_devices.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

bool IsKnown(v1::Segment::Kind kind) {
  return v1::Segment::Kind_IsValid(kind) && kind != v1::Segment::KIND_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<GrantedMemory> GrantedMemory::From(const v1::Granted& granted,
                                                  const std::string& device) {
  if (granted.lease_id().empty() || granted.residency_id().empty()) {
    return ProtocolViolation("a lease without an id");
  }
  if (granted.table_size_bytes() == 0) return ProtocolViolation("a lease without a tensor table");
  if (granted.device() != device) {
    return ProtocolViolation(
        wire::StrCat("a lease on ", granted.device(), " where ", device, " was asked for"));
  }
  GrantedMemory memory{.table_size_bytes = granted.table_size_bytes(),
                       .reference_table_size_bytes = granted.reference_table_size_bytes(),
                       .segments = {}};
  for (const v1::Segment& segment : granted.segments()) {
    if (!IsKnown(segment.kind())) {
      return wire::MakeError(wire::Reason::kFormatUnsupported,
                             wire::StrCat("this libmodeld cannot map segments of kind ",
                                          static_cast<int>(segment.kind())),
                             {}, "install a libmodeld of the release of modeld");
    }
    auto info = wire::SegmentFromProto(segment);
    if (!info.ok()) return ProtocolViolation(wire::ToStd(info.status().message()));
    if ((info->kind == wire::SegmentKind::kHostMemfd) != (device == kHost)) {
      return ProtocolViolation(
          wire::StrCat("a segment of kind ", wire::SegmentKindName(info->kind), " on ", device));
    }
    memory.segments.push_back(*std::move(info));
  }
  return memory;
}

size_t GrantedMemory::descriptor_count() const {
  size_t count = reference_table_size_bytes > 0 ? 2 : 1;
  for (const wire::SegmentInfo& segment : segments) count += segment.descriptor_count();
  return count;
}

}  // namespace modeld::client
