#include "fake_cudart/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/process_info.h"

namespace fake_cudart {
namespace {

[[noreturn]] void Refuse(const char* variable, const std::string& value, const char* expected) {
  fprintf(stderr, "fake_cudart: %s: '%s' is not %s: see tests/fake_cudart/README.md\n", variable,
          value.c_str(), expected);
  abort();
}

std::string Variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

uint64_t ParseBytes(const char* variable, const std::string& text) {
  char* end = nullptr;
  const uint64_t number = strtoull(text.c_str(), &end, 10);
  const std::string unit = end;
  if (end != text.c_str()) {
    if (unit.empty()) return number;
    if (unit == "KiB") return number << 10;
    if (unit == "MiB") return number << 20;
    if (unit == "GiB") return number << 30;
  }
  Refuse(variable, text, "a size such as 512MiB");
}

DeviceSpec ParseDevice(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) Refuse("FAKE_CUDA_DEVICES", text, "UUID:SIZE");
  DeviceSpec device;
  const std::string uuid = text.substr(0, colon);
  device.name = uuid.substr(0, 4) + LowerCase(uuid.substr(std::min<size_t>(4, uuid.size())));
  const std::optional<Uuid> parsed = ParseUuid(device.name);
  if (!parsed) Refuse("FAKE_CUDA_DEVICES", uuid, "a UUID such as GPU-8-4-4-4-12 digits");
  device.uuid = *parsed;
  device.memory_bytes = ParseBytes("FAKE_CUDA_DEVICES", text.substr(colon + 1));
  return device;
}

std::vector<DeviceSpec> ParseDevices(const std::string& list) {
  std::vector<DeviceSpec> devices;
  for (size_t at = 0; at < list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    devices.push_back(ParseDevice(list.substr(at, comma - at)));
    at = comma + 1;
  }
  if (devices.size() > 64) Refuse("FAKE_CUDA_DEVICES", list, "a list of at most 64");
  return devices;
}

int ParseDriver(const std::string& text) {
  if (text.empty()) return CUDART_VERSION;
  if (text == "none") return 0;
  char* end = nullptr;
  const long version = strtol(text.c_str(), &end, 10);
  if (*end != '\0' || version < 1000) {
    Refuse("FAKE_CUDA_DRIVER", text, "'none' or a version such as 12040");
  }
  return static_cast<int>(version);
}

bool ParseSwitch(const char* variable, bool otherwise) {
  const std::string text = Variable(variable);
  if (text.empty()) return otherwise;
  if (text != "0" && text != "1") Refuse(variable, text, "0 or 1");
  return text == "1";
}

Config ReadConfig() {
  Config config;
  config.devices = ParseDevices(Variable("FAKE_CUDA_DEVICES"));
  if (const char* visible = getenv("CUDA_VISIBLE_DEVICES")) config.visible_devices = visible;
  config.driver_version = ParseDriver(Variable("FAKE_CUDA_DRIVER"));
  config.vmm = ParseSwitch("FAKE_CUDA_VMM", true);
  config.peer = ParseSwitch("FAKE_CUDA_PEER", false);
  config.poison = ParseSwitch("FAKE_CUDA_POISON", false);
  const std::string context = Variable("FAKE_CUDA_CONTEXT");
  if (!context.empty()) config.context_bytes = ParseBytes("FAKE_CUDA_CONTEXT", context);
  config.log_path = Variable("FAKE_CUDA_LOG");
  config.faults_path = Variable("FAKE_CUDA_FAULTS");
  config.pid = getpid();
  config.program = ProgramName();
  return config;
}

}  // namespace

const Config& GetConfig() {
  static const Config& config = *new Config(ReadConfig());
  return config;
}

std::optional<Uuid> ParseUuid(const std::string& name) {
  if (name.compare(0, 4, "GPU-") != 0 && name.compare(0, 4, "MIG-") != 0) return std::nullopt;
  static constexpr std::array<size_t, 4> kDashes = {8, 13, 18, 23};
  const std::string text = name.substr(4);
  if (text.size() != 36) return std::nullopt;
  Uuid uuid{};
  size_t digits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = std::find(kDashes.begin(), kDashes.end(), i) != kDashes.end();
    const auto c = static_cast<unsigned char>(text[i]);
    if (dash != (c == '-')) return std::nullopt;
    if (dash) continue;
    if (std::isxdigit(c) == 0) return std::nullopt;
    const int value = std::isdigit(c) != 0 ? c - '0' : std::tolower(c) - 'a' + 10;
    uuid[digits / 2] = static_cast<unsigned char>(uuid[digits / 2] << 4 | value);
    ++digits;
  }
  return uuid;
}

}  // namespace fake_cudart
