#include "memory/gpu_diagnosis.h"

#include <dirent.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace modeld::memory {
namespace {

// nvidiactl, nvidia-uvm, nvidia0; not nvidia-modeset, which CUDA does not need.
bool IsOfCuda(const std::string& name) {
  if (name == "nvidiactl" || name == "nvidia-uvm") return true;
  constexpr size_t kStem = 6;
  return name.starts_with("nvidia") && name.size() > kStem &&
         std::all_of(name.begin() + kStem, name.end(), absl::ascii_isdigit);
}

std::string GroupName(gid_t id) {
  char buffer[4096];
  group entry = {};
  group* found = nullptr;
  if (::getgrgid_r(id, &entry, buffer, sizeof(buffer), &found) == 0 && found != nullptr) {
    return found->gr_name;
  }
  return absl::StrCat(id);
}

std::vector<DeviceFile> ReadDeviceFiles(const std::string& folder) {
  std::vector<DeviceFile> files;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), ::closedir);
  if (directory == nullptr) return files;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (!IsOfCuda(entry->d_name)) continue;
    DeviceFile file;
    file.path = absl::StrCat(folder, "/", entry->d_name);
    struct stat info = {};
    if (::stat(file.path.c_str(), &info) != 0) continue;
    file.usable = ::access(file.path.c_str(), R_OK | W_OK) == 0;
    file.mode = info.st_mode & 0777;
    file.group = GroupName(info.st_gid);
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end(),
            [](const DeviceFile& a, const DeviceFile& b) { return a.path < b.path; });
  return files;
}

// /proc/driver/nvidia/version: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun
// ...".
std::string ReadKernelModule(const std::string& path) {
  std::ifstream lines(path);
  std::string line;
  if (!std::getline(lines, line)) return {};
  const size_t dot = line.find('.');
  if (dot == std::string::npos) return "of unknown version";
  const size_t begin = line.find_last_of(" \t", dot) + 1;
  return line.substr(begin, line.find_first_of(" \t", dot) - begin);
}

std::string CudaVersion(uint32_t version) {
  return absl::StrCat("CUDA ", version / 1000, ".", version % 1000 / 10);
}

std::string WhyNoDevice(const DriverFacts& facts) {
  if (facts.hides_by_variable) {
    return absl::StrCat("CUDA_VISIBLE_DEVICES=", facts.visible_devices,
                        " in modeld's environment hides all GPUs from it: unset it");
  }
  for (const DeviceFile& file : facts.device_files) {
    if (file.usable) continue;
    return absl::StrFormat(
        "modeld may not use %s (mode %04o, group %s): run it as a user of that group, and allow "
        "the "
        "device in its unit (DeviceAllow=)",
        file.path, file.mode, file.group);
  }
  if (!facts.device_files.empty()) {
    return absl::StrCat("the driver finds no GPU that works, although there is ",
                        facts.device_files.front().path, ": see nvidia-smi and dmesg");
  }
  if (!facts.kernel_module.empty()) {
    return absl::StrCat("the kernel module ", facts.kernel_module,
                        " is loaded, but there is no /dev/nvidiactl: nvidia-modprobe makes it; a "
                        "container gets it with --gpus all");
  }
  return "the driver's library is there, but neither its kernel module nor /dev/nvidiactl: load it "
         "(modprobe nvidia), and see nvidia-smi; a container gets the GPUs with --gpus all";
}

}  // namespace

DriverFacts ReadDriverFacts(const std::string& root) {
  DriverFacts facts;
  facts.device_files = ReadDeviceFiles(root + "/dev");
  facts.kernel_module = ReadKernelModule(root + "/proc/driver/nvidia/version");
  if (const char* visible = ::getenv("CUDA_VISIBLE_DEVICES")) {
    facts.hides_by_variable = true;
    facts.visible_devices = visible;
  }
  return facts;
}

std::string WhyNoGpu(NoGpu kind, uint32_t driver_version, uint32_t runtime_version,
                     const std::string& error, const DriverFacts& facts) {
  switch (kind) {
    case NoGpu::kNoDriver:
      return facts.device_files.empty() && facts.kernel_module.empty()
                 ? "there is no NVIDIA driver (no libcuda.so.1): install one to use GPUs"
                 : "there are device files of an NVIDIA driver, but its library libcuda.so.1 is "
                   "not "
                   "found: install the package that has it (libcuda1, libnvidia-compute)";
    case NoGpu::kOldDriver:
      return absl::StrCat(
          "the driver is too old: it supports ", CudaVersion(driver_version),
          ", and modeld-agent-cuda needs one for ", CudaVersion(runtime_version / 1000 * 1000),
          " or newer: update it, or use a modeld that is built with an older toolkit");
    case NoGpu::kNoDevice:
      return WhyNoDevice(facts);
    case NoGpu::kOther:
      break;
  }
  return absl::StrCat("CUDA cannot be used: ", error, "; ", WhyNoDevice(facts));
}

}  // namespace modeld::memory
