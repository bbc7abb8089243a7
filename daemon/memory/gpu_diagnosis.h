// Why CUDA shows no GPU, in words that say what to do about it: the driver's own error is the same
// for a machine without a GPU, for device files that may not be opened, and for a container that
// was started without them.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace modeld::memory {

// A device file of the driver: /dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia0 and on.
struct DeviceFile {
  std::string path;
  bool usable = false;  // this process may read and write it
  uint32_t mode = 0;    // permission bits
  std::string group;    // its name, or its number
};

// What can be seen without CUDA.
struct DriverFacts {
  std::vector<DeviceFile> device_files;  // those that exist
  std::string kernel_module;             // the version of the one that is loaded; empty: none
  bool hides_by_variable = false;        // CUDA_VISIBLE_DEVICES is set
  std::string visible_devices;           // and says this
};

// Of this machine. `root` goes before /dev and /proc.
DriverFacts ReadDriverFacts(const std::string& root = {});

// The ways in which CUDA says that there is nothing.
enum class NoGpu {
  kNoDriver,   // its library, libcuda.so.1, is not there
  kOldDriver,  // or is of an older CUDA than this program
  kNoDevice,   // it finds no device
  kOther       // anything else
};

// One sentence or two for an operator. The versions are as CUDA counts, 13000 for 13.0; `error` is
// what CUDA itself says.
std::string WhyNoGpu(NoGpu kind, uint32_t driver_version, uint32_t runtime_version,
                     const std::string& error, const DriverFacts& facts);

}  // namespace modeld::memory
