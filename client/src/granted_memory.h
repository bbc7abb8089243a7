// What modeld says of the memory that it has granted, before its descriptors are there.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "modeld/v1/residency_service.pb.h"
#include "wire/segment.h"

namespace modeld::client {

struct GrantedMemory {
  // Can it be as modeld says, and can this library map it? `device` is what was asked for: a lease
  // on any other is refused. PROTOCOL_VIOLATION, kFormatUnsupported.
  static absl::StatusOr<GrantedMemory> From(const v1::Granted& granted, const std::string& device);

  // Of the tensor table, of the reference table if there is one, and of the segments, in this
  // order.
  size_t descriptor_count() const;

  uint64_t table_size_bytes = 0;
  uint64_t reference_table_size_bytes = 0;  // 0: there is none
  std::vector<wire::SegmentInfo> segments;  // all on `device`
};

}  // namespace modeld::client
