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
                                                          base::TimePoint now) {
  if (!has_timeout) return std::optional<base::TimePoint>();
  if (timeout.seconds() < 0 || timeout.nanos() < 0) {
    return Invalid("wait_timeout", "is negative", "leave it out to wait as long as it takes");
  }
  if (timeout.seconds() > kMaxDurationSeconds || timeout.nanos() > 999'999'999) {
    return Invalid("wait_timeout", "is no valid google.protobuf.Duration");
  }
  if (std::chrono::seconds(timeout.seconds()) >= kForever) return std::optional<base::TimePoint>();
  return std::optional<base::TimePoint>(now + std::chrono::seconds(timeout.seconds()) +
                                        std::chrono::nanoseconds(timeout.nanos()));
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
  auto deadline = ToDeadline(request.has_wait_timeout(), request.wait_timeout(), now);
  if (!deadline.ok()) return deadline.status();

  residency::AcquireRequest result;
  result.spec = *std::move(spec);
  result.deadline = *deadline;
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
  auto deadline = ToDeadline(request.has_wait_timeout(), request.wait_timeout(), now);
  if (!deadline.ok()) return deadline.status();
  residency::PreloadRequest result;
  result.spec = *std::move(spec);
  result.no_wait = request.no_wait();
  result.pin = request.pin();
  result.deadline = *deadline;
  return result;
}

}  // namespace modeld::rpc
