// What the environment says (README.md), read once, at the process' first call of CUDA.

#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fake_cudart {

using Uuid = std::array<unsigned char, 16>;

struct DeviceSpec {
  std::string name;  // as nvidia-smi writes it: GPU-8-4-4-4-12 or MIG-8-4-4-4-12, in lower case
  Uuid uuid;
  uint64_t memory_bytes = 0;
};

struct Config {
  std::vector<DeviceSpec> devices;             // FAKE_CUDA_DEVICES
  std::optional<std::string> visible_devices;  // CUDA_VISIBLE_DEVICES
  int driver_version = 0;                      // 0: there is no driver
  bool vmm = true;
  bool peer = false;
  bool poison = false;
  uint64_t context_bytes = 0;
  std::string log_path;
  std::string faults_path;
  pid_t pid = 0;        // of the process that read it
  std::string program;  // its comm
};

// Thread-safe. A value that cannot be read ends the process: the test is wrong.
const Config& GetConfig();

// "GPU-5d7a0a6c-..." to its 16 bytes.
std::optional<Uuid> ParseUuid(const std::string& name);

}  // namespace fake_cudart
