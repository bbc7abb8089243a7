// modelctl digest: what a checkpoint holds, as one number.

#include <memory>

#include "modelctl/load_progress.h"
#include "modelctl/raw_lease.h"
#include "modelctl/spec_arguments.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status Digest(const std::string& selector, Environment& environment) {
  LoadProgress progress(selector);
  const auto acquired =
      RawLease::Acquire(environment, selector, "modelctl/digest",
                        [&](const v1::Progress& update) { progress.Show(update); });
  progress.Clear();
  if (!acquired.ok()) return acquired.status();
  RawLease& lease = **acquired;
  const auto digests = lease.WaitForDigests();
  if (!digests.ok()) return digests.status();
  DigestReport report;
  report.set_residency_id(lease.granted().residency_id());
  report.set_reference(lease.reference());
  report.set_digest(digests->weights);
  report.set_tensor_count(lease.table().size());
  report.set_tensor_bytes(lease.table().tensor_bytes());
  return environment.Write(environment.MakePrinter()->Digested(report));
}

}  // namespace

Verb DigestVerb() {
  const auto selector = std::make_shared<std::string>();
  return {.name = "digest",
          .summary = "Print the weights digest of a checkpoint; equal digests are equal weights",
          .example = "  modelctl digest models/backbone.safetensors",
          .arguments = {SelectorOrReference(*selector)},
          .run = [selector](Environment& environment) { return Digest(*selector, environment); }};
}

}  // namespace modeld::modelctl
