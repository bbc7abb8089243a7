#include "rpc/validate.h"

#include <chrono>
#include <utility>

#include "residency/spec_check.h"

namespace modeld::rpc {
namespace {

using residency::CheckAliasName;
using residency::CheckReference;
using residency::Invalid;

constexpr size_t kMaxScopeBytes = 1024;
// google.protobuf.Duration: about 10,000 years.
constexpr int64_t kMaxDurationSeconds = 315'576'000'000;
// Longer than this is as good as forever, and steady_clock could not count much further.
constexpr std::chrono::hours kForever{24 * 365 * 100};

absl::StatusOr<plan::LoadConfig> ToConfig(const v1::LoadConfig& message) {
  plan::LoadConfig config;
  auto cast = residency::ToCast(message.cast(), "spec.load_config.cast");
  if (!cast.ok()) return cast.status();
  config.cast = *cast;
  config.include.assign(message.include().begin(), message.include().end());
  config.exclude.assign(message.exclude().begin(), message.exclude().end());
  config.key_prefix = message.key_prefix();
  return config;
}

absl::StatusOr<residency::ModelSpec> ToSpec(const v1::ModelSpec& spec) {
  residency::ModelSpec result;
  result.reference = spec.reference();
  if (!spec.device().empty()) result.device = spec.device();
  result.instance = spec.instance();
  result.private_copy = spec.private_copy();
  result.keep_host = spec.keep_host();
  result.expected_digest = spec.expected_digest();
  if (result.private_copy && !result.instance.empty()) {
    return Invalid("spec.instance", "and spec.private_copy exclude each other",
                   "a private copy has no name: set one of the two");
  }
  auto config = ToConfig(spec.load_config());
  if (!config.ok()) return config.status();
  result.config = *std::move(config);
  if (absl::Status status = residency::CheckSpec(result, "spec.", "spec.load_config.");
      !status.ok()) {
    return status;
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
  if (absl::Status status = residency::CheckLabel(request.scope(), "scope", kMaxScopeBytes);
      !status.ok()) {
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
