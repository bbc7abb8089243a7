// What owns the memory of one device, as the residency domain sees it. The real one is an agent
// process behind a supervisor; tests have a scripted one.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "residency/types.h"
#include "wire/digest.h"
#include "wire/unique_fd.h"

namespace modeld::residency {

// What a residency is, apart from its memory: kept by the agent too, so that a later modeld can
// adopt it.
struct ResidencyRecord {
  std::string id;
  std::vector<std::string> references;
  std::string content_key;  // plan::OpenCheckpoint::Key()
  std::string device;
  std::string instance;
  bool private_copy = false;
  uint64_t generation = 0;
  std::string format;
};

struct LoadedSegment {
  std::vector<wire::UniqueFd> fds;  // as `info` says
  SegmentInfo info;
};

// A residency's memory, as modeld keeps it: descriptors that outlive the agent. Immutable once
// shared, but for the digest, which arrives later and is replaced as a whole.
struct ResidentMemory {
  std::shared_ptr<const plan::SealedTable> table;
  std::vector<LoadedSegment> segments;
};

struct ResidentDigests {
  wire::Digest weights;
  wire::UniqueFd table_fd;  // 32 bytes per tensor, in table order; sealed
};

struct LoadJob {
  ResidencyRecord record;
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;
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
  // Answered by OnLoadFailed(CANCELLED), or by OnLoaded if it was too late.
  virtual void CancelLoad(const std::string& residency_id) = 0;
  // Answered by OnReleased, also when there is no agent.
  virtual void Release(const std::string& residency_id) = 0;
  // Hands memory to an agent that does not have it. Not answered; `digests` may be null, then
  // OnDigest may follow.
  virtual void Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory> memory,
                     std::shared_ptr<const ResidentDigests> digests) = 0;
};

}  // namespace modeld::residency
