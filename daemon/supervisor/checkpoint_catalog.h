// The daemon's catalog: references by way of a resolver, contents by way of the sandboxed parser.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "residency/catalog.h"
#include "supervisor/digest_cache.h"
#include "supervisor/parser_runner.h"

namespace modeld::supervisor {

// What a checkpoint holds and what it would take, without loading it.
struct Inspection {
  std::string format;
  std::shared_ptr<const plan::SealedTable> source;  // region i is file i, offsets are file offsets
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;
  uint64_t resident_bytes = 0;  // of its segments on the host
};

// Thread-safe.
class Catalog final : public residency::CheckpointCatalog {
 public:
  using Resolver = std::function<absl::StatusOr<std::shared_ptr<plan::OpenCheckpoint>>(
      const std::string& reference)>;

  // `resolve` is called from any thread. `cache_directory` is for digests; empty: none is kept.
  Catalog(Resolver resolve, ParserRunner::Options parser, std::string cache_directory)
      : resolve_(std::move(resolve)),
        parser_(std::move(parser)),
        digests_(std::move(cache_directory)) {}

  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference, const plan::LoadConfig& config) override;
  absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(const plan::OpenCheckpoint& checkpoint,
                                                             const std::string& device) override;
  absl::StatusOr<residency::HostSource> PlanFromHost(
      const residency::ResidencyRecord& record, const residency::ResidentMemory& memory,
      std::shared_ptr<const plan::ContentDigests> content, const std::string& device) override;
  void RememberDigests(const std::string& content_key,
                       const plan::ContentDigests& digests) override {
    digests_.Store(content_key, digests);
  }

  // The statuses of Plan. Blocks as Plan does.
  absl::StatusOr<Inspection> Inspect(const plan::OpenCheckpoint& checkpoint);

  // What stands around the parser; nullopt before the first checkpoint was read.
  std::optional<ParserSandbox> last_sandbox() const { return parser_.last_sandbox(); }

 private:
  const Resolver resolve_;
  ParserRunner parser_;
  DigestCache digests_;
};

}  // namespace modeld::supervisor
