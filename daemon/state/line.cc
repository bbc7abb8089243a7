#include "state/line.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "wire/text.h"

namespace modeld::state {
namespace {

constexpr size_t kChecksumDigits = 16;
constexpr size_t kTextStart = kChecksumDigits + 1;

std::string ChecksumOf(std::string_view text) {
  return wire::StrCat(absl::Hex(XXH3_64bits(text.data(), text.size()), absl::kZeroPad16));
}

bool IsChecksumDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// Looks like a checksum and the first byte of JSON.
bool SeemsToBegin(std::string_view line) {
  return line.size() > kTextStart && line.substr(kChecksumDigits, 2) == " {" &&
         std::all_of(line.begin(), line.begin() + kChecksumDigits, IsChecksumDigit);
}

}  // namespace

std::string MakeLine(std::string_view text) {
  return wire::StrCat(ChecksumOf(text), " ", text, "\n");
}

std::optional<std::string_view> TextOf(std::string_view line) {
  if (line.size() < kTextStart || line[kChecksumDigits] != ' ') return std::nullopt;
  const std::string_view text = line.substr(kTextStart);
  if (line.substr(0, kChecksumDigits) != ChecksumOf(text)) return std::nullopt;
  return text;
}

std::vector<std::string_view> SplitJoined(std::string_view line) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t blank = line.find(" {"); blank != std::string_view::npos;
       blank = line.find(" {", blank + 1)) {
    if (blank < begin + kTextStart) continue;
    const size_t start = blank - kChecksumDigits;
    if (!SeemsToBegin(line.substr(start))) continue;
    parts.push_back(line.substr(begin, start - 1 - begin));
    begin = start;
  }
  parts.push_back(line.substr(begin));
  return parts;
}

}  // namespace modeld::state
