// An observer of a device backend that remembers what it was told and lets a test wait for it.

#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "residency/device_backend.h"
#include "wire/mutex.h"

namespace modeld::test {

// Thread-safe; members are read under Wait or after the backend has stopped.
class BackendRecorder : public residency::BackendObserver {
 public:
  struct Inventory {
    residency::ResidencyRecord record;
    std::shared_ptr<const residency::ResidentMemory> memory;
    std::shared_ptr<const residency::ResidentDigests> digests;
  };

  // Waits until `condition` holds; false after a minute. Conditions run under the recorder's lock.
  bool Wait(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    wire::MutexLock lock(mutex_);
    while (!condition()) {
      if (!changed_.WaitUntil(mutex_, deadline)) return condition();
    }
    return true;
  }

  bool WaitLoaded(const std::string& id) {
    return Wait([&] { return loaded.contains(id) || failed.contains(id); }) && loaded.contains(id);
  }
  bool WaitFailed(const std::string& id) {
    return Wait([&] { return loaded.contains(id) || failed.contains(id); }) && failed.contains(id);
  }
  bool WaitReleased(const std::string& id) {
    return Wait([&] { return released.contains(id); });
  }
  bool WaitDigest(const std::string& id) {
    return Wait([&] { return digests.contains(id); });
  }
  bool WaitProgress(const std::string& id) {
    return Wait([&] { return progress.contains(id); });
  }
  bool WaitUps(int count) {
    return Wait([&] { return ups >= count; });
  }

  // Drops what is kept of a residency, its descriptors too.
  void Forget(const std::string& id) {
    wire::MutexLock lock(mutex_);
    loaded.erase(id);
    digests.erase(id);
    released.erase(id);
  }

  void OnLoadProgress(const std::string& id, uint64_t bytes_done) override {
    Note([&] { progress[id] = bytes_done; });
  }
  void OnLoaded(const std::string& id, std::shared_ptr<const residency::ResidentMemory> memory,
                const residency::LoadStats& load_stats) override {
    Note([&] {
      loaded[id] = std::move(memory);
      stats[id] = load_stats;
    });
  }
  void OnLoadFailed(const std::string& id, absl::Status status) override {
    Note([&] { failed[id] = std::move(status); });
  }
  void OnDigest(const std::string& id,
                std::shared_ptr<const residency::ResidentDigests> known) override {
    Note([&] { digests[id] = std::move(known); });
  }
  void OnIdentified(const std::string& id,
                    absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> content) override {
    Note([&] { identified.emplace(id, std::move(content)); });
  }
  void OnReleased(const std::string& id, uint64_t unreturned_bytes) override {
    Note([&] { ++released[id]; });
  }
  void OnAgentUp(const std::string& device, const residency::AgentInfo& agent) override {
    Note([&] {
      ++ups;
      info = agent;
    });
  }
  void OnAgentDown(const std::string& device, const absl::Status& why) override {
    Note([&] {
      ++downs;
      why_down = why;
      failed_before_down = failed.size();
    });
  }
  void OnInventory(const residency::ResidencyRecord& record,
                   std::shared_ptr<const residency::ResidentMemory> memory,
                   std::shared_ptr<const residency::ResidentDigests> known) override {
    Note([&] { inventory[record.id] = {record, std::move(memory), std::move(known)}; });
  }

  std::map<std::string, uint64_t> progress;
  std::map<std::string, std::shared_ptr<const residency::ResidentMemory>> loaded;
  std::map<std::string, residency::LoadStats> stats;
  std::map<std::string, absl::Status> failed;
  std::map<std::string, std::shared_ptr<const residency::ResidentDigests>> digests;
  std::map<std::string, absl::StatusOr<std::shared_ptr<const plan::ContentDigests>>> identified;
  std::map<std::string, int> released;
  std::map<std::string, Inventory> inventory;
  residency::AgentInfo info;
  absl::Status why_down;
  size_t failed_before_down = 0;
  int ups = 0;
  int downs = 0;

 private:
  void Note(const std::function<void()>& change) {
    wire::MutexLock lock(mutex_);
    change();
    changed_.NotifyAll();
  }

  wire::Mutex mutex_;
  wire::CondVar changed_;
};

}  // namespace modeld::test
