// A manager among agents, files, workers and operators that do what chance says, and what it has
// promised them, checked as it goes.
//
// What the world knows by itself: what is in memory (ModelBackend), what is durable (ModelStore),
// what files hold and have held (ModelCatalog), who asked for what and was told what (Worker). It
// follows the events of the manager only to know when to look.

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backend.h"
#include "base/executor.h"
#include "base/manual_clock.h"
#include "catalog.h"
#include "clients.h"
#include "journal.h"
#include "residency/manager.h"
#include "store.h"

namespace modeld::residency::model {

// Runs its tasks in whatever order, when it is told to.
class LooseExecutor : public base::Executor {
 public:
  void Post(base::Task task) override { tasks_.push_back(std::move(task)); }
  bool RunOne(Chance& chance) {
    if (tasks_.empty()) return false;
    const auto at = tasks_.begin() + static_cast<std::ptrdiff_t>(chance.Below(tasks_.size()));
    const base::Task task = std::move(*at);
    tasks_.erase(at);
    task();
    return true;
  }
  void Clear() { tasks_.clear(); }

 private:
  std::vector<base::Task> tasks_;
};

class World {
 public:
  explicit World(uint64_t seed);
  ~World();

  // One operation and its checks.
  void Step();
  // Lets everything come to its end, and checks that nobody has been forgotten.
  void ComeToRest();

  const Journal& journal() const { return journal_; }

 private:
  struct Operation {
    unsigned weight;
    const char* name;
    void (World::*run)();
  };
  static const std::vector<Operation>& Operations();

  // world_operations.cc
  void Acquire();
  void AcquireByDigest();
  void Resume();
  void Preload();
  void SetAlias();
  void RemoveAlias();
  void ReleaseLease();
  void CancelWait();
  void RunTask();
  void FinishLoad();
  void FinishReading();
  void FinishDigest();
  void FinishRelease();
  void TellProgress();
  void FinishSave();
  void Advance();
  void Evict();
  void Pin();
  void Look();
  void WriteFile();
  void ToggleAgent();
  void ChangePolicy();
  void Restart();

  ModelSpec AnySpec();
  std::string AnyFile();
  std::string AnyReference();
  std::string AnySelector();
  std::optional<base::TimePoint> AnyDeadline();
  std::optional<base::Duration> AnyKeepAlive();
  ModelBackend& AnyBackend() { return backends_[chance_.Below(2)]; }
  void Ask(const std::shared_ptr<Worker>& worker);
  std::shared_ptr<Worker> NewWorker();
  std::vector<std::shared_ptr<Worker>> WorkersThat(bool (Worker::*are)() const) const;
  void Save(const absl::Status& status);
  void StartManager();

  // world_checks.cc
  void OnGranted(Worker& worker);
  void OnEvent(const Event& event);
  void Check();
  void CheckWorkers();
  void CheckSnapshot();
  void CheckDevice(const DeviceInfo& device);
  void CheckResidency(const ResidencyInfo& info);
  void CheckOnce(const Snapshot& snapshot);
  void CheckAliases(const std::vector<Alias>& aliases);
  void CheckEnd(const Worker& worker);
  bool IsLeased(const std::string& residency_id) const;
  bool MayHold(const Worker& worker, const std::string& word) const;
  // nullopt: the manager may or may not know.
  std::optional<bool> IsNamedBy(const ModelBackend::Held& held, const Alias& alias) const;
  ModelBackend& BackendOf(const std::string& device) { return backends_[device == "host" ? 0 : 1]; }
  const ModelBackend::Held* FindHeld(const std::string& residency_id);
  Snapshot TakeSnapshot();

  Chance chance_;
  Journal journal_;
  ModelCatalog catalog_;
  ModelStore store_;
  std::vector<ModelBackend> backends_;  // host, gpu
  std::map<std::string, uint64_t> capacities_;
  std::map<std::string, uint64_t> most_bytes_;  // that may be in use, by device
  Policy policy_;
  LooseExecutor resolving_;
  LooseExecutor planning_;
  std::optional<base::ManualClock> clock_;
  std::optional<Manager> manager_;
  uint64_t last_id_ = 0;
  uint64_t last_name_ = 0;
  bool calm_ = false;  // nothing fails any more

  std::vector<std::shared_ptr<Worker>> workers_;
  std::vector<std::shared_ptr<Preloader>> preloaders_;
  std::vector<std::shared_ptr<Namer>> namers_;
  std::map<uint64_t, std::string> unanswered_;  // evictions, pins and the like
  std::map<std::string, Alias> aliases_;        // by name: as the manager should have them
};

}  // namespace modeld::residency::model
