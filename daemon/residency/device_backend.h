// What owns the memory of one device, as the residency domain sees it. The real one is an agent
// process behind a supervisor; tests have a scripted one.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "residency/types.h"
#include "wire/digest.h"
#include "wire/unique_fd.h"

namespace modeld::residency {

// One content (a set of files and a load configuration) that leads to a residency. Several do when
// they hold equal weights.
struct Source {
  std::string content_key;  // plan::OpenCheckpoint::Key()
  std::string format;
  std::vector<std::string> references;  // that lead to it, in the order of first use; not empty
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;  // null: empty
  bool settled = false;  // plan::OpenCheckpoint::settled; not kept by the agent
};

// What a residency is, apart from its memory: kept by the agent too, so that a later modeld can
// adopt it.
struct ResidencyRecord {
  std::string id;
  std::vector<Source> sources;  // in the order of first use; not empty
  std::string device;
  std::string instance;
  bool private_copy = false;
  bool pinned = false;
  uint64_t generation = 0;
  std::optional<base::Duration> keep_alive;  // nullopt: modeld's own
  bool draining = false;                     // not handed out any more
  std::string superseded_by;                 // the alias that it stood under

  // The first one: what people know it by.
  const std::string& reference() const { return sources.front().references.front(); }
  // Of the source with that content key; nullptr if there is none.
  const Source* FindSource(const std::string& content_key) const;
};

// Immutable. Its descriptors outlive the agent; the last owner closes them.
struct LoadedSegment {
  std::string id;                   // unique: the residency that it was allocated for, and a number
  std::vector<wire::UniqueFd> fds;  // as `info` says
  SegmentInfo info;
};

// A residency's memory, as modeld keeps it. Immutable once shared.
struct ResidentMemory {
  std::shared_ptr<const plan::SealedTable> table;
  // Region i of the table is segment i: its own, then those that it borrows from others.
  std::vector<std::shared_ptr<const LoadedSegment>> segments;
};

struct ResidentDigests {
  std::shared_ptr<const plan::ContentDigests> content;
  wire::UniqueFd table_fd;  // 32 bytes per tensor, in table order; sealed
};

// A segment of another residency in which some of the tensors lie.
struct BorrowedSegment {
  std::string lender_id;  // a residency that has it
  std::shared_ptr<const LoadedSegment> segment;
  uint64_t used_bytes = 0;  // of tensors of the borrower in it
};

struct LoadJob {
  ResidencyRecord record;
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;  // of its own segments; then come the borrowed ones
  std::vector<BorrowedSegment> borrowed;
};

struct AgentInfo {
  pid_t pid = 0;
  std::string export_kind;
  std::string export_note;
  uint32_t page_size_bytes = 0;
  std::string page_size_note;
};

// How a load went, for the log.
struct LoadStats {
  std::string read_mode;  // `direct`, `buffered`, `mixed`
  uint64_t read_nanos = 0;
};

// Told by a backend, from any thread, in order for each residency; thread-safe.
class BackendObserver {
 public:
  virtual ~BackendObserver() = default;
  virtual void OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) = 0;
  virtual void OnLoaded(const std::string& residency_id,
                        std::shared_ptr<const ResidentMemory> memory, const LoadStats& stats) = 0;
  // CANCELLED after CancelLoad. The memory has been given back when this is called.
  virtual void OnLoadFailed(const std::string& residency_id, absl::Status status) = 0;
  virtual void OnDigest(const std::string& residency_id,
                        std::shared_ptr<const ResidentDigests> digests) = 0;
  // The agent's share is given back. `unreturned_bytes`: what the device has not got back, because
  // somebody who is not modeld still has it mapped.
  virtual void OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) = 0;
  // An agent answers. The observer then hands it the READY residencies with Adopt.
  virtual void OnAgentUp(const std::string& device, const AgentInfo& info) = 0;
  // The agent is gone; loads in flight have been failed before this is called.
  virtual void OnAgentDown(const std::string& device, const absl::Status& why) = 0;
  // Answers Identify.
  virtual void OnIdentified(
      const std::string& residency_id,
      absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> digests) = 0;
  // An agent that outlived the modeld before this one has it. Between OnAgentUp and the first Load.
  // `digests` may be null.
  virtual void OnInventory(const ResidencyRecord& record,
                           std::shared_ptr<const ResidentMemory> memory,
                           std::shared_ptr<const ResidentDigests> digests) = 0;
};

// Thread-safe; never waits; every answer comes through the observer.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;
  // Answered by OnLoaded or OnLoadFailed. kDeviceUnavailable at once when there is no agent.
  virtual void Load(LoadJob job) = 0;
  // Reads what a load would read, allocates nothing and digests it. Answered by OnIdentified.
  virtual void Identify(LoadJob job) = 0;
  // Answered by OnLoadFailed(CANCELLED) or OnIdentified(CANCELLED), or by OnLoaded or OnIdentified
  // if it was too late.
  virtual void CancelLoad(const std::string& residency_id) = 0;
  // The record has changed: another reference leads to the residency, or it was pinned. Not
  // answered; forgotten where there is no agent, for the next one gets it with Adopt.
  virtual void UpdateRecord(const ResidencyRecord& record) = 0;
  // Answered by OnReleased, also when there is no agent.
  virtual void Release(const std::string& residency_id) = 0;
  // Hands memory to an agent that does not have it. Not answered; `digests` may be null, then
  // OnDigest may follow.
  virtual void Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory> memory,
                     std::shared_ptr<const ResidentDigests> digests) = 0;
};

}  // namespace modeld::residency
