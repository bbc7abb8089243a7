// A setting that holds for all GPUs, with exceptions.

#pragma once

#include <map>
#include <string>

namespace modeld::app {

template <class T>
struct PerGpu {
  T common;
  std::map<std::string, T> by_uuid;  // `GPU-...`

  const T& For(const std::string& uuid) const {
    const auto own = by_uuid.find(uuid);
    return own != by_uuid.end() ? own->second : common;
  }

  bool operator==(const PerGpu&) const = default;
};

}  // namespace modeld::app
