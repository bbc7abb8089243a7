// The GPUs of this process, by way of libmodeld-cuda.so, which is loaded when it is needed.

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "device/device_name.h"
#include "device/plugin_abi.h"
#include "wire/segment.h"
#include "wire/unique_fd.h"

namespace modeld::device {

// A segment in device memory, mapped in this process. Move-only; destroying it waits for what runs
// on the GPU and unmaps. In a forked child that does nothing: the mapping is the parent's.
class DeviceMapping {
 public:
  DeviceMapping(DeviceMapping&& other) noexcept;
  DeviceMapping& operator=(DeviceMapping&& other) noexcept;
  ~DeviceMapping();

  // A device address: the CPU must not read it.
  const std::byte* data() const { return data_; }

 private:
  friend class Plugin;
  DeviceMapping(const ModeldDevicePlugin& table, ModeldDeviceMapping* mapping,
                const std::byte* data)
      : table_(&table), mapping_(mapping), data_(data) {}

  const ModeldDevicePlugin* table_;
  ModeldDeviceMapping* mapping_;  // null: moved from
  const std::byte* data_;
};

// Thread-safe. What the library says (DEVICE_UNAVAILABLE, DEVICE_LOST, BUDGET_EXCEEDED) passes
// through every call.
class Plugin {
 public:
  // The library, loaded once and never unloaded: the one that the program has already, else the
  // first in `directories`, else where the loader looks. DEVICE_UNAVAILABLE when there is none, or
  // one of another release; it is looked for anew at the next call.
  static absl::StatusOr<const Plugin*> Load(std::span<const std::string> directories);

  // REQUIRES: `table` lives as long as the process.
  explicit Plugin(const ModeldDevicePlugin& table) : table_(table) {}

  // UUIDs of the GPUs that this process sees, by ordinal.
  absl::StatusOr<std::vector<std::string>> Uuids() const;
  // The UUID that a name stands for in this process. DEVICE_UNAVAILABLE names what there is.
  // REQUIRES: name.kind != kHost
  absl::StatusOr<std::string> Resolve(const DeviceName& name) const;
  // REQUIRES: a whole UUID.
  absl::StatusOr<int> OrdinalOf(std::string_view uuid) const;

  // Maps a segment in the memory of the GPU `ordinal`, read-only where its kind allows it; for the
  // kernels of `peer`, too. Descriptors are borrowed: the caller closes them.
  // REQUIRES: info and fds fit (wire::CheckDescriptors); not a host segment.
  absl::StatusOr<DeviceMapping> Map(const wire::SegmentInfo& info,
                                    std::span<const wire::UniqueFd> fds, int ordinal,
                                    std::optional<int> peer) const;

  // Copies device memory of the GPU `ordinal` to the host, and waits.
  absl::Status CopyToHost(int ordinal, const std::byte* from, std::span<std::byte> to) const;

 private:
  const ModeldDevicePlugin& table_;
};

}  // namespace modeld::device
