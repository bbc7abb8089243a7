#include "fake_cudart/devices.h"

#include <stdlib.h>

#include <algorithm>
#include <cctype>

#include "fake_cudart/faults.h"

namespace fake_cudart {
namespace {

// The entry's position in `all`; -1 ends the list. An entry is a number, of which trailing text is
// ignored, or the beginning of exactly one UUID.
int Resolve(const std::string& entry, const std::vector<Device>& all) {
  if (entry.compare(0, 4, "GPU-") == 0 || entry.compare(0, 4, "MIG-") == 0) {
    int match = -1;
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].name().compare(0, entry.size(), entry) != 0) continue;
      if (match >= 0) return -1;
      match = static_cast<int>(i);
    }
    return match;
  }
  if (entry.empty() || std::isdigit(static_cast<unsigned char>(entry[0])) == 0) return -1;
  const uint64_t number = strtoull(entry.c_str(), nullptr, 10);
  return number < all.size() ? static_cast<int>(number) : -1;
}

std::vector<std::string> Entries(const std::string& list) {
  std::vector<std::string> entries;
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    std::string entry = list.substr(at, comma - at);
    entry.erase(0, std::min(entry.find_first_not_of(' '), entry.size()));
    entry.erase(entry.find_last_not_of(' ') + 1);
    entries.push_back(entry);
    at = comma + 1;
  }
  return entries;
}

// An invalid entry hides itself and all that follow (CUDA programming guide, environment
// variables). One that is repeated hides everything, as is seen with the real one.
std::vector<Device> Select(const std::string& list, const std::vector<Device>& all) {
  std::vector<Device> selected;
  for (const std::string& entry : Entries(list)) {
    const int position = Resolve(entry, all);
    if (position < 0) break;
    const Device& device = all[static_cast<size_t>(position)];
    for (const Device& earlier : selected) {
      if (earlier.index == device.index) return {};
    }
    selected.push_back(device);
  }
  return selected;
}

std::vector<Device> DecideDevices() {
  const Config& config = GetConfig();
  const auto faults = CurrentFaults();
  std::vector<Device> devices;
  for (size_t i = 0; i < config.devices.size(); ++i) {
    if (faults->IsGone(config.devices[i].name)) continue;
    devices.push_back({0, static_cast<int>(i), config.devices[i]});
  }
  if (config.visible_devices) devices = Select(*config.visible_devices, devices);
  for (size_t i = 0; i < devices.size(); ++i) devices[i].ordinal = static_cast<int>(i);
  return devices;
}

}  // namespace

const std::vector<Device>& VisibleDevices() {
  static const std::vector<Device>& devices = *new std::vector<Device>(DecideDevices());
  return devices;
}

const Device& GetDevice(int ordinal) { return VisibleDevices()[static_cast<size_t>(ordinal)]; }

const Device* FindDevice(const Uuid& uuid) {
  for (const Device& device : VisibleDevices()) {
    if (device.spec.uuid == uuid) return &device;
  }
  return nullptr;
}

cudaError_t CheckDevice(int ordinal) {
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= VisibleDevices().size()) {
    return cudaErrorInvalidDevice;
  }
  return CurrentFaults()->IsGone(GetDevice(ordinal).name()) ? cudaErrorDevicesUnavailable
                                                            : cudaSuccess;
}

}  // namespace fake_cudart
