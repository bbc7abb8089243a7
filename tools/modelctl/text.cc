#include "modelctl/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/util/time_util.h"

namespace modeld::modelctl {
namespace {

struct CodePoint {
  char32_t value = 0;
  size_t size = 0;  // bytes; 0: not UTF-8
};

// Decodes the character at the start of `text`, which is not empty.
CodePoint Decode(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return {};
  char32_t value = first & (0xFF >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3F);
  }
  static constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest[size] || value > 0x10FFFF || surrogate) return {};
  return {value, size};
}

struct Range {
  char32_t first;
  char32_t last;
};

template <size_t N>
bool In(const std::array<Range, N>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Range& range) { return c >= range.first && c <= range.last; });
}

// Controls (C0, DEL, C1), line and paragraph separators, and those that turn the direction of what
// follows.
constexpr std::array<Range, 6> kUnsafe = {{{0x00, 0x1F},
                                           {0x7F, 0x9F},
                                           {0x200E, 0x200F},
                                           {0x2028, 0x202E},
                                           {0x2066, 0x2069},
                                           {0xFEFF, 0xFEFF}}};

// The common part of Unicode's categories Mn, Me and Cf.
constexpr std::array<Range, 10> kZeroWidth = {{{0x0300, 0x036F},
                                               {0x0483, 0x0489},
                                               {0x0591, 0x05BD},
                                               {0x0610, 0x061A},
                                               {0x064B, 0x065F},
                                               {0x1AB0, 0x1AFF},
                                               {0x1DC0, 0x1DFF},
                                               {0x200B, 0x200D},
                                               {0x20D0, 0x20FF},
                                               {0xFE00, 0xFE0F}}};

// The blocks whose East_Asian_Width is W or F.
constexpr std::array<Range, 12> kDoubleWidth = {{{0x1100, 0x115F},
                                                 {0x2E80, 0x303E},
                                                 {0x3041, 0x33FF},
                                                 {0x3400, 0x4DBF},
                                                 {0x4E00, 0x9FFF},
                                                 {0xA000, 0xA4CF},
                                                 {0xAC00, 0xD7A3},
                                                 {0xF900, 0xFAFF},
                                                 {0xFE30, 0xFE6F},
                                                 {0xFF00, 0xFF60},
                                                 {0x1F300, 0x1FAFF},
                                                 {0x20000, 0x3FFFD}}};

size_t WidthOf(char32_t c) {
  if (In(kZeroWidth, c)) return 0;
  return In(kDoubleWidth, c) ? 2 : 1;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be printed as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string HumanAge(std::chrono::seconds age) {
  const int64_t s = std::max<int64_t>(0, age.count());
  if (s < 60) return absl::StrFormat("%ds", s);
  if (s < 3600) return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  if (s < 86400) return absl::StrFormat("%dh%02dm", s / 3600, s / 60 % 60);
  return absl::StrFormat("%dd%02dh", s / 86400, s / 3600 % 24);
}

std::string Age(const google::protobuf::Timestamp& time,
                std::chrono::system_clock::time_point now) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  const auto then = std::chrono::system_clock::from_time_t(time.seconds());
  return HumanAge(std::chrono::duration_cast<std::chrono::seconds>(now - then));
}

std::string Until(const google::protobuf::Timestamp& time,
                  std::chrono::system_clock::time_point now) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  const auto then = std::chrono::system_clock::from_time_t(time.seconds());
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(then - now);
  return left.count() <= 0 ? "now" : absl::StrCat("in ", HumanAge(left));
}

std::string Rfc3339(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  return google::protobuf::util::TimeUtil::ToString(time);
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    const size_t size = std::max<size_t>(1, c.size);
    if (c.size != 0 && !In(kUnsafe, c.value)) {
      out.append(text.substr(0, size));
    } else {
      for (const char byte : text.substr(0, size)) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(byte));
      }
    }
    text.remove_prefix(size);
  }
  return out;
}

size_t DisplayWidth(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    width += c.size == 0 ? 1 : WidthOf(c.value);
    text.remove_prefix(std::max<size_t>(1, c.size));
  }
  return width;
}

std::string TruncateMiddle(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  if (width == 0) return "";

  struct Piece {
    std::string_view text;
    size_t width;
  };
  std::vector<Piece> pieces;
  for (std::string_view rest = text; !rest.empty();) {
    const CodePoint c = Decode(rest);
    const size_t size = std::max<size_t>(1, c.size);
    pieces.push_back({rest.substr(0, size), c.size == 0 ? 1 : WidthOf(c.value)});
    rest.remove_prefix(size);
  }

  const size_t room = width - 1;  // for the ellipsis
  size_t head_width = 0;
  size_t head = 0;
  while (head < pieces.size() && head_width + pieces[head].width <= room / 2) {
    head_width += pieces[head++].width;
  }
  // The end says more than the beginning: it gets what is left.
  size_t tail_width = 0;
  size_t tail = pieces.size();
  while (tail > head && head_width + tail_width + pieces[tail - 1].width <= room) {
    tail_width += pieces[--tail].width;
  }
  // A combining mark does not stand without its letter.
  while (tail < pieces.size() && pieces[tail].width == 0) ++tail;

  std::string out;
  for (size_t i = 0; i < head; ++i) out.append(pieces[i].text);
  out.append("…");
  for (size_t i = tail; i < pieces.size(); ++i) out.append(pieces[i].text);
  return out;
}

}  // namespace modeld::modelctl
