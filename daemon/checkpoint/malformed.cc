#include "checkpoint/malformed.h"

#include "absl/strings/str_cat.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr size_t kLongestName = 256;

std::string Readable(std::string_view name) {
  std::string text;
  for (const char c : wire::ToUtf8(name.substr(0, kLongestName))) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      absl::StrAppend(&text, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      text.push_back(c);
    }
  }
  if (name.size() > kLongestName) text += "...";
  return text;
}

}  // namespace

size_t FirstInvalidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length > 1 && !wire::IsUtf8(text.substr(i, length))) return i;
    i += length;
  }
  return text.size();
}

std::string Quoted(std::string_view name) { return absl::StrCat("\"", Readable(name), "\""); }

absl::Status Malformed(const std::string& path, uint64_t byte, const std::string& what,
                       std::string_view tensor, const std::string& hint) {
  const std::string file = wire::ToUtf8(path);
  wire::ErrorMetadata metadata = {{"file", file}, {"byte", absl::StrCat(byte)}};
  std::string message = absl::StrCat(file, ": byte ", byte, ": ");
  if (tensor.data() != nullptr) {
    metadata["tensor"] = Readable(tensor);
    absl::StrAppend(&message, "tensor ", Quoted(tensor), ": ");
  }
  absl::StrAppend(&message, what);
  return wire::MakeError(
      wire::Reason::kCheckpointMalformed, message, std::move(metadata),
      hint.empty() ? "the file is damaged or incomplete: download or write it again" : hint);
}

}  // namespace modeld::checkpoint
