// How a GPU's UUID is spelled wherever it is a device's name. The standard library only, so that
// libmodeld-cuda can have it too.

#pragma once

#include <cstddef>
#include <string>

namespace modeld::wire {

// `GPU-` and 8-4-4-4-12 digits in lower case, as nvidia-smi writes it. `bytes` are CUDA's.
inline std::string GpuUuidText(const char (&bytes)[16]) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xF];
  }
  return text;
}

}  // namespace modeld::wire
