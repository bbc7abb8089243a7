// JsonLogLine, apart from the rest for the sake of its header.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log_line.h"

namespace modeld::base {
namespace {

bool SharesAKey(const LogFields& head, const ParsedLogFields& fields) {
  return std::ranges::any_of(fields, [&](const auto& field) {
    return std::ranges::any_of(head, [&](const auto& own) { return own.first == field.first; });
  });
}

}  // namespace

std::string JsonLogLine(const LogFields& head, std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  nlohmann::ordered_json line = nlohmann::ordered_json::object();
  for (const auto& [key, value] : head) line[std::string(key)] = value;
  const auto fields = ParseLogText(text);
  if (fields && !SharesAKey(head, *fields)) {
    for (const auto& [key, value] : *fields) line[key] = value;
  } else {
    line["msg"] = std::string(text);
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace modeld::base
