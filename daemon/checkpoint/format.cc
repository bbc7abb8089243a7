#include "checkpoint/format.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "checkpoint/read_file.h"
#include "checkpoint/safetensors.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {

absl::StatusOr<ParsedCheckpoint> ParseCheckpoint(std::span<const InputFile> files) {
  static const SafetensorsFormat safetensors;
  static const std::array<const Format*, 1> formats = {&safetensors};

  const InputFile& first = files.front();
  std::array<std::byte, kSniffBytes> buffer = {};
  const auto start = std::span(buffer).first(
      static_cast<size_t>(std::min<uint64_t>(kSniffBytes, first.size_bytes)));
  if (auto status = ReadFully(first, 0, start); !status.ok()) return status;
  for (const Format* format : formats) {
    if (!format->Sniff(first, start)) continue;
    auto table = format->Parse(files);
    if (!table.ok()) return table.status();
    return ParsedCheckpoint{.format = format->name(), .table = *std::move(table)};
  }
  const std::string path = wire::ToUtf8(first.path);
  return wire::MakeError(wire::Reason::kFormatUnsupported,
                         absl::StrCat(path, " is in no format that modeld reads"), {{"file", path}},
                         "convert it to safetensors, and give the file that ending");
}

}  // namespace modeld::checkpoint
