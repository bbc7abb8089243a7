#include "residency/spec_check.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "plan/cast.h"
#include "residency/requests.h"
#include "wire/digest.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::residency {
namespace {

constexpr size_t kMaxReferenceBytes = 4096;
constexpr size_t kMaxInstanceBytes = 128;
constexpr size_t kMaxAliasBytes = 128;
constexpr size_t kMaxPatterns = 64;
constexpr size_t kMaxPatternBytes = 256;

// C0, DEL, and C1 in UTF-8: what a terminal would obey.
bool HasControlCharacters(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) return true;
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      return true;
    }
  }
  return false;
}

absl::Status CheckText(const std::string& text, const std::string& field, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return Invalid(
        field, absl::StrCat("has ", text.size(), " bytes; at most ", max_bytes, " are allowed"));
  }
  if (!wire::IsUtf8(text)) return Invalid(field, "is not UTF-8");
  return absl::OkStatus();
}

absl::Status CheckGlobs(const std::vector<std::string>& globs, const std::string& field) {
  if (globs.size() > kMaxPatterns) {
    return Invalid(field, absl::StrCat("has ", globs.size(), " globs; at most ", kMaxPatterns,
                                       " are allowed"));
  }
  for (const std::string& glob : globs) {
    if (glob.empty()) return Invalid(field, "has an empty glob", "`*` stands for anything");
    if (absl::Status status = CheckText(glob, field, kMaxPatternBytes); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckDigest(const std::string& digest, const std::string& field) {
  const std::string_view hex =
      std::string_view(digest).substr(std::min(digest.size(), kDigestScheme.size()));
  const bool fits = digest.starts_with(kDigestScheme) && hex.size() == 2 * wire::kDigestBytes &&
                    std::ranges::all_of(hex, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  if (fits) return absl::OkStatus();
  return Invalid(field, "is no weights digest",
                 "it is sha256: and 64 hex digits in lower case, as modelctl digest prints it");
}

}  // namespace

absl::Status Invalid(const std::string& field, std::string_view what, std::string_view hint) {
  return wire::MakeError(wire::Reason::kFieldInvalid, wire::StrCat(field, " ", what),
                         {{"field", field}}, hint);
}

absl::Status CheckSpec(const ModelSpec& spec, const std::string& prefix,
                       const std::string& config_prefix) {
  const plan::LoadConfig& config = spec.config;
  absl::Status status = CheckReference(spec.reference, prefix + "reference");
  status.Update(CheckLabel(spec.instance, prefix + "instance", kMaxInstanceBytes));
  status.Update(CheckLabel(spec.device, prefix + "device", kMaxInstanceBytes));
  status.Update(CheckText(config.key_prefix, config_prefix + "key_prefix", kMaxPatternBytes));
  status.Update(CheckGlobs(config.include, config_prefix + "include"));
  status.Update(CheckGlobs(config.exclude, config_prefix + "exclude"));
  if (!spec.expected_digest.empty()) {
    status.Update(CheckDigest(spec.expected_digest, prefix + "expected_digest"));
  }
  return status;
}

absl::Status CheckReference(const std::string& reference, const std::string& field) {
  if (reference.empty()) {
    return Invalid(field, "is empty", "say which checkpoint: a path, or a file:// URI");
  }
  if (absl::Status status = CheckText(reference, field, kMaxReferenceBytes); !status.ok()) {
    return status;
  }
  if (std::ranges::find(reference, '\0') != reference.end()) {
    return Invalid(field, "contains a NUL byte");
  }
  return absl::OkStatus();
}

absl::Status CheckAliasName(const std::string& name, const std::string& field) {
  const auto is_alphanumeric = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  const bool fits = !name.empty() && name.size() <= kMaxAliasBytes && is_alphanumeric(name[0]) &&
                    std::ranges::all_of(name, [&](char c) {
                      return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
                    });
  if (fits) return absl::OkStatus();
  return Invalid(field, "is no name for an alias",
                 "it begins with a letter or digit, goes on with letters, digits, '.', '_' and "
                 "'-', and has at most 128 of them");
}

absl::Status CheckLabel(const std::string& text, const std::string& field, size_t max_bytes) {
  if (absl::Status status = CheckText(text, field, max_bytes); !status.ok()) return status;
  if (HasControlCharacters(text)) return Invalid(field, "contains control characters");
  return absl::OkStatus();
}

absl::StatusOr<std::optional<wire::DType>> ToCast(const std::string& name,
                                                  const std::string& field) {
  if (name.empty()) return std::optional<wire::DType>();
  const auto cast = wire::DTypeFromName(name);
  if (!cast || !plan::CanCast({wire::DType::kF64, *cast})) {
    return Invalid(field, absl::StrCat("is \"", wire::ToUtf8(name), "\""),
                   "it may be F32, F16 or BF16; left out, tensors stay as they are stored");
  }
  return cast;
}

}  // namespace modeld::residency
