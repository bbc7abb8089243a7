#include "base/log_line.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "wire/text.h"

namespace modeld::base {
namespace {

constexpr std::string_view kMessage = "msg=";

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

bool NeedsQuotes(char c) { return IsControl(c) || c == ' ' || c == '"' || c == '=' || c == '\\'; }

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::optional<int> HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return std::nullopt;
}

// Takes a text apart from its front; every function says false where it is not what it looks for.
class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  bool AtEnd() const { return rest_.empty(); }

  bool Take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool TakeKey(std::string& key) { return TakeWhile(IsKeyCharacter, key); }

  bool TakeValue(std::string& value) {
    if (!Take('"')) return TakeWhile([](char c) { return !NeedsQuotes(c); }, value);
    while (!Take('"')) {
      if (AtEnd()) return false;
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c != '\\') {
        value += c;
      } else if (!TakeEscaped(value)) {
        return false;
      }
    }
    return true;
  }

 private:
  template <class Fits>
  bool TakeWhile(Fits fits, std::string& taken) {
    const auto end = std::ranges::find_if_not(rest_, fits);
    taken.assign(rest_.begin(), end);
    rest_.remove_prefix(taken.size());
    return !taken.empty();
  }

  bool TakeEscaped(std::string& value) {
    if (Take('n')) {
      value += '\n';
      return true;
    }
    for (const char c : {'"', '\\'}) {
      if (!Take(c)) continue;
      value += c;
      return true;
    }
    if (!Take('x') || rest_.size() < 2) return false;
    const auto high = HexDigit(rest_[0]);
    const auto low = HexDigit(rest_[1]);
    if (!high || !low) return false;
    value += static_cast<char>(*high * 16 + *low);
    rest_.remove_prefix(2);
    return true;
  }

  std::string_view rest_;
};

}  // namespace

std::string LogTime(WallTime time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(time), absl::UTCTimeZone());
}

std::string QuotedLogValue(std::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (IsControl(c)) {
      quoted += absl::StrFormat("\\x%02x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string LogValue(std::string_view value) {
  const bool is_plain = !value.empty() && std::ranges::none_of(value, NeedsQuotes);
  return is_plain ? std::string(value) : QuotedLogValue(value);
}

std::string LogText(std::string_view message, const LogFields& fields) {
  std::string text = wire::StrCat(kMessage, QuotedLogValue(message));
  for (const auto& [key, value] : fields) text += wire::StrCat(" ", key, "=", LogValue(value));
  return text;
}

bool IsLogText(std::string_view text) { return text.starts_with(kMessage); }

std::optional<ParsedLogFields> ParseLogText(std::string_view text) {
  if (!IsLogText(text)) return std::nullopt;
  ParsedLogFields fields;
  Parser parser(text);
  do {
    std::string key;
    std::string value;
    if (!parser.TakeKey(key) || !parser.Take('=') || !parser.TakeValue(value)) return std::nullopt;
    const auto has_key = [&key](const auto& field) { return field.first == key; };
    if (std::ranges::any_of(fields, has_key)) return std::nullopt;
    fields.emplace_back(std::move(key), std::move(value));
  } while (parser.Take(' '));
  if (!parser.AtEnd()) return std::nullopt;
  return fields;
}

}  // namespace modeld::base
