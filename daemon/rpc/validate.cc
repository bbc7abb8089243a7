#include "rpc/validate.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/cast.h"
#include "wire/digest.h"
#include "wire/dtype.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::rpc {
namespace {

constexpr size_t kMaxReferenceBytes = 4096;
constexpr size_t kMaxInstanceBytes = 128;
constexpr size_t kMaxScopeBytes = 1024;
constexpr size_t kMaxAliasBytes = 128;
constexpr size_t kMaxPatterns = 64;
constexpr size_t kMaxPatternBytes = 256;
// google.protobuf.Duration: about 10,000 years.
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;
// Longer than this is as good as forever, and steady_clock could not count much further.
constexpr std::chrono::hours kForever{24 * 365 * 100};

absl::Status Invalid(const std::string& field, std::string_view what, std::string_view hint = {}) {
  return wire::MakeError(wire::Reason::kFieldInvalid, wire::StrCat(field, " ", what),
                         {{"field", field}}, hint);
}

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

absl::Status CheckLabel(const std::string& text, const std::string& field, size_t max_bytes) {
  if (absl::Status status = CheckText(text, field, max_bytes); !status.ok()) return status;
  if (HasControlCharacters(text)) return Invalid(field, "contains control characters");
  return absl::OkStatus();
}

absl::StatusOr<plan::LoadConfig> ToConfig(const v1::LoadConfig& message) {
  plan::LoadConfig config;
  if (!message.cast().empty()) {
    config.cast = wire::DTypeFromName(message.cast());
    if (!config.cast || !plan::CanCast({wire::DType::kF64, *config.cast})) {
      return Invalid("spec.load_config.cast",
                     absl::StrCat("is \"", wire::ToUtf8(message.cast()), "\""),
                     "it may be F32, F16 or BF16; left out, tensors stay as they are stored");
    }
  }
  if (absl::Status status =
          CheckText(message.key_prefix(), "spec.load_config.key_prefix", kMaxPatternBytes);
      !status.ok()) {
    return status;
  }
  config.key_prefix = message.key_prefix();
  for (const auto& [patterns, field, out] :
       {std::tuple(&message.include(), "spec.load_config.include", &config.include),
        std::tuple(&message.exclude(), "spec.load_config.exclude", &config.exclude)}) {
    if (static_cast<size_t>(patterns->size()) > kMaxPatterns) {
      return Invalid(field, absl::StrCat("has ", patterns->size(), " globs; at most ", kMaxPatterns,
                                         " are allowed"));
    }
    for (const std::string& pattern : *patterns) {
      if (pattern.empty()) return Invalid(field, "has an empty glob", "`*` stands for anything");
      if (absl::Status status = CheckText(pattern, field, kMaxPatternBytes); !status.ok()) {
        return status;
      }
      out->push_back(pattern);
    }
  }
  return config;
}

absl::Status CheckDigest(const std::string& digest) {
  constexpr std::string_view kScheme = "sha256:";
  const std::string_view hex =
      std::string_view(digest).substr(std::min(digest.size(), kScheme.size()));
  const bool fits = digest.starts_with(kScheme) && hex.size() == 2 * wire::kDigestBytes &&
                    std::ranges::all_of(hex, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  if (fits) return absl::OkStatus();
  return Invalid("spec.expected_digest", "is no weights digest",
                 "it is sha256: and 64 hex digits in lower case, as modelctl digest prints it");
}

absl::StatusOr<residency::ModelSpec> ToSpec(const v1::ModelSpec& spec) {
  if (absl::Status status = CheckReference(spec.reference(), "spec.reference"); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckLabel(spec.instance(), "spec.instance", kMaxInstanceBytes);
      !status.ok()) {
    return status;
  }
  if (spec.private_copy() && !spec.instance().empty()) {
    return Invalid("spec.instance", "and spec.private_copy exclude each other",
                   "a private copy has no name: set one of the two");
  }
  if (absl::Status status = CheckLabel(spec.device(), "spec.device", kMaxInstanceBytes);
      !status.ok()) {
    return status;
  }
  residency::ModelSpec result;
  result.reference = spec.reference();
  if (!spec.device().empty()) result.device = spec.device();
  result.instance = spec.instance();
  result.private_copy = spec.private_copy();
  result.keep_host = spec.keep_host();
  auto config = ToConfig(spec.load_config());
  if (!config.ok()) return config.status();
  result.config = *std::move(config);
  if (!spec.expected_digest().empty()) {
    if (absl::Status status = CheckDigest(spec.expected_digest()); !status.ok()) return status;
    result.expected_digest = spec.expected_digest();
  }
  return result;
}

// nullopt: as long as it takes.
absl::StatusOr<std::optional<base::TimePoint>> ToDeadline(bool has_timeout,
                                                          const google::protobuf::Duration& timeout,
                                                          const std::string& field,
                                                          base::TimePoint now) {
  if (!has_timeout) return std::optional<base::TimePoint>();
  if (timeout.seconds() < 0 || timeout.nanos() < 0) {
    return Invalid(field, "is negative", "leave it out to wait as long as it takes");
  }
  if (timeout.seconds() > kMaxDurationSeconds || timeout.nanos() > 999'999'999) {
    return Invalid(field, "is no valid google.protobuf.Duration");
  }
  if (std::chrono::seconds(timeout.seconds()) >= kForever) return std::optional<base::TimePoint>();
  return std::optional<base::TimePoint>(now + std::chrono::seconds(timeout.seconds()) +
                                        std::chrono::nanoseconds(timeout.nanos()));
}

// nullopt: as it is.
absl::StatusOr<std::optional<base::Duration>> ToKeepAlive(
    bool has_keep_alive, const google::protobuf::Duration& keep_alive) {
  if (!has_keep_alive) return std::optional<base::Duration>();
  const bool is_negative = keep_alive.seconds() < 0 || keep_alive.nanos() < 0;
  if (!is_negative &&
      (keep_alive.seconds() > kMaxDurationSeconds || keep_alive.nanos() > 999'999'999)) {
    return Invalid("keep_alive", "is no valid google.protobuf.Duration");
  }
  if (is_negative || std::chrono::seconds(keep_alive.seconds()) >= kForever) {
    return std::optional(residency::kForever);
  }
  return std::optional<base::Duration>(std::chrono::seconds(keep_alive.seconds()) +
                                       std::chrono::nanoseconds(keep_alive.nanos()));
}

}  // namespace

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

absl::Status CheckSelector(const std::string& selector) {
  if (selector.empty()) {
    return Invalid("selector", "is empty",
                   "name a residency by id, digest or reference; `modelctl ps` lists them");
  }
  return CheckReference(selector, "selector");
}

absl::StatusOr<residency::AcquireRequest> ToAcquireRequest(const v1::AcquireRequest& request,
                                                           const Session& session,
                                                           base::TimePoint now) {
  absl::StatusOr<residency::ModelSpec> spec = ToSpec(request.spec());
  if (!spec.ok()) return spec.status();
  if (absl::Status status = CheckLabel(request.scope(), "scope", kMaxScopeBytes); !status.ok()) {
    return status;
  }
  auto deadline =
      ToDeadline(request.has_wait_timeout(), request.wait_timeout(), "wait_timeout", now);
  if (!deadline.ok()) return deadline.status();
  auto keep_alive = ToKeepAlive(request.has_keep_alive(), request.keep_alive());
  if (!keep_alive.ok()) return keep_alive.status();

  residency::AcquireRequest result;
  result.spec = *std::move(spec);
  result.deadline = *deadline;
  result.wait_for_room = request.wait_for_room();
  result.keep_alive = *keep_alive;
  result.holder = {.session = session.number,
                   .pid = session.pid,
                   .uid = session.uid,
                   .gid = session.gid,
                   .program = session.program,
                   .scope = request.scope()};
  if (request.has_resume()) {
    if (request.resume().residency_id().empty()) {
      return Invalid("resume.residency_id", "is empty");
    }
    result.resume = residency::ResumeRequest{.residency_id = request.resume().residency_id(),
                                             .generation = request.resume().generation()};
  }
  return result;
}

absl::StatusOr<residency::PreloadRequest> ToPreloadRequest(const v1::PreloadRequest& request,
                                                           base::TimePoint now) {
  absl::StatusOr<residency::ModelSpec> spec = ToSpec(request.spec());
  if (!spec.ok()) return spec.status();
  if (spec->private_copy) {
    return Invalid("spec.private_copy", "cannot be preloaded: nobody could ever acquire the copy",
                   "name an instance instead");
  }
  auto deadline =
      ToDeadline(request.has_wait_timeout(), request.wait_timeout(), "wait_timeout", now);
  if (!deadline.ok()) return deadline.status();
  auto keep_alive = ToKeepAlive(request.has_keep_alive(), request.keep_alive());
  if (!keep_alive.ok()) return keep_alive.status();
  residency::PreloadRequest result;
  result.spec = *std::move(spec);
  result.wait_for_room = request.wait_for_room();
  result.keep_alive = *keep_alive;
  result.no_wait = request.no_wait();
  result.pin = request.pin();
  result.deadline = *deadline;
  return result;
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

absl::StatusOr<residency::SetAliasRequest> ToSetAliasRequest(const v1::SetAliasRequest& request,
                                                             base::TimePoint now) {
  const v1::Alias& alias = request.alias();
  if (absl::Status status = CheckAliasName(alias.name(), "alias.name"); !status.ok()) {
    return status;
  }
  absl::StatusOr<residency::ModelSpec> spec = ToSpec(alias.spec());
  if (!spec.ok()) return spec.status();
  if (spec->private_copy || !spec->instance.empty()) {
    return Invalid("alias.spec", "names a copy on purpose, and an alias a version",
                   "leave instance and private_copy to those who acquire it");
  }
  auto deadline =
      ToDeadline(request.has_wait_timeout(), request.wait_timeout(), "wait_timeout", now);
  if (!deadline.ok()) return deadline.status();
  auto keep_alive = ToKeepAlive(alias.has_keep_alive(), alias.keep_alive());
  if (!keep_alive.ok()) return keep_alive.status();
  residency::SetAliasRequest result;
  result.name = alias.name();
  result.spec = *std::move(spec);
  result.keep_alive = *keep_alive;
  result.deadline = *deadline;
  result.wait_for_room = request.wait_for_room();
  return result;
}

absl::StatusOr<residency::EvictRequest> ToEvictRequest(const v1::EvictRequest& request,
                                                       base::TimePoint now) {
  if (absl::Status status = CheckSelector(request.selector()); !status.ok()) return status;
  if (request.has_drain_timeout() && !request.drain()) {
    return Invalid("drain_timeout", "means nothing without drain");
  }
  auto deadline =
      ToDeadline(request.has_drain_timeout(), request.drain_timeout(), "drain_timeout", now);
  if (!deadline.ok()) return deadline.status();
  residency::EvictRequest result;
  result.selector = request.selector();
  result.drain = request.drain();
  result.drain_deadline = *deadline;
  result.dry_run = request.dry_run();
  return result;
}

}  // namespace modeld::rpc
