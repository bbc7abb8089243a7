// A manager's surroundings, under the test's hand: a catalog of made-up checkpoints, a backend that
// does what it is told, observers that write down what they hear.

#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/executor.h"
#include "base/manual_clock.h"
#include "residency/manager.h"
#include "wire/digest.h"
#include "wire/error.h"

namespace modeld::residency {

// What something holds that is called `content`.
inline std::shared_ptr<const plan::ContentDigests> DigestsOf(const std::string& content) {
  plan::ContentDigests digests;
  digests.weights = wire::TensorDigest(std::as_bytes(std::span(content)));
  digests.tensors = {digests.weights};
  return std::make_shared<const plan::ContentDigests>(std::move(digests));
}

// One tensor of `bytes` bytes in one segment; the sample of it is of `content`, and none is taken
// of an empty one. Aborts on error: the input is the test's own.
inline std::shared_ptr<plan::LoadPlan> MakePlan(uint64_t segment_bytes,
                                                const std::string& content = {}) {
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
  plan::Sample sample = {};
  if (!content.empty()) std::memcpy(sample.data(), &DigestsOf(content)->weights, sizeof(sample));
  plan->fingerprint = plan::FingerprintOf(plan->table->view(), {sample});
  return plan;
}

// A file is named by its inode; a reference is `name` or `name#alias` for another name of the same
// file. Unless told otherwise each file has a content of its own.
class FakeCatalog : public CheckpointCatalog {
 public:
  static constexpr uint64_t kUnit = 2 << 20;

  // `units` of 2 MiB.
  void Put(const std::string& name, uint64_t units) { sizes_[name] = units * kUnit; }
  // The same as a file that is called `content`, whether or not a sample of it is taken.
  void PutContent(const std::string& name, uint64_t units, const std::string& content,
                  bool sampled = true) {
    Put(name, units);
    contents_[name] = content;
    if (!sampled) unsampled_.insert(name);
  }
  // Its digest is known from an earlier load.
  void Cache(const std::string& name) { cached_.insert(name); }
  std::string ContentOf(const std::string& name) const {
    const auto found = contents_.find(name);
    const auto version = versions_.find(name);
    if (found != contents_.end()) return found->second;
    return absl::StrCat(name, "@", version == versions_.end() ? 0 : version->second);
  }
  // The file behind the name is another one from now on.
  void Replace(const std::string& name) { ++versions_[name]; }
  void FailPlan(const std::string& name, absl::Status status) {
    plan_errors_[name] = std::move(status);
  }
  int plan_count() const { return plan_count_; }

  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference, const plan::LoadConfig& config = {}) override {
    const std::string name = reference.substr(0, reference.find('#'));
    if (!sizes_.contains(name)) {
      return wire::MakeError(wire::Reason::kCheckpointNotFound, absl::StrCat("no ", name));
    }
    auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
    checkpoint->reference = reference;
    checkpoint->config = config;
    checkpoint->settled = true;
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
    auto plan = MakePlan(sizes_.at(name), unsampled_.contains(name) ? "" : ContentOf(name));
    if (cached_.contains(name)) plan->digests = DigestsOf(ContentOf(name));
    return plan;
  }

  absl::StatusOr<HostSource> PlanFromHost(const ResidencyRecord& record,
                                          const ResidentMemory& memory,
                                          std::shared_ptr<const plan::ContentDigests> content,
                                          const std::string&) override {
    auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
    checkpoint->reference = absl::StrCat("host:", record.id);
    auto plan = MakePlan(memory.segments.front()->info.size_bytes);
    plan->digests = std::move(content);
    return HostSource{std::move(checkpoint), std::move(plan)};
  }

  void RememberDigests(const std::string& content_key,
                       const plan::ContentDigests& digests) override {
    remembered[content_key] = digests.weights;
  }

  std::map<std::string, wire::Digest> remembered;

 private:
  std::map<std::string, uint64_t> sizes_;
  std::map<std::string, int> versions_;
  std::map<std::string, std::string> contents_;
  std::set<std::string> unsampled_;
  std::set<std::string> cached_;
  std::map<std::string, absl::Status> plan_errors_;
  int plan_count_ = 0;
};

// Writes down what it is asked, and answers when the test says so.
class FakeBackend : public DeviceBackend {
 public:
  void Load(LoadJob job) override { loads.push_back(std::move(job)); }
  void Identify(LoadJob job) override { readings.push_back(std::move(job)); }
  void CancelLoad(const std::string& id) override { cancelled.insert(id); }
  void UpdateRecord(const ResidencyRecord& record) override { records[record.id] = record; }
  void Release(const std::string& id) override { released.push_back(id); }
  void Adopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory>,
             std::shared_ptr<const ResidentDigests>) override {
    adopted.push_back(record.id);
  }

  std::shared_ptr<const ResidentMemory> Memory(
      const std::string& id, const plan::LoadPlan& plan,
      const std::vector<BorrowedSegment>& borrowed = {}) const {
    auto memory = std::make_shared<ResidentMemory>();
    memory->table = plan.table;
    for (const uint64_t size : plan.segment_sizes) {
      auto segment = std::make_shared<LoadedSegment>();
      segment->id = absl::StrCat(id, "/", memory->segments.size());
      segment->info.kind = kind;
      segment->info.size_bytes = size;
      segment->info.page_size_bytes = 4096;
      memory->segments.push_back(std::move(segment));
    }
    for (const BorrowedSegment& one : borrowed) memory->segments.push_back(one.segment);
    return memory;
  }

  // Finishes the oldest load that is not finished yet.
  void FinishLoad(Manager& manager) {
    const LoadJob job = Take();
    manager.OnLoaded(job.record.id, Memory(job.record.id, *job.plan, job.borrowed),
                     {"buffered", 1});
  }
  void FailLoad(Manager& manager, absl::Status status) {
    manager.OnLoadFailed(Take().record.id, std::move(status));
  }
  // Reads the files of the oldest that is to be read.
  void FinishReading(Manager& manager, const FakeCatalog& catalog) {
    const LoadJob job = std::move(readings.front());
    readings.erase(readings.begin());
    manager.OnIdentified(job.record.id,
                         DigestsOf(catalog.ContentOf(job.checkpoint->files.front().path)));
  }
  void FinishReleases(Manager& manager) {
    for (const std::string& id : std::exchange(released, {})) manager.OnReleased(id, 0);
  }

  std::vector<LoadJob> loads;
  std::vector<LoadJob> readings;
  std::map<std::string, ResidencyRecord> records;
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

// Keeps what it is told, or refuses; answers at once, or when the test says so.
class FakeState : public StateStore {
 public:
  void Save(StateChange change, std::function<void(absl::Status)> done) override {
    waiting_.push_back({std::move(change), std::move(done)});
    if (!hold) Finish();
  }
  void FinishFirst() {
    auto [change, done] = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    changes.push_back(std::move(change));
    done(absl::OkStatus());
  }
  void Finish() {
    for (auto& [change, done] : std::exchange(waiting_, {})) {
      if (error.ok()) changes.push_back(std::move(change));
      done(error);
    }
  }

  bool hold = false;
  absl::Status error;
  std::vector<StateChange> changes;

 private:
  std::vector<std::pair<StateChange, std::function<void(absl::Status)>>> waiting_;
};

class RecordingAlias : public AliasObserver {
 public:
  void OnProgress(const Progress& progress) override { progresses.push_back(progress); }
  void OnDone(const absl::StatusOr<AliasResult>& result) override { results.push_back(result); }

  std::vector<Progress> progresses;
  std::vector<absl::StatusOr<AliasResult>> results;
};

class RecordingObserver : public AcquireObserver {
 public:
  void OnProgress(const Progress& progress) override { progresses.push_back(progress); }
  void OnGranted(const Grant& given) override { grants.push_back(given); }
  void OnDigestKnown(const std::string& digest) override { digests.push_back(digest); }
  void OnDrainRequested(const std::string& message, bool) override { drains.push_back(message); }
  void OnSuperseded(const std::string& alias, const std::string& reference) override {
    superseded.push_back(absl::StrCat(alias, " -> ", reference));
  }
  void OnLost(const absl::Status& why) override { losses.push_back(why); }
  void OnEnded(const absl::Status& status) override { ends.push_back(status); }

  bool granted() const { return grants.size() == 1; }
  wire::Reason end_reason() const { return wire::GetReason(ends.at(0)); }

  std::vector<Progress> progresses;
  std::vector<Grant> grants;
  std::vector<std::string> digests;
  std::vector<std::string> drains;
  std::vector<std::string> superseded;
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
