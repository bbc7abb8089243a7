#include "device/device_name.h"

#include <algorithm>
#include <charconv>

#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::device {
namespace {

constexpr std::string_view kUuidPrefix = "GPU-";
constexpr std::string_view kSlicePrefix = "MIG-";
constexpr std::string_view kOrdinalPrefix = "cuda:";
constexpr size_t kUuidLength = 40;

absl::Status Unknown(std::string_view text) {
  return wire::MakeError(
      wire::Reason::kFieldInvalid, wire::StrCat("\"", wire::ToUtf8(text), "\" is no device"),
      {{"field", "device"}}, "say host, cuda:N, or the UUID of a GPU (GPU-...) or its beginning");
}

bool IsUuidCharacter(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
}

}  // namespace

absl::StatusOr<DeviceName> ParseDeviceName(std::string_view text) {
  if (text == "host") return DeviceName{.kind = DeviceName::Kind::kHost};
  if (text == "cuda") return DeviceName{.kind = DeviceName::Kind::kCurrent};
  if (text.starts_with(kOrdinalPrefix)) {
    const std::string_view digits = text.substr(kOrdinalPrefix.size());
    DeviceName name{.kind = DeviceName::Kind::kOrdinal};
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), name.ordinal);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    if (!whole || digits.front() == '-') return Unknown(text);
    return name;
  }
  if (text.starts_with(kUuidPrefix) && text.size() > kUuidPrefix.size() &&
      text.size() <= kUuidLength) {
    DeviceName name{.kind = DeviceName::Kind::kUuid, .uuid = std::string(text)};
    for (char& c : std::span(name.uuid).subspan(kUuidPrefix.size())) {
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
      if (!IsUuidCharacter(c)) return Unknown(text);
    }
    return name;
  }
  if (text.starts_with(kSlicePrefix)) {
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        wire::StrCat(wire::ToUtf8(text), " is a slice of a GPU (MIG): modeld uses whole GPUs only"),
        {{"device", std::string(wire::ToUtf8(text))}},
        "use host, or switch MIG off on that GPU (nvidia-smi -mig 0)");
  }
  return Unknown(text);
}

absl::StatusOr<std::string> FindUuid(const DeviceName& name, std::span<const std::string> uuids,
                                     std::string_view where) {
  const auto fits = [&](const std::string& uuid) { return uuid.starts_with(name.uuid); };
  const auto found = std::ranges::find_if(uuids, fits);
  if (found == uuids.end()) {
    return wire::MakeError(
        wire::Reason::kDeviceUnavailable,
        wire::StrCat("no GPU ", name.uuid, " ", where, ", but: ", ListUuids(uuids)),
        {{"device", name.uuid}}, "name one of these");
  }
  if (std::ranges::count_if(uuids, fits) > 1) {
    return wire::MakeError(
        wire::Reason::kFieldInvalid,
        wire::StrCat("several GPUs begin with ", name.uuid, ": ", ListUuids(uuids)),
        {{"field", "device"}}, "write more of the UUID");
  }
  return *found;
}

std::string ListUuids(std::span<const std::string> uuids) {
  std::string text;
  for (size_t i = 0; i < uuids.size(); ++i) {
    text += wire::StrCat(i == 0 ? "" : ", ", "cuda:", i, " (", uuids[i], ")");
  }
  return text.empty() ? "none" : text;
}

}  // namespace modeld::device
