// Objects of JSON, written and read member by member.

#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace modeld::state {

using Json = nlohmann::ordered_json;

// Leaves out what is empty, 0 or false: Members reads it as that.
class MembersWriter {
 public:
  void Text(const char* name, std::string_view bytes);
  void Texts(const char* name, const std::vector<std::string>& list);
  void Flag(const char* name, bool value);
  void Number(const char* name, uint64_t value);
  // Nanoseconds since 1970-01-01 UTC.
  void Time(const char* name, base::WallTime time);
  void Duration(const char* name, std::optional<base::Duration> duration);

  Json Take() { return std::move(object_); }

 private:
  Json object_ = Json::object();
};

// Reads members of an object. What is not there is empty, 0 or false.
class Members {
 public:
  // `object` outlives it.
  explicit Members(const Json& object) : object_(object), ok_(object.is_object()) {}

  std::string Text(const char* name);
  std::vector<std::string> Texts(const char* name);
  bool Flag(const char* name);
  base::WallTime Time(const char* name);
  std::optional<base::Duration> Duration(const char* name);
  template <std::integral Number>
  Number Unsigned(const char* name) {
    const uint64_t value = Unsigned64(name);
    if (value > static_cast<uint64_t>(std::numeric_limits<Number>::max())) ok_ = false;
    return static_cast<Number>(value);
  }

  // Was everything that was asked for of its type and within its range?
  bool ok() const { return ok_; }
  void Refuse() { ok_ = false; }

 private:
  const Json* Find(const char* name) const;
  uint64_t Unsigned64(const char* name);
  std::optional<int64_t> Signed64(const char* name);
  std::string TextOf(const Json& value);

  const Json& object_;
  bool ok_;
};

}  // namespace modeld::state
