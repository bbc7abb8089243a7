// Stands between the manager and an agent's supervisor, and keeps what is READY in a store that
// outlives both.

#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "residency/device_backend.h"
#include "supervisor/descriptor_store.h"
#include "supervisor/kept_residency.h"
#include "wire/mutex.h"

namespace modeld::supervisor {

// To the manager it is the backend, to the backend it is the manager; everything is passed on as it
// is. A residency is put into the store before its load is told, and taken out before its memory is
// released. Thread-safe as the two that it stands between.
class KeptBackend : public residency::DeviceBackend, public residency::BackendObserver {
 public:
  // `store` may be null: then nothing is kept. All outlive it.
  KeptBackend(DescriptorStore* store, residency::BackendObserver* observer)
      : store_(store), observer_(observer) {}

  // Before anything else.
  void set_backend(residency::DeviceBackend* backend) { backend_ = backend; }

  // What an earlier modeld stored, for this device. Before the agent is asked for its inventory.
  void Restore(std::vector<FoundResidency> found);
  // After it: what the agent does not have is told as inventory, and given to the agent.
  void TellRestored();
  // Takes everything out of the store: modeld ends, and its agents with it.
  void ForgetAll();

  // DeviceBackend
  void Load(residency::LoadJob job) override;
  void Identify(residency::LoadJob job) override;
  void CancelLoad(const std::string& residency_id) override;
  void UpdateRecord(const residency::ResidencyRecord& record) override;
  void Release(const std::string& residency_id) override;
  void Adopt(const residency::ResidencyRecord& record,
             std::shared_ptr<const residency::ResidentMemory> memory,
             std::shared_ptr<const residency::ResidentDigests> digests) override;

  // BackendObserver
  void OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) override;
  void OnLoaded(const std::string& residency_id,
                std::shared_ptr<const residency::ResidentMemory> memory,
                const residency::LoadStats& stats) override;
  void OnLoadFailed(const std::string& residency_id, absl::Status status) override;
  void OnDigest(const std::string& residency_id,
                std::shared_ptr<const residency::ResidentDigests> digests) override;
  void OnIdentified(const std::string& residency_id,
                    absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> digests) override;
  void OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) override;
  void OnAgentUp(const std::string& device, const residency::AgentInfo& info) override;
  void OnAgentDown(const std::string& device, const absl::Status& why) override;
  void OnInventory(const residency::ResidencyRecord& record,
                   std::shared_ptr<const residency::ResidentMemory> memory,
                   std::shared_ptr<const residency::ResidentDigests> digests) override;

 private:
  using Memory = std::shared_ptr<const residency::ResidentMemory>;
  using Digests = std::shared_ptr<const residency::ResidentDigests>;

  void Keep(const residency::ResidencyRecord& record, const Memory& memory, const Digests& digests);
  void KeepDigest(const std::string& residency_id, const Digests& digests);

  DescriptorStore* const store_;
  residency::BackendObserver* const observer_;
  residency::DeviceBackend* backend_ = nullptr;

  wire::Mutex mutex_;
  std::map<std::string, residency::ResidencyRecord> loading_ MODELD_GUARDED_BY(mutex_);
  // By residency: the names of what is in the store.
  std::map<std::string, std::vector<std::string>> kept_ MODELD_GUARDED_BY(mutex_);
  // What is stored of each, so that it can be stored anew with another record.
  struct Stored {
    Memory memory;
    Digests digests;
  };
  std::map<std::string, Stored> stored_ MODELD_GUARDED_BY(mutex_);
  // Found in the store, and not told yet.
  std::map<std::string, InventoryEntry> restored_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::supervisor
