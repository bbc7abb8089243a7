#include "checkpoint/json_reader.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace modeld::checkpoint {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void AppendUtf8(uint32_t code_point, std::string* out) {
  if (code_point < 0x80) {
    out->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else if (code_point < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    out->push_back(static_cast<char>(0x80 | ((code_point >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    out->push_back(static_cast<char>(0x80 | ((code_point >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((code_point >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code_point & 0x3F)));
  }
}

}  // namespace

size_t JsonReader::NextPosition() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
    ++at_;
  }
  return at_;
}

char JsonReader::Peek() {
  const size_t next = NextPosition();
  return next < text_.size() ? text_[next] : '\0';
}

bool JsonReader::TakeIf(char punctuation) {
  if (Peek() != punctuation || at_ == text_.size()) return false;
  ++at_;
  return true;
}

bool JsonReader::Take(char punctuation) {
  if (TakeIf(punctuation)) return true;
  return Fail(
      at_, absl::StrCat("expected '", std::string(1, punctuation), "' but found ", DescribeNext()));
}

bool JsonReader::OpeningQuote() {
  if (TakeIf('"')) return true;
  return Fail(at_, absl::StrCat("expected a string but found ", DescribeNext()));
}

bool JsonReader::SkipString() { return OpeningQuote() && StringBody(nullptr, nullptr); }

std::optional<std::string_view> JsonReader::String() {
  std::string_view plain;
  std::string unescaped;
  if (!OpeningQuote() || !StringBody(&plain, &unescaped)) return std::nullopt;
  if (plain.data() != nullptr) return plain;
  return unescaped_.emplace_back(std::move(unescaped));
}

bool JsonReader::StringBody(std::string_view* plain, std::string* unescaped) {
  const size_t opening = at_ - 1;
  size_t run = at_;  // start of what is not copied yet
  bool escaped = false;
  for (; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '"') {
      if (!escaped) {
        if (plain != nullptr) *plain = text_.substr(run, at_ - run);
      } else if (unescaped != nullptr) {
        unescaped->append(text_, run, at_ - run);
      }
      ++at_;
      return true;
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      return Fail(at_, "a control character in a string must be escaped");
    }
    if (c != '\\') continue;
    escaped = true;
    if (unescaped != nullptr) unescaped->append(text_, run, at_ - run);
    if (!Escape(unescaped)) return false;
    run = at_;
    --at_;  // the loop steps over the character before `run`
  }
  return Fail(opening, "a string that does not end");
}

// At a backslash; leaves the reader behind the escape.
bool JsonReader::Escape(std::string* unescaped) {
  const size_t backslash = at_++;
  if (at_ == text_.size()) return Fail(backslash, "a string that does not end");
  const char kind = text_[at_++];
  static constexpr std::array<std::pair<char, char>, 8> kSimple = {{{'"', '"'},
                                                                    {'\\', '\\'},
                                                                    {'/', '/'},
                                                                    {'b', '\b'},
                                                                    {'f', '\f'},
                                                                    {'n', '\n'},
                                                                    {'r', '\r'},
                                                                    {'t', '\t'}}};
  for (const auto& [letter, meaning] : kSimple) {
    if (kind != letter) continue;
    if (unescaped != nullptr) unescaped->push_back(meaning);
    return true;
  }
  uint32_t code_point = 0;
  if (kind != 'u' || !FourHexDigits(&code_point)) {
    return Fail(backslash, "an escape that JSON does not know");
  }
  if (code_point >= 0xDC00 && code_point <= 0xDFFF) {
    return Fail(backslash, "half of a surrogate pair");
  }
  if (code_point >= 0xD800 && code_point <= 0xDBFF) {
    uint32_t low = 0;
    if (text_.substr(at_, 2) != "\\u") return Fail(backslash, "half of a surrogate pair");
    at_ += 2;
    if (!FourHexDigits(&low) || low < 0xDC00 || low > 0xDFFF) {
      return Fail(backslash, "half of a surrogate pair");
    }
    code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
  }
  if (unescaped != nullptr) AppendUtf8(code_point, unescaped);
  return true;
}

bool JsonReader::FourHexDigits(uint32_t* unit) {
  if (text_.size() - at_ < 4) return false;
  uint32_t value = 0;
  for (const char c : text_.substr(at_, 4)) {
    value <<= 4;
    if (IsDigit(c)) {
      value |= static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value |= static_cast<uint32_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      value |= static_cast<uint32_t>(c - 'A' + 10);
    } else {
      return false;
    }
  }
  at_ += 4;
  *unit = value;
  return true;
}

std::optional<uint64_t> JsonReader::Unsigned(const char* what) {
  const char first = Peek();
  const size_t start = at_;
  if (first == '-') {
    Fail(start, absl::StrCat(what, " must not be negative"));
    return std::nullopt;
  }
  if (!IsDigit(first)) {
    Fail(start, absl::StrCat(what, " must be a whole number, not ", DescribeNext()));
    return std::nullopt;
  }
  uint64_t value = 0;
  for (; at_ < text_.size() && IsDigit(text_[at_]); ++at_) {
    const auto digit = static_cast<uint64_t>(text_[at_] - '0');
    if (__builtin_mul_overflow(value, uint64_t{10}, &value) ||
        __builtin_add_overflow(value, digit, &value)) {
      Fail(start, absl::StrCat(what, " does not fit 64 bits"));
      return std::nullopt;
    }
  }
  if (first == '0' && at_ - start > 1) {
    Fail(start, "a number must not start with 0");
    return std::nullopt;
  }
  const char next = at_ < text_.size() ? text_[at_] : '\0';
  if (next == '.' || next == 'e' || next == 'E') {
    Fail(start,
         absl::StrCat(what, " must be spelled as a whole number, without fraction or exponent"));
    return std::nullopt;
  }
  return value;
}

bool JsonReader::Literal(std::string_view word) {
  const size_t start = NextPosition();
  if (text_.substr(start, word.size()) != word) {
    return Fail(start, absl::StrCat("expected ", std::string(word), " but found ", DescribeNext()));
  }
  at_ += word.size();
  return true;
}

bool JsonReader::SkipNumber() {
  const size_t start = at_;
  const auto digits = [this] {
    const size_t first = at_;
    while (at_ < text_.size() && IsDigit(text_[at_])) ++at_;
    return at_ - first;
  };
  const auto next_is = [this](char a, char b) {
    return at_ < text_.size() && (text_[at_] == a || text_[at_] == b);
  };
  if (next_is('-', '-')) ++at_;
  const bool zero = next_is('0', '0');
  const size_t whole = digits();
  bool good = whole == 1 || (whole > 1 && !zero);
  if (next_is('.', '.')) {
    ++at_;
    good = digits() > 0 && good;
  }
  if (next_is('e', 'E')) {
    ++at_;
    if (next_is('+', '-')) ++at_;
    good = digits() > 0 && good;
  }
  return good || Fail(start, "a number that JSON does not allow");
}

bool JsonReader::SkipValue() {
  std::array<char, kMaxDepth> closers;  // of the arrays and objects that are open
  size_t depth = 0;
  const auto key = [this] { return SkipString() && Take(':'); };
  while (true) {
    // A value.
    const char c = Peek();
    if (c == '{' || c == '[') {
      if (depth == kMaxDepth) {
        return Fail(at_, absl::StrCat("nested more than ", kMaxDepth, " levels deep"));
      }
      ++at_;
      const char closer = c == '{' ? '}' : ']';
      if (!TakeIf(closer)) {
        closers[depth++] = closer;
        if (closer == '}' && !key()) return false;
        continue;
      }
    } else if (c == '"') {
      if (!SkipString()) return false;
    } else if (c == '-' || IsDigit(c)) {
      if (!SkipNumber()) return false;
    } else if (c == 't' || c == 'f' || c == 'n') {
      if (!Literal(c == 't' ? "true" : c == 'f' ? "false" : "null")) return false;
    } else {
      return Fail(at_, absl::StrCat("expected a value but found ", DescribeNext()));
    }
    // What may follow it.
    while (depth > 0 && TakeIf(closers[depth - 1])) --depth;
    if (depth == 0) return true;
    if (!Take(',')) return false;
    if (closers[depth - 1] == '}' && !key()) return false;
  }
}

bool JsonReader::Fail(size_t position, std::string what) {
  if (error_.empty()) {
    error_ = std::move(what);
    error_position_ = position;
  }
  return false;
}

std::string JsonReader::DescribeNext() {
  if (AtEnd()) return "the end of the header";
  const auto c = static_cast<unsigned char>(text_[at_]);
  if (c > 0x20 && c < 0x7F) return absl::StrCat("'", std::string(1, static_cast<char>(c)), "'");
  return absl::StrCat("byte 0x", absl::Hex(c, absl::kZeroPad2));
}

}  // namespace modeld::checkpoint
