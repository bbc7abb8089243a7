#include "supervisor/checkpoint_catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/layout.h"
#include "residency/types.h"
#include "wire/error.h"

namespace modeld::supervisor {
namespace {

plan::Place PlaceOn(const std::string& device) {
  return device == residency::kHostDevice ? plan::Place::kHost : plan::Place::kDevice;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Catalog::Resolve(
    const std::string& reference) {
  return resolve_(reference);
}

absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Catalog::Plan(
    const plan::OpenCheckpoint& checkpoint, const std::string& device) {
  const auto parsed = parser_.Parse(checkpoint);
  if (!parsed.ok()) return parsed.status();
  auto plan =
      plan::MakeLayout(parsed->source->view(), parsed->format, PlaceOn(device), checkpoint.config);
  if (!plan.ok()) return plan.status();
  plan->reference_table = parsed->reference_table;
  plan->samples = parsed->samples;
  return std::make_shared<const plan::LoadPlan>(*std::move(plan));
}

absl::StatusOr<residency::HostSource> Catalog::PlanFromHost(
    const residency::ResidencyRecord& record, const residency::ResidentMemory& memory,
    const std::string& device) {
  // What the configuration cast is cast already.
  auto plan = plan::MakeLayout(memory.table->view(), record.format, PlaceOn(device));
  if (!plan.ok()) return plan.status();
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = record.references.front();
  for (const residency::LoadedSegment& segment : memory.segments) {
    plan::OpenFile& file = checkpoint->files.emplace_back();
    file.path = absl::StrCat("residency ", record.id, " on the host");
    file.fd = wire::UniqueFd(::fcntl(segment.fds.front().get(), F_DUPFD_CLOEXEC, 0));
    struct stat status;
    if (!file.fd.valid() || ::fstat(file.fd.get(), &status) != 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no descriptor for ", file.path, ": ", wire::ErrnoText(errno)));
    }
    file.identity = plan::IdentityOf(status);
  }
  return residency::HostSource{std::move(checkpoint),
                               std::make_shared<const plan::LoadPlan>(*std::move(plan))};
}

absl::StatusOr<Inspection> Catalog::Inspect(const plan::OpenCheckpoint& checkpoint) {
  auto parsed = parser_.Parse(checkpoint);
  if (!parsed.ok()) return parsed.status();
  const auto plan = plan::MakeLayout(parsed->source->view(), parsed->format, plan::Place::kHost,
                                     checkpoint.config);
  if (!plan.ok()) return plan.status();
  return Inspection{.format = std::move(parsed->format),
                    .source = std::move(parsed->source),
                    .reference_table = std::move(parsed->reference_table),
                    .resident_bytes = plan->resident_bytes()};
}

}  // namespace modeld::supervisor
