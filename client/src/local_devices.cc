#include "local_devices.h"

#include <dlfcn.h>

#include <vector>

namespace modeld::client {
namespace {

// Where this library itself lies; nothing where the loader does not say.
std::vector<std::string> OwnDirectory() {
  Dl_info info;
  if (dladdr(kHost, &info) == 0 || info.dli_fname == nullptr) return {};
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {};
  return {path.substr(0, slash)};
}

}  // namespace

absl::StatusOr<const device::Plugin*> LoadPlugin() { return device::Plugin::Load(OwnDirectory()); }

absl::StatusOr<std::string> ResolveDevice(const std::string& name) {
  if (name.empty()) return kHost;
  const auto parsed = device::ParseDeviceName(name);
  if (!parsed.ok()) return parsed.status();
  if (parsed->kind == device::DeviceName::Kind::kHost) return kHost;
  const auto plugin = LoadPlugin();
  if (!plugin.ok()) return plugin.status();
  return (*plugin)->Resolve(*parsed);
}

}  // namespace modeld::client
