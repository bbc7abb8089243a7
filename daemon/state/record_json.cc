#include "state/record_json.h"

#include "state/escape.h"

namespace modeld::state {

void MembersWriter::Text(const char* name, std::string_view bytes) {
  if (!bytes.empty()) object_[name] = Escape(bytes);
}

void MembersWriter::Texts(const char* name, const std::vector<std::string>& list) {
  if (list.empty()) return;
  Json& array = object_[name] = Json::array();
  for (const std::string& bytes : list) array.push_back(Escape(bytes));
}

void MembersWriter::Flag(const char* name, bool value) {
  if (value) object_[name] = true;
}

void MembersWriter::Number(const char* name, uint64_t value) {
  if (value != 0) object_[name] = value;
}

void MembersWriter::Time(const char* name, base::WallTime time) {
  object_[name] = std::chrono::nanoseconds(time.time_since_epoch()).count();
}

void MembersWriter::Duration(const char* name, std::optional<base::Duration> duration) {
  if (duration) object_[name] = duration->count();
}

const Json* Members::Find(const char* name) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(name);
  return found != object_.end() ? &*found : nullptr;
}

std::string Members::TextOf(const Json& value) {
  const auto* const text = value.get_ptr<const std::string*>();
  std::optional<std::string> bytes = text != nullptr ? Unescape(*text) : std::nullopt;
  if (!bytes) ok_ = false;
  return std::move(bytes).value_or("");
}

std::string Members::Text(const char* name) {
  const Json* const value = Find(name);
  return value != nullptr ? TextOf(*value) : std::string();
}

std::vector<std::string> Members::Texts(const char* name) {
  std::vector<std::string> list;
  const Json* const value = Find(name);
  if (value == nullptr) return list;
  if (!value->is_array()) ok_ = false;
  for (const Json& element : *value) list.push_back(TextOf(element));
  return list;
}

bool Members::Flag(const char* name) {
  const Json* const value = Find(name);
  if (value == nullptr) return false;
  const auto* const flag = value->get_ptr<const bool*>();
  if (flag == nullptr) ok_ = false;
  return flag != nullptr && *flag;
}

uint64_t Members::Unsigned64(const char* name) {
  const Json* const value = Find(name);
  if (value == nullptr) return 0;
  const auto* const number = value->get_ptr<const uint64_t*>();
  if (number == nullptr) ok_ = false;
  return number != nullptr ? *number : 0;
}

std::optional<int64_t> Members::Signed64(const char* name) {
  const Json* const value = Find(name);
  if (value == nullptr) return std::nullopt;
  // Of a number that is not negative: the parser has both kinds.
  const auto* const plain = value->get_ptr<const uint64_t*>();
  if (plain != nullptr && *plain <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return static_cast<int64_t>(*plain);
  }
  const auto* const number = plain == nullptr ? value->get_ptr<const int64_t*>() : nullptr;
  if (number == nullptr) ok_ = false;
  return number != nullptr ? std::optional<int64_t>(*number) : std::nullopt;
}

base::WallTime Members::Time(const char* name) {
  return base::WallTime(std::chrono::nanoseconds(Signed64(name).value_or(0)));
}

std::optional<base::Duration> Members::Duration(const char* name) {
  const std::optional<int64_t> nanos = Signed64(name);
  return nanos ? std::optional<base::Duration>(*nanos) : std::nullopt;
}

}  // namespace modeld::state
