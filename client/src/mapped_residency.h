// The memory of a lease in this process.

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "modeld/v1/residency_service.pb.h"
#include "wire/memfd.h"
#include "wire/tensor_table.h"
#include "wire/unique_fd.h"

namespace modeld::client {

// Immutable; unmaps when it is destroyed.
class MappedResidency {
 public:
  // How many descriptors belong to what was granted, and whether this library can map it.
  // PROTOCOL_VIOLATION, kFormatUnsupported.
  static absl::StatusOr<size_t> FdCount(const v1::Granted& granted);

  // Maps what was granted. `fds` are the table's and then the segments', and are closed. Nothing
  // that the peer says of sizes is trusted: the descriptors must be sealed and of that size, and
  // the table must fit the segments. PROTOCOL_VIOLATION, RESOURCE_EXHAUSTED.
  static absl::StatusOr<MappedResidency> Map(const v1::Granted& granted,
                                             std::vector<wire::UniqueFd> fds);

  const wire::TableView& table() const { return table_; }
  const std::byte* data(const wire::TensorEntry& entry) const {
    return segments_[entry.region].data() + entry.offset;
  }

 private:
  MappedResidency() = default;

  wire::Mapping table_bytes_;
  std::vector<wire::Mapping> segments_;
  wire::TableView table_;
};

}  // namespace modeld::client
