#include "supervisor/checkpoint_catalog.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/layout.h"
#include "residency/types.h"
#include "wire/error.h"

namespace modeld::supervisor {

absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Catalog::Resolve(
    const std::string& reference) {
  return resolve_(reference);
}

absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Catalog::Plan(
    const plan::OpenCheckpoint& checkpoint, const std::string& device) {
  if (device != residency::kHostDevice) {
    return wire::MakeError(wire::Reason::kDeviceUnavailable,
                           absl::StrCat("no device ", device, " to lay a checkpoint out for"),
                           {{"device", device}}, "modelctl devices");
  }
  const auto parsed = parser_.Parse(checkpoint);
  if (!parsed.ok()) return parsed.status();
  return plan::MakeHostLayout(parsed->source->view(), parsed->format);
}

absl::StatusOr<Inspection> Catalog::Inspect(const plan::OpenCheckpoint& checkpoint) {
  auto parsed = parser_.Parse(checkpoint);
  if (!parsed.ok()) return parsed.status();
  const auto plan = plan::MakeHostLayout(parsed->source->view(), parsed->format);
  if (!plan.ok()) return plan.status();
  return Inspection{.format = std::move(parsed->format),
                    .source = std::move(parsed->source),
                    .resident_bytes = (*plan)->resident_bytes()};
}

}  // namespace modeld::supervisor
