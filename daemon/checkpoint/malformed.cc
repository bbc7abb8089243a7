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
