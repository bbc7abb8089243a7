#include "device/plugin.h"

#include <utility>

#include "wire/error.h"
#include "wire/text.h"

namespace modeld::device {
namespace {

// More than any machine has.
constexpr uint32_t kMaxDevices = 256;

absl::Status ToStatus(const ModeldDeviceFailure& failure) {
  const wire::Reason reason = wire::ReasonFromName(failure.reason);
  return wire::MakeError(reason != wire::Reason::kUnknown ? reason : wire::Reason::kInternal,
                         failure.message, {}, failure.hint);
}

}  // namespace

DeviceMapping::DeviceMapping(DeviceMapping&& other) noexcept
    : table_(other.table_),
      mapping_(std::exchange(other.mapping_, nullptr)),
      data_(std::exchange(other.data_, nullptr)) {}

DeviceMapping& DeviceMapping::operator=(DeviceMapping&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(mapping_, other.mapping_);
  std::swap(data_, other.data_);
  return *this;
}

DeviceMapping::~DeviceMapping() {
  if (mapping_ != nullptr) table_->unmap(mapping_);
}

absl::StatusOr<std::vector<std::string>> Plugin::Uuids() const {
  std::vector<ModeldDeviceUuid> found(kMaxDevices);
  uint32_t count = 0;
  ModeldDeviceFailure failure = {};
  if (table_.devices(found.data(), kMaxDevices, &count, &failure) != 0) return ToStatus(failure);
  found.resize(std::min(count, kMaxDevices));
  std::vector<std::string> uuids;
  for (const ModeldDeviceUuid& uuid : found) uuids.emplace_back(uuid.text);
  return uuids;
}

absl::StatusOr<std::string> Plugin::Resolve(const DeviceName& name) const {
  auto uuids = Uuids();
  if (!uuids.ok()) return uuids.status();
  if (name.kind == DeviceName::Kind::kUuid) {
    return FindUuid(name, *uuids, "is visible to this process");
  }
  int32_t ordinal = name.ordinal;
  if (name.kind == DeviceName::Kind::kCurrent) {
    ModeldDeviceFailure failure = {};
    if (table_.current(&ordinal, &failure) != 0) return ToStatus(failure);
  }
  if (static_cast<size_t>(ordinal) < uuids->size()) return (*uuids)[static_cast<size_t>(ordinal)];
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      wire::StrCat("this process has no cuda:", ordinal, ", but: ", ListUuids(*uuids)),
      {{"device", wire::StrCat("cuda:", ordinal)}},
      "an ordinal counts what CUDA_VISIBLE_DEVICES leaves to this process; name one of these");
}

absl::StatusOr<int> Plugin::OrdinalOf(std::string_view uuid) const {
  const auto uuids = Uuids();
  if (!uuids.ok()) return uuids.status();
  for (size_t i = 0; i < uuids->size(); ++i) {
    if ((*uuids)[i] == uuid) return static_cast<int>(i);
  }
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      wire::StrCat("GPU ", uuid, " is not visible to this process, but: ", ListUuids(*uuids)),
      {{"device", std::string(uuid)}}, "look at CUDA_VISIBLE_DEVICES");
}

absl::StatusOr<DeviceMapping> Plugin::Map(const wire::SegmentInfo& info,
                                          std::span<const wire::UniqueFd> fds, int ordinal,
                                          std::optional<int> peer) const {
  std::vector<int32_t> numbers;
  for (const wire::UniqueFd& fd : fds) numbers.push_back(fd.get());
  const ModeldDeviceSegment segment = {
      .kind = info.kind == wire::SegmentKind::kCudaVmm ? kModeldDeviceVmm : kModeldDeviceIpc,
      .size_bytes = info.size_bytes,
      .chunk_bytes = info.chunk_bytes,
      .fds = numbers.data(),
      .fd_count = numbers.size(),
      .ipc_handle = reinterpret_cast<const unsigned char*>(info.ipc_handle.data())};
  ModeldDeviceMapping* mapping = nullptr;
  void* address = nullptr;
  ModeldDeviceFailure failure = {};
  if (table_.map(&segment, ordinal, peer.value_or(-1), &mapping, &address, &failure) != 0) {
    return ToStatus(failure);
  }
  return DeviceMapping(table_, mapping, static_cast<const std::byte*>(address));
}

absl::Status Plugin::CopyToHost(int ordinal, const std::byte* from, std::span<std::byte> to) const {
  ModeldDeviceFailure failure = {};
  const int failed = table_.copy_to_host(ordinal, from, to.data(), to.size(), &failure);
  return failed == 0 ? absl::OkStatus() : ToStatus(failure);
}

}  // namespace modeld::device
