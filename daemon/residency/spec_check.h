// What may be asked for: the limits of what people and programs write. Pure.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "residency/types.h"
#include "wire/dtype.h"

namespace modeld::residency {

// All refuse with kFieldInvalid, whose metadata has the `field` as the caller names it.

// `FIELD what`
absl::Status Invalid(const std::string& field, std::string_view what, std::string_view hint = {});

// Everything in it by itself, but for what the device is called. Fields are named `PREFIXreference`
// and so on, those of the load configuration `CONFIG_PREFIXcast`.
absl::Status CheckSpec(const ModelSpec& spec, const std::string& prefix,
                       const std::string& config_prefix);
absl::Status CheckReference(const std::string& reference, const std::string& field);
absl::Status CheckAliasName(const std::string& name, const std::string& field);
// UTF-8 that a terminal shows as it is.
absl::Status CheckLabel(const std::string& text, const std::string& field, size_t max_bytes);

// `F32`, `F16` or `BF16`; nullopt for an empty name.
absl::StatusOr<std::optional<wire::DType>> ToCast(const std::string& name,
                                                  const std::string& field);

}  // namespace modeld::residency
