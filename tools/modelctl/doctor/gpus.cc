#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "modelctl/doctor/checks.h"

namespace modeld::modelctl::doctor {
namespace {

constexpr char kCheck[] = "GPUs";
// For CUDA 12.0, the first with what modeld needs of the driver.
constexpr uint32_t kOldestDriver = 525;

// NVIDIA's display controllers on the PCI bus: those of a machine without a driver too.
size_t GpusOnTheBus(const Machine& machine) {
  size_t count = 0;
  for (const std::string& device : machine.List("/sys/bus/pci/devices")) {
    const std::string directory = absl::StrCat("/sys/bus/pci/devices/", device);
    if (machine.Read(directory + "/vendor").value_or("") == "0x10de" &&
        absl::StartsWith(machine.Read(directory + "/class").value_or(""), "0x03")) {
      ++count;
    }
  }
  return count;
}

// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ...` -> 550
uint32_t DriverOf(const std::string& version) {
  const size_t line = version.find("Kernel Module");
  if (line == std::string::npos) return 0;
  for (const absl::string_view word : absl::StrSplit(version.substr(line), ' ')) {
    uint32_t major = 0;
    const size_t dot = word.find('.');
    if (dot != absl::string_view::npos && absl::SimpleAtoi(word.substr(0, dot), &major)) {
      return major;
    }
  }
  return 0;
}

// nvidia0, nvidia1, ...: one for each GPU.
std::vector<std::string> DeviceFiles(const Machine& machine) {
  std::vector<std::string> files;
  for (const std::string& name : machine.List("/dev")) {
    absl::string_view digits = name;
    if (absl::ConsumePrefix(&digits, "nvidia") && !digits.empty() &&
        std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit)) {
      files.push_back("/dev/" + name);
    }
  }
  return files;
}

void CheckDeviceFiles(const Machine& machine, DoctorReport& report) {
  std::vector<std::string> files = DeviceFiles(machine);
  if (files.empty()) {
    return Bad(report, kCheck, "there is a driver, and no /dev/nvidia0",
               "nvidia-smi makes it; in a container, start that with --gpus all");
  }
  const size_t gpus = files.size();
  for (const char* name : {"/dev/nvidiactl", "/dev/nvidia-uvm"}) files.emplace_back(name);
  bool whole = true;
  for (const std::string& file : files) {
    const auto facts = machine.Look(file);
    if (!facts) {
      Bad(report, kCheck, absl::StrCat(file, " is missing, without which CUDA does not start"),
          "nvidia-modprobe -u -c=0; in a container, start that with --gpus all");
      whole = false;
    } else if (!machine.Permits(*facts, 6)) {
      Bad(report, kCheck, absl::StrCat("you may not open ", file),
          "join the group that owns it (usermod -aG), or see NVreg_DeviceFileMode of the driver");
      whole = false;
    }
  }
  if (whole) Good(report, kCheck, absl::StrCat(gpus, " with their device files"));
}

void CheckAgents(const Patient& patient, DoctorReport& report) {
  size_t gpus = 0;
  for (const v1::Device& device : patient.daemon->devices.devices()) {
    if (device.kind() != v1::Device::CUDA) continue;
    ++gpus;
    if (device.available()) continue;
    Bad(report, "GPU agents",
        absl::StrCat(device.id(), ": ",
                     device.notes().empty() ? "its agent is not there" : device.notes(0)),
        "its own lines in modeld's log say why");
  }
  if (gpus == 0) {
    Warn(report, "GPU agents", "modeld uses none of the GPUs",
         "see `gpus` in modeld --dump-config, CUDA_VISIBLE_DEVICES of the service, and whether "
         "modeld-agent-cuda is installed; modeld's log says why");
  }
}

}  // namespace

void CheckGpus(const Patient& patient, DoctorReport& report) {
  const Machine& machine = patient.machine;
  const auto version = machine.Read("/proc/driver/nvidia/version");
  if (!version) {
    const size_t on_the_bus = GpusOnTheBus(machine);
    if (on_the_bus == 0) return Good(report, kCheck, "none here: models are kept in host memory");
    return Bad(report, kCheck,
               absl::StrCat(on_the_bus, " on the PCI bus, and NVIDIA's driver is not loaded"),
               "modprobe nvidia, or install the driver; gpus = \"none\" in modeld.toml to do "
               "without");
  }
  const uint32_t driver = DriverOf(*version);
  if (driver != 0 && driver < kOldestDriver) {
    Bad(report, kCheck, absl::StrCat("the driver is ", driver, ", older than CUDA 12.0"),
        absl::StrCat("install ", kOldestDriver, " or newer"));
  }
  CheckDeviceFiles(machine, report);
  if (!machine.Exists("/run/nvidia-persistenced/socket")) {
    Warn(report, "GPU persistence",
         "nvidia-persistenced does not run: memory that no process uses may go with the driver's "
         "state, and the first use of a GPU takes seconds",
         "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1");
  }
  if (patient.daemon) CheckAgents(patient, report);
}

}  // namespace modeld::modelctl::doctor
