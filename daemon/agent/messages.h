// modeld/v1/agent.proto on the agent's side: requests checked before they are believed, events
// built.

#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/residency.h"
#include "modeld/v1/agent.pb.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "wire/unique_fd.h"

namespace modeld::agent {

// Agents and modeld speak this and the one before.
inline constexpr uint32_t kProtocolVersion = 1;

// What a LoadRequest asks for.
struct LoadOrder {
  std::string id;
  std::shared_ptr<const Record> record;
  std::vector<plan::OpenFile> files;
  std::vector<uint64_t> segment_sizes;  // of its own
  std::vector<std::shared_ptr<const HeldSegment>> borrowed;
  std::vector<plan::CopyRange> ranges;  // memory::MakeChunks is their judge
  std::shared_ptr<const plan::SealedTable> table;
  bool digest = false;
};

// An event on its way: the message, the descriptors that go with it and what keeps them open.
struct Outgoing {
  v1::AgentEvent event;
  std::vector<int> fds;
  std::shared_ptr<const void> keep_alive;
};

// The segment of that id that the agent has; null: there is none.
using FindSegment = std::function<std::shared_ptr<const HeldSegment>(const std::string& id)>;

// INVALID_ARGUMENT says what is wrong: descriptors missing, not sealed or no files, a table that
// does not fit. kDeviceLost: a segment that it borrows is not here.
absl::StatusOr<LoadOrder> ParseLoad(const v1::LoadRequest& request, std::vector<wire::UniqueFd> fds,
                                    const FindSegment& find);

struct Held {
  std::shared_ptr<const Residency> residency;
  std::shared_ptr<const Record> record;
  std::shared_ptr<const Digests> digests;  // null: not known
};
// Segments that are not here already become `allocator`'s; what that refuses with passes through.
absl::StatusOr<Held> ParseAdopt(const v1::AdoptResidency& request, std::vector<wire::UniqueFd> fds,
                                memory::SegmentAllocator& allocator, const FindSegment& find);

absl::StatusOr<std::shared_ptr<const Record>> ParseRecord(const v1::Record& message,
                                                          std::span<wire::UniqueFd> fds);

// The name of a residency's own segment.
std::string SegmentId(const std::string& residency_id, size_t index);

Outgoing MakeProgress(const std::string& id, uint64_t bytes_done, uint64_t bytes_total);
// Of the first `own` segments: the others modeld has already.
Outgoing MakeDone(std::shared_ptr<const Residency> residency, size_t own,
                  std::string_view read_mode, uint64_t read_nanos);
Outgoing MakeFailed(const std::string& id, const absl::Status& status);
Outgoing MakeDigest(const std::string& id, std::shared_ptr<const Digests> digests);
Outgoing MakeIdentified(const std::string& id,
                        const absl::StatusOr<std::shared_ptr<const Digests>>& digests);
Outgoing MakeReleased(const std::string& id, uint64_t unreturned_bytes);
Outgoing MakeInventoryItem(const Held& held);
Outgoing MakeInventoryEnd();

}  // namespace modeld::agent
