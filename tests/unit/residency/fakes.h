// A manager's surroundings, under the test's hand: a catalog of made-up checkpoints, a backend that
// does what it is told, observers that write down what they hear.

#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/executor.h"
#include "base/manual_clock.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {

// One tensor of `bytes` bytes in one segment. Aborts on error: the input is the test's own.
inline std::shared_ptr<const plan::LoadPlan> MakePlan(uint64_t segment_bytes) {
  wire::TableBuilder builder;
  builder.AddRegion(segment_bytes);
  const int64_t shape[] = {static_cast<int64_t>(segment_bytes)};
  const int64_t strides[] = {1};
  builder.Add({.name = "w",
               .dtype = wire::DType::kU8,
               .shape = shape,
               .strides = strides,
               .region = 0,
               .offset = 0,
               .size_bytes = segment_bytes});
  auto plan = std::make_shared<plan::LoadPlan>();
  plan->format = "safetensors";
  plan->segment_sizes = {segment_bytes};
  plan->ranges = {{0, 0, 0, 0, segment_bytes}};
  plan->table = plan::SealedTable::Make(builder.Build(), {}).value();
  return plan;
}

// A checkpoint's content is named by its inode; a reference is `name` or `name#alias` for another
// name of the same.
class FakeCatalog : public CheckpointCatalog {
 public:
  static constexpr uint64_t kUnit = 2 << 20;

  // `units` of 2 MiB.
  void Put(const std::string& name, uint64_t units) { sizes_[name] = units * kUnit; }
  // The file behind the name is another one from now on.
  void Replace(const std::string& name) { ++versions_[name]; }
  void FailPlan(const std::string& name, absl::Status status) {
    plan_errors_[name] = std::move(status);
  }
  int plan_count() const { return plan_count_; }

  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference) override {
    const std::string name = reference.substr(0, reference.find('#'));
    if (!sizes_.contains(name)) {
      return wire::MakeError(wire::Reason::kCheckpointNotFound, absl::StrCat("no ", name));
    }
    auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
    checkpoint->reference = reference;
    plan::OpenFile file;
    file.path = name;
    file.identity.inode = std::hash<std::string>()(absl::StrCat(name, "@", versions_[name]));
    checkpoint->files.push_back(std::move(file));
    return checkpoint;
  }

  absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(const plan::OpenCheckpoint& checkpoint,
                                                             const std::string&) override {
    ++plan_count_;
    const std::string& name = checkpoint.files.front().path;
    if (const auto error = plan_errors_.find(name); error != plan_errors_.end())
      return error->second;
    return MakePlan(sizes_.at(name));
  }

  absl::StatusOr<HostSource> PlanFromHost(const ResidencyRecord& record,
                                          const ResidentMemory& memory,
                                          const std::string&) override {
    auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
    checkpoint->reference = absl::StrCat("host:", record.id);
    return HostSource{std::move(checkpoint), MakePlan(memory.segments.front().info.size_bytes)};
  }

 private:
  std::map<std::string, uint64_t> sizes_;
  std::map<std::string, int> versions_;
  std::map<std::string, absl::Status> plan_errors_;
  int plan_count_ = 0;
};

// Writes down what it is asked, and answers when the test says so.
class FakeBackend : public DeviceBackend {
 public:
  void Load(LoadJob job) override { loads.push_back(std::move(job)); }
  void CancelLoad(const std::string& id) override { cancelled.insert(id); }
  void Release(const std::string& id) override { released.push_back(id); }
  void Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory>,
             std::shared_ptr<const ResidentDigests>) override {
    adopted.push_back(record.id);
  }

  std::shared_ptr<const ResidentMemory> Memory(const plan::LoadPlan& plan) const {
    auto memory = std::make_shared<ResidentMemory>();
    memory->table = plan.table;
    for (const uint64_t size : plan.segment_sizes) {
      SegmentInfo& info = memory->segments.emplace_back().info;
      info.kind = kind;
      info.size_bytes = size;
      info.page_size_bytes = 4096;
    }
    return memory;
  }

  // Finishes the oldest load that is not finished yet.
  void FinishLoad(Manager& manager) {
    const LoadJob job = Take();
    manager.OnLoaded(job.record.id, Memory(*job.plan), {"buffered", 1});
  }
  void FailLoad(Manager& manager, absl::Status status) {
    manager.OnLoadFailed(Take().record.id, std::move(status));
  }
  void FinishReleases(Manager& manager) {
    for (const std::string& id : std::exchange(released, {})) manager.OnReleased(id, 0);
  }

  std::vector<LoadJob> loads;
  std::set<std::string> cancelled;
  std::vector<std::string> released;
  std::vector<std::string> adopted;
  wire::SegmentKind kind = wire::SegmentKind::kHostMemfd;  // of what it loads from now on

 private:
  LoadJob Take() {
    LoadJob job = std::move(loads.front());
    loads.erase(loads.begin());
    return job;
  }
};

class RecordingObserver : public AcquireObserver {
 public:
  void OnProgress(const Progress& progress) override { progresses.push_back(progress); }
  void OnGranted(const Grant& given) override { grants.push_back(given); }
  void OnDigestKnown(const std::string& digest) override { digests.push_back(digest); }
  void OnDrainRequested(const std::string& message) override { drains.push_back(message); }
  void OnLost(const absl::Status& why) override { losses.push_back(why); }
  void OnEnded(const absl::Status& status) override { ends.push_back(status); }

  bool granted() const { return grants.size() == 1; }
  wire::Reason end_reason() const { return wire::GetReason(ends.at(0)); }

  std::vector<Progress> progresses;
  std::vector<Grant> grants;
  std::vector<std::string> digests;
  std::vector<std::string> drains;
  std::vector<absl::Status> losses;
  std::vector<absl::Status> ends;
};

class RecordingPreload : public PreloadObserver {
 public:
  void OnProgress(const Progress& progress) override { progresses.push_back(progress); }
  void OnDone(const absl::StatusOr<ResidencyInfo>& result) override { results.push_back(result); }

  std::vector<Progress> progresses;
  std::vector<absl::StatusOr<ResidencyInfo>> results;
};

}  // namespace modeld::residency
