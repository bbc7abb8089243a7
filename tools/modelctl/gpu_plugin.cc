#include "modelctl/gpu_plugin.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace modeld::modelctl {

absl::StatusOr<const device::Plugin*> LoadGpuPlugin() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return device::Plugin::Load({});
  const std::filesystem::path folder = program.parent_path();
  const std::vector<std::string> directories = {folder, folder.parent_path() / MODELD_LIBDIR,
                                                folder.parent_path() / "lib"};
  return device::Plugin::Load(directories);
}

}  // namespace modeld::modelctl
