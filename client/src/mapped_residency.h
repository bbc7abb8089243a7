// The memory of a lease in this process.

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "device/plugin.h"
#include "granted_memory.h"
#include "wire/memfd.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"
#include "wire/unique_fd.h"

namespace modeld::client {

// Immutable; unmaps when it is destroyed.
class MappedResidency {
 public:
  // Maps what was granted on `device` (`host` or a UUID); for the kernels of the GPU `peer`, too,
  // if that is not empty. `fds` are the tables' and then the segments', and are closed. Nothing
  // that the peer says of sizes is trusted: memfds must be sealed and of that size, of CUDA memory
  // the driver is the judge, and the table must fit the segments. PROTOCOL_VIOLATION,
  // RESOURCE_EXHAUSTED, DEVICE_UNAVAILABLE, DEVICE_LOST. REQUIRES: fds.size() ==
  // granted.descriptor_count()
  static absl::StatusOr<MappedResidency> Map(const GrantedMemory& granted,
                                             std::vector<wire::UniqueFd> fds,
                                             const std::string& device, const std::string& peer);

  const wire::TableView& table() const { return table_; }
  const wire::ReferenceTable& reference_table() const { return reference_table_; }
  // On a GPU: a device address.
  const std::byte* data(const wire::TensorEntry& entry) const {
    return regions_[entry.region] + entry.offset;
  }

 private:
  MappedResidency() = default;

  absl::Status MapOnHost(const GrantedMemory& granted, std::span<const wire::UniqueFd> fds);
  absl::Status MapOnGpu(const GrantedMemory& granted, std::span<const wire::UniqueFd> fds,
                        const std::string& device, const std::string& peer);

  absl::Status MapReferenceTable(const wire::UniqueFd& fd, uint64_t size_bytes);

  wire::Mapping table_bytes_;
  wire::Mapping reference_table_bytes_;
  std::vector<wire::Mapping> host_segments_;
  std::vector<device::DeviceMapping> device_segments_;
  std::vector<const std::byte*> regions_;  // where each segment begins
  wire::TableView table_;
  wire::ReferenceTable reference_table_;
};

}  // namespace modeld::client
