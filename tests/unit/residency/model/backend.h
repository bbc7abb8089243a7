// An agent that answers when it is told to, and knows what of the manager's orders is wrong.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "catalog.h"
#include "journal.h"
#include "residency/device_backend.h"

namespace modeld::residency::model {

class ModelBackend : public DeviceBackend {
 public:
  struct Deps {
    std::string device;
    wire::SegmentKind kind = wire::SegmentKind::kHostMemfd;
    const ModelCatalog* catalog = nullptr;
    Journal* journal = nullptr;
    Chance* chance = nullptr;
    std::function<bool(const std::string& residency_id)> is_leased;
    std::function<base::TimePoint()> now;
  };
  struct Job {
    LoadJob job;
    bool cancelled = false;
  };
  // What modeld has in memory on the device.
  struct Held {
    ResidencyRecord record;
    std::shared_ptr<const ResidentMemory> memory;
    std::shared_ptr<const ResidentDigests> digests;
    base::TimePoint used_until;       // no earlier than that its last lease ended
    base::TimePoint protected_until;  // from others' need of room
    bool there = true;                // the agent has it too
    bool unwanted = false;            // it was too late to cancel its load
  };

  explicit ModelBackend(Deps deps) : deps_(std::move(deps)) {}

  // The manager that gives orders from now on.
  void Serve(BackendObserver* observer) { observer_ = observer; }

  void Load(LoadJob job) override;
  void Identify(LoadJob job) override;
  void CancelLoad(const std::string& residency_id) override;
  void UpdateRecord(const ResidencyRecord& record) override;
  void Release(const std::string& residency_id) override;
  void Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory> memory,
             std::shared_ptr<const ResidentDigests> digests) override;

  // Answers. False: there is nothing to answer.
  bool FinishLoad(bool may_fail, base::Duration min_residency);
  bool FinishReading(bool may_fail);
  bool FinishDigest();
  bool FinishRelease();
  bool TellProgress();

  void GoDown();
  void ComeUp();
  // modeld has ended: what was under way is not, what was to be released is.
  void LoseModeld();
  // To the next one, which protects it for so long.
  void TellInventory(base::Duration grace);
  // It has taken what it is being told of.
  void NoteAdopted() { adopted_ = true; }

  bool is_up() const { return up_; }
  bool is_idle() const { return loads_.empty() && readings_.empty() && releasing_.empty(); }
  const std::map<std::string, Held>& held() const { return held_; }
  Held* Find(const std::string& residency_id);
  const std::vector<Job>& loads() const { return loads_; }
  const std::string& WordOf(const ResidencyRecord& record) const {
    return deps_.catalog->WordOfKey(record.sources.front().content_key);
  }

  // What the manager's ledger should say.
  uint64_t reserved_bytes() const;
  uint64_t resident_bytes() const;

 private:
  std::shared_ptr<const ResidentMemory> Allocate(const LoadJob& job) const;
  void Use(const ResidentMemory& memory);
  uint64_t Leave(const ResidentMemory& memory);
  std::string Name(const std::string& id) const { return deps_.device + "/" + id; }

  const Deps deps_;
  BackendObserver* observer_ = nullptr;
  bool up_ = false;
  std::string telling_of_;  // TellInventory: the residency's id
  bool adopted_ = false;
  std::vector<Job> loads_;
  std::vector<Job> readings_;
  std::map<std::string, Held> held_;
  std::map<std::string, uint64_t> releasing_;  // and what comes back
  std::map<std::string, int> users_;           // of segments
};

}  // namespace modeld::residency::model
