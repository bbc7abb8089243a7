#include "supervisor/checkpoint_catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/layout.h"
#include "residency/types.h"
#include "wire/error.h"

namespace modeld::supervisor {
namespace {

// Within it a file may be modified twice at what its times call one moment: file systems count in
// ticks, and clocks of file servers differ.
constexpr std::chrono::seconds kSettlingTime{3};

plan::Place PlaceOn(const std::string& device) {
  return device == residency::kHostDevice ? plan::Place::kHost : plan::Place::kDevice;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Catalog::Resolve(
    const std::string& reference, const plan::LoadConfig& config) {
  auto opened = resolve_(reference);
  if (!opened.ok()) return opened.status();
  (*opened)->config = config;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const int64_t settled_ns = std::chrono::nanoseconds(now - kSettlingTime).count();
  (*opened)->settled = std::ranges::all_of((*opened)->files, [&](const plan::OpenFile& file) {
    return std::max(file.identity.mtime_ns, file.identity.ctime_ns) < settled_ns;
  });
  return *std::move(opened);
}

absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Catalog::Plan(
    const plan::OpenCheckpoint& checkpoint, const std::string& device) {
  const auto parsed = parser_.Parse(checkpoint);
  if (!parsed.ok()) return parsed.status();
  auto plan =
      plan::MakeLayout(parsed->source->view(), parsed->format, PlaceOn(device), checkpoint.config);
  if (!plan.ok()) return plan.status();
  const wire::ReferenceTable& reference = parsed->reference_table->view();
  if (reference.metadata_count() > 0 || reference.file_count() > 0) {
    plan->reference_table = parsed->reference_table;
  }
  plan->fingerprint = plan::FingerprintOf(plan->table->view(), parsed->samples);
  if (checkpoint.settled) {
    auto digests = digests_.Find(checkpoint.Key());
    // A key is never of two contents; a cache may be of another release.
    if (digests != nullptr && digests->tensors.size() == plan->table->view().size()) {
      plan->digests = std::move(digests);
    }
  }
  return std::make_shared<const plan::LoadPlan>(*std::move(plan));
}

absl::StatusOr<residency::HostSource> Catalog::PlanFromHost(
    const residency::ResidencyRecord& record, const residency::ResidentMemory& memory,
    std::shared_ptr<const plan::ContentDigests> content, const std::string& device) {
  // What the configuration cast is cast already.
  auto plan =
      plan::MakeLayout(memory.table->view(), record.sources.front().format, PlaceOn(device));
  if (!plan.ok()) return plan.status();
  plan->fingerprint = plan::FingerprintOf(plan->table->view(), {});
  plan->digests = std::move(content);
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = record.reference();
  for (const auto& segment : memory.segments) {
    plan::OpenFile& file = checkpoint->files.emplace_back();
    file.path = absl::StrCat("residency ", record.id, " on the host");
    file.fd = wire::UniqueFd(::fcntl(segment->fds.front().get(), F_DUPFD_CLOEXEC, 0));
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
