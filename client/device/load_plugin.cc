// Plugin::Load: where libmodeld-cuda is looked for, and what is said when it is not there.

#include <dlfcn.h>

#include <atomic>

#include "device/plugin.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::device {
namespace {

constexpr char kSoname[] = MODELD_CUDA_SONAME;
constexpr char kSymbol[] = "modeld_device_plugin";
// NODELETE: CUDA does not survive being unloaded.
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;

absl::Status Missing(const std::string& why) {
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      wire::StrCat("GPUs need ", kSoname, ", which cannot be loaded: ", why), {},
      "install it beside libmodeld, with the CUDA runtime that it names; or use the device host");
}

std::string LoadError() {
  const char* text = dlerror();
  return text != nullptr ? text : "the loader does not say why";
}

// An error in a file that is there says more than that another one is not.
absl::StatusOr<void*> Open(std::span<const std::string> directories) {
  if (void* library = dlopen(kSoname, kFlags | RTLD_NOLOAD)) return library;
  std::string why;
  for (const std::string& directory : directories) {
    const std::string path = wire::StrCat(directory, "/", kSoname);
    if (void* library = dlopen(path.c_str(), kFlags)) return library;
    const std::string error = LoadError();
    if (error.find(wire::StrCat(path, ": cannot open shared object file")) == std::string::npos) {
      why += error + "; ";
    }
  }
  if (void* library = dlopen(kSoname, kFlags)) return library;
  return Missing(why + LoadError());
}

absl::StatusOr<const ModeldDevicePlugin*> FindTable(std::span<const std::string> directories) {
  const auto library = Open(directories);
  if (!library.ok()) return library.status();
  using Function = decltype(&modeld_device_plugin);
  const auto function = reinterpret_cast<Function>(dlsym(*library, kSymbol));
  if (function == nullptr) return Missing(LoadError());
  const ModeldDevicePlugin* table = function();
  if (table->abi != kModeldDeviceAbi) {
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        wire::StrCat("the ", kSoname, " there is, of modeld ", table->release, ", speaks version ",
                     table->abi, " of its interface, this program version ", kModeldDeviceAbi),
        {}, "install the same release of libmodeld and libmodeld-cuda");
  }
  return table;
}

}  // namespace

absl::StatusOr<const Plugin*> Plugin::Load(std::span<const std::string> directories) {
  static std::atomic<const Plugin*> loaded{nullptr};
  if (const Plugin* plugin = loaded.load(std::memory_order_acquire)) return plugin;
  const auto table = FindTable(directories);
  if (!table.ok()) return table.status();
  const Plugin* plugin = new Plugin(**table);
  const Plugin* first = nullptr;
  if (loaded.compare_exchange_strong(first, plugin)) return plugin;
  delete plugin;
  return first;
}

}  // namespace modeld::device
