// What of a checkpoint is loaded, and in which types: a part of what makes two residencies the
// same.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/dtype.h"

namespace modeld::plan {

// As modeld.v1.LoadConfig.
struct LoadConfig {
  std::optional<wire::DType> cast;   // F32, F16 or BF16; nullopt: as stored
  std::vector<std::string> include;  // globs; empty: everything
  std::vector<std::string> exclude;  // globs
  std::string key_prefix;

  bool operator==(const LoadConfig&) const = default;

  bool empty() const { return *this == LoadConfig{}; }
  // Equal configurations have equal text, different ones different text; empty for the empty one.
  std::string Key() const;

  // What a tensor is called after the configuration; nullopt: it is not wanted. The view points
  // into `name`.
  std::optional<std::string_view> NameOf(std::string_view name) const;
  // What a tensor's elements become: F64, F32, F16 and BF16 are cast, everything else stays.
  wire::DType TypeOf(wire::DType stored) const;
};

// `*` stands for any characters, `?` for one byte, all else for itself. Time is at most
// pattern x text.
bool GlobMatches(std::string_view pattern, std::string_view text);

}  // namespace modeld::plan
