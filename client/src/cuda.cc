#include "modeld/cuda.h"

#include <cstring>
#include <span>

#include "local_devices.h"
#include "status.h"

namespace modeld::cuda {
namespace {

// Models that are not the library's own may say anything of a host.
constexpr std::string_view kUuidPrefix = "GPU-";

template <class T>
T OrThrow(absl::StatusOr<T> result) {
  if (!result.ok()) client::Throw(result.status());
  return *std::move(result);
}

}  // namespace

std::string DeviceUuid(int ordinal) {
  const device::Plugin* plugin = OrThrow(client::LoadPlugin());
  return OrThrow(plugin->Resolve({.kind = device::DeviceName::Kind::kOrdinal, .ordinal = ordinal}));
}

std::optional<int> Ordinal(const Model& model) {
  if (!model.device().starts_with(kUuidPrefix)) return std::nullopt;
  const device::Plugin* plugin = OrThrow(client::LoadPlugin());
  return OrThrow(plugin->OrdinalOf(model.device()));
}

void CopyToHost(const Model& model, const TensorView& tensor, void* out) {
  const std::optional<int> ordinal = Ordinal(model);
  if (!ordinal) {
    if (tensor.size_bytes > 0) std::memcpy(out, tensor.data, tensor.size_bytes);
    return;
  }
  const device::Plugin* plugin = OrThrow(client::LoadPlugin());
  const absl::Status copied =
      plugin->CopyToHost(*ordinal, static_cast<const std::byte*>(tensor.data),
                         {static_cast<std::byte*>(out), tensor.size_bytes});
  if (!copied.ok()) client::Throw(copied);
}

}  // namespace modeld::cuda
