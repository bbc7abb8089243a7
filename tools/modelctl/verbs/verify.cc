// modelctl verify: are the bytes still those that were loaded?

#include <algorithm>
#include <memory>
#include <vector>

#include "modelctl/load_progress.h"
#include "modelctl/raw_lease.h"
#include "modelctl/spec_arguments.h"
#include "modelctl/verbs.h"
#include "wire/digest.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

// Reads every byte, from wherever it lies.
absl::StatusOr<std::vector<wire::Digest>> Recompute(RawLease& lease) {
  ProgressDisplay display(wire::StrCat("verifying ", lease.reference()));
  uint64_t done = 0;
  const uint64_t total = lease.table().tensor_bytes();
  absl::Status ended;
  auto digests = wire::TensorDigests(
      lease.table(),
      [&](uint32_t region, uint64_t offset, uint64_t size_bytes) {
        return lease.Read(region, offset, size_bytes);
      },
      [&] {
        // Asked before each chunk: near enough for a bar.
        display.ShowBytes(std::min(done, total), total);
        done += wire::kDigestChunkBytes;
        ended = lease.Check();
        return ended.ok();
      });
  return ended.ok() ? std::move(digests) : ended;
}

absl::Status Mismatch(const VerifyReport& report) {
  if (report.mismatches().empty()) {
    return wire::MakeError(
        wire::Reason::kDigestMismatch,
        wire::StrCat("the weights digest of ", report.reference(), " differs: expected ",
                     report.expected_digest(), ", found ", report.found_digest()),
        {{"expected", report.expected_digest()}, {"found", report.found_digest()}},
        wire::StrCat("modelctl evict ", report.residency_id(), ", then load it again"));
  }
  const TensorMismatch& first = report.mismatches(0);
  const int others = report.mismatches_size() - 1;
  return wire::MakeError(
      wire::Reason::kDigestMismatch,
      wire::StrCat("tensor ", first.name(), " of ", report.reference(), " differs: expected ",
                   first.expected_digest(), ", found ", first.found_digest(),
                   others > 0 ? wire::StrCat("; and ", others, " more") : ""),
      {{"tensor", first.name()},
       {"expected", first.expected_digest()},
       {"found", first.found_digest()}},
      wire::StrCat("modelctl evict ", report.residency_id(), ", then load it again"));
}

absl::Status Verify(const std::string& selector, Environment& environment) {
  LoadProgress progress(selector);
  const auto acquired =
      RawLease::Acquire(environment, selector, "modelctl/verify",
                        [&](const v1::Progress& update) { progress.Show(update); });
  progress.Clear();
  if (!acquired.ok()) return acquired.status();
  RawLease& lease = **acquired;

  const auto found = Recompute(lease);
  if (!found.ok()) return found.status();
  const auto expected = lease.WaitForDigests();
  if (!expected.ok()) return expected.status();

  VerifyReport report;
  report.set_residency_id(lease.granted().residency_id());
  report.set_reference(lease.reference());
  report.set_tensor_count(lease.table().size());
  report.set_tensor_bytes(lease.table().tensor_bytes());
  report.set_expected_digest(expected->weights);
  report.set_found_digest(wire::DigestText(wire::WeightsDigest(lease.table(), *found)));
  for (size_t i = 0; i < found->size(); ++i) {
    if ((*found)[i] == expected->tensors[i]) continue;
    TensorMismatch& mismatch = *report.add_mismatches();
    mismatch.set_name(std::string(lease.table().entry(i).name));
    mismatch.set_expected_digest(wire::DigestText(expected->tensors[i]));
    mismatch.set_found_digest(wire::DigestText((*found)[i]));
  }
  const absl::Status written = environment.Write(environment.MakePrinter()->Verified(report));
  if (!written.ok()) return written;
  const bool same =
      report.mismatches().empty() && report.expected_digest() == report.found_digest();
  return same ? absl::OkStatus() : Mismatch(report);
}

}  // namespace

Verb VerifyVerb() {
  const auto selector = std::make_shared<std::string>();
  return {.name = "verify",
          .summary = "Map a residency like a worker and recompute the digest of every tensor",
          .example = "  modelctl verify models/backbone.safetensors",
          .arguments = {SelectorOrReference(*selector)},
          .run = [selector](Environment& environment) { return Verify(*selector, environment); }};
}

}  // namespace modeld::modelctl
