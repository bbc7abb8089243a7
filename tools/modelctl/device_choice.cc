#include "modelctl/device_choice.h"

#include <algorithm>
#include <vector>

#include "device/device_name.h"
#include "modelctl/call.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

using device::DeviceName;

constexpr char kHost[] = "host";
constexpr char kSeeDevices[] = "modelctl devices";

struct Gpu {
  uint32_t index;
  std::string uuid;
};

std::vector<Gpu> Gpus(const v1::ListDevicesResponse& reply) {
  std::vector<Gpu> gpus;
  for (const v1::Device& device : reply.devices()) {
    if (device.kind() == v1::Device::CUDA) gpus.push_back({device.index(), device.id()});
  }
  std::ranges::sort(gpus, {}, &Gpu::index);
  return gpus;
}

absl::Status NoSuchGpu(const std::string& name, const std::vector<Gpu>& gpus) {
  std::string there;
  for (const Gpu& gpu : gpus) {
    there += wire::StrCat(there.empty() ? "" : ", ", "cuda:", gpu.index, " (", gpu.uuid, ")");
  }
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      wire::StrCat("modeld has no ", name, there.empty() ? " and no other GPU" : ", but: ", there),
      {{"device", name}}, kSeeDevices);
}

}  // namespace

absl::StatusOr<std::string> ChooseDevice(Environment& environment, const std::string& name) {
  if (name.empty()) return kHost;
  const auto parsed = device::ParseDeviceName(name);
  if (!parsed.ok()) return parsed.status();
  if (parsed->kind == DeviceName::Kind::kHost) return kHost;
  if (parsed->kind == DeviceName::Kind::kCurrent) {
    return wire::MakeError(wire::Reason::kFieldInvalid, "cuda is the current device of a worker",
                           {{"field", "device"}}, "say which GPU: cuda:0; see modelctl devices");
  }
  const auto reply =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::ListDevices, {});
  if (!reply.ok()) return reply.status();
  const std::vector<Gpu> gpus = Gpus(*reply);
  if (parsed->kind == DeviceName::Kind::kUuid) {
    std::vector<std::string> uuids;
    for (const Gpu& gpu : gpus) uuids.push_back(gpu.uuid);
    if (uuids.empty()) return NoSuchGpu(name, gpus);
    return device::FindUuid(*parsed, uuids, "is one of modeld's");
  }
  const auto found = std::ranges::find(gpus, static_cast<uint32_t>(parsed->ordinal), &Gpu::index);
  if (found == gpus.end()) return NoSuchGpu(name, gpus);
  return found->uuid;
}

}  // namespace modeld::modelctl
