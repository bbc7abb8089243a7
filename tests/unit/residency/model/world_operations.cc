// World: what can happen.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "wire/error.h"
#include "world.h"

namespace modeld::residency::model {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kMostWorkers = 16;
constexpr const char* kFiles[] = {"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"};
// Some are alike, some have letters in common, the last one fits nowhere.
constexpr const char* kWords[] = {"abcd", "abce", "xyce", "abcd", "klmn",   "ab",
                                  "cd",   "ab",   "q",    "r",    "abcdef", "uvwxyz"};
constexpr const char* kHugeWord = "ABCDEFGHIJKLMNOP";
constexpr const char* kAliases[] = {"prod", "next", "old"};
constexpr uint64_t kHostLetters = 14;
constexpr uint64_t kGpuLetters = 9;

template <class T, size_t N>
const T& OneOf(Chance& chance, const T (&all)[N]) {
  return all[chance.Below(N)];
}

}  // namespace

const std::vector<World::Operation>& World::Operations() {
  static const std::vector<Operation> operations = {
      {120, "acquire", &World::Acquire},
      {10, "acquire by digest", &World::AcquireByDigest},
      {6, "resume", &World::Resume},
      {20, "preload", &World::Preload},
      {25, "set alias", &World::SetAlias},
      {6, "remove alias", &World::RemoveAlias},
      {90, "release", &World::ReleaseLease},
      {25, "cancel", &World::CancelWait},
      {220, "run", &World::RunTask},
      {90, "loaded", &World::FinishLoad},
      {60, "identified", &World::FinishReading},
      {70, "digest", &World::FinishDigest},
      {80, "released", &World::FinishRelease},
      {5, "progress", &World::TellProgress},
      {50, "saved", &World::FinishSave},
      {60, "advance", &World::Advance},
      {25, "evict", &World::Evict},
      {16, "pin", &World::Pin},
      {8, "look", &World::Look},
      {10, "write", &World::WriteFile},
      {6, "agent", &World::ToggleAgent},
      {3, "policy", &World::ChangePolicy},
      {2, "restart", &World::Restart},
  };
  return operations;
}

World::World(uint64_t seed) : chance_(seed), catalog_(chance_) {
  for (const char* file : kFiles) catalog_.Write(file, OneOf(chance_, kWords));
  catalog_.Write("huge", kHugeWord);
  for (const char* device : {"host", "gpu"}) {
    const bool is_host = device == std::string("host");
    backends_.emplace_back(ModelBackend::Deps{
        .device = device,
        .kind = is_host ? wire::SegmentKind::kHostMemfd : wire::SegmentKind::kCudaIpc,
        .catalog = &catalog_,
        .journal = &journal_,
        .chance = &chance_,
        .is_leased = [this](const std::string& id) { return IsLeased(id); },
        .now = [this] { return clock_->Now(); }});
    capacities_[device] = (is_host ? kHostLetters : kGpuLetters) * kLetterBytes;
  }
  StartManager();
}

World::~World() = default;

void World::StartManager() {
  manager_.reset();
  resolving_.Clear();
  planning_.Clear();
  clock_.emplace();
  manager_.emplace(ManagerDeps{.catalog = &catalog_,
                               .resolve_executor = &resolving_,
                               .plan_executor = &planning_,
                               .clock = &*clock_,
                               .timer = &*clock_,
                               .state = &store_,
                               .policy = policy_,
                               .make_id = [this] {
                                 // Mixed, so that their order is not that of their making.
                                 return absl::StrFormat("%016x", ++last_id_ * 0x9e3779b97f4a7c15U);
                               }});
  manager_->AddDevice("host", capacities_.at("host"), &backends_.front());
  manager_->AddDevice("gpu", capacities_.at("gpu"), &backends_.back());
  manager_->events().Subscribe(0, [this](const Event& event) { OnEvent(event); });
  manager_->Restore(store_.state());
  aliases_ = store_.state().aliases;
  for (ModelBackend& backend : backends_) {
    backend.Serve(&*manager_);
    backend.TellInventory(policy_.adoption_grace);
  }
  for (const auto& [device, capacity] : capacities_) {
    most_bytes_[device] = std::max(capacity, BackendOf(device).resident_bytes());
  }
}

void World::Step() {
  static const size_t all_weights = [] {
    size_t weights = 0;
    for (const Operation& operation : Operations()) weights += operation.weight;
    return weights;
  }();
  size_t at = chance_.Below(all_weights);
  for (const Operation& operation : Operations()) {
    if (at < operation.weight) {
      journal_.Note(operation.name);
      (this->*operation.run)();
      break;
    }
    at -= operation.weight;
  }
  Check();
}

// ---- wishes ----

std::string World::AnyFile() { return chance_.Below(60) == 0 ? "huge" : OneOf(chance_, kFiles); }

std::string World::AnyReference() {
  if (chance_.Percent(25)) return OneOf(chance_, kAliases);
  return chance_.Percent(80) ? AnyFile() : absl::StrCat(AnyFile(), "#2");
}

std::string World::AnySelector() {
  if (chance_.Percent(50)) return AnyReference();
  std::vector<std::string> ids;
  for (const ModelBackend& backend : backends_) {
    for (const auto& [id, held] : backend.held()) ids.push_back(id);
    for (const auto& load : backend.loads()) ids.push_back(load.job.record.id);
  }
  if (ids.empty()) return "nothing";
  return ids[chance_.Below(ids.size())];
}

std::optional<base::TimePoint> World::AnyDeadline() {
  if (chance_.Percent(60)) return std::nullopt;
  return clock_->Now() + seconds(chance_.Below(20));
}

std::optional<base::Duration> World::AnyKeepAlive() {
  if (chance_.Percent(70)) return std::nullopt;
  return chance_.Percent(20) ? kForever : base::Duration(seconds(chance_.Below(4) * 5));
}

ModelSpec World::AnySpec() {
  ModelSpec spec;
  spec.reference = AnyReference();
  if (chance_.Percent(35)) spec.device = "gpu";
  if (chance_.Percent(8)) spec.instance = "other";
  if (chance_.Percent(6)) spec.private_copy = true;
  if (chance_.Percent(8)) spec.keep_host = true;
  if (chance_.Percent(12)) {
    const std::string name = ModelCatalog::NameOf(spec.reference);
    const bool right = chance_.Percent(70) && !spec.reference.empty() && name[0] == 'f';
    spec.expected_digest = DigestTextOf(right ? catalog_.WordOf(name) : OneOf(chance_, kWords));
  }
  return spec;
}

std::shared_ptr<Worker> World::NewWorker() {
  auto worker = std::make_shared<Worker>(journal_, [this](Worker& one) { OnGranted(one); });
  worker->name = absl::StrCat("w", ++last_name_);
  worker->request.holder.session = last_name_;
  worker->request.holder.program = worker->name;
  worker->request.wait_for_room = chance_.Percent(50);
  worker->request.deadline = AnyDeadline();
  worker->request.keep_alive = AnyKeepAlive();
  return worker;
}

void World::Ask(const std::shared_ptr<Worker>& worker) {
  const ModelSpec& spec = worker->spec;
  journal_.Add(absl::StrCat(worker->name, " ", spec.reference, " on ", spec.device,
                            spec.instance.empty() ? "" : " other",
                            spec.private_copy ? " private" : "", spec.keep_host ? " keep_host" : "",
                            spec.expected_digest.empty() ? "" : " expecting",
                            worker->request.wait_for_room ? " patient" : ""));
  const std::string name = ModelCatalog::NameOf(spec.reference);
  worker->since = name[0] == 'f' || name == "huge" ? catalog_.VersionsOf(name) : 0;
  workers_.push_back(worker);
  worker->ticket = manager_->Acquire(worker->request, worker);
}

void World::Acquire() {
  if (workers_.size() >= kMostWorkers) return ReleaseLease();
  const auto worker = NewWorker();
  worker->spec = AnySpec();
  Ask(worker);
}

void World::AcquireByDigest() {
  if (workers_.size() >= kMostWorkers) return;
  const auto worker = NewWorker();
  worker->spec = AnySpec();
  worker->spec.keep_host = false;
  worker->spec.expected_digest.clear();
  worker->spec.reference = DigestTextOf(OneOf(chance_, kWords));
  Ask(worker);
}

// As after a lost connection: the lease of before is still there, or is not.
void World::Resume() {
  const auto holding = WorkersThat(&Worker::IsHolding);
  if (holding.empty() || workers_.size() >= kMostWorkers) return;
  const Worker& before = *holding[chance_.Below(holding.size())];
  if (before.spec.private_copy) return;
  const auto worker = NewWorker();
  worker->spec = before.spec;
  worker->since = before.since;
  worker->request.resume = ResumeRequest{before.grant->residency_id, before.grant->generation};
  journal_.Add(absl::StrCat(worker->name, " as ", before.name));
  workers_.push_back(worker);
  worker->ticket = manager_->Acquire(worker->request, worker);
  if (!worker->IsHolding()) journal_.Broken(absl::StrCat(worker->name, " could not resume"));
}

void World::Preload() {
  if (preloaders_.size() >= 4) return;
  PreloadRequest request;
  request.spec = AnySpec();
  request.spec.private_copy = false;
  request.no_wait = chance_.Percent(40);
  request.pin = chance_.Percent(15);
  request.wait_for_room = chance_.Percent(40);
  request.keep_alive = AnyKeepAlive();
  request.deadline = AnyDeadline();
  auto preloader = std::make_shared<Preloader>(journal_, absl::StrCat("preload ", ++last_name_));
  preloader->wait_for_room = request.wait_for_room;
  preloaders_.push_back(preloader);
  journal_.Add(absl::StrCat(last_name_, " ", request.spec.reference, " on ", request.spec.device,
                            request.no_wait ? " no_wait" : "", request.pin ? " pin" : "",
                            request.keep_alive ? " keep_alive" : "",
                            request.wait_for_room ? " patient" : ""));
  preloader->ticket = manager_->Preload(request, preloader);
}

void World::SetAlias() {
  if (namers_.size() >= 4) return;
  SetAliasRequest request;
  request.name = OneOf(chance_, kAliases);
  request.spec.reference = AnyReference();
  if (chance_.Percent(30)) request.spec.device = "gpu";
  request.keep_alive = AnyKeepAlive();
  request.deadline = AnyDeadline();
  request.wait_for_room = chance_.Percent(60);
  auto namer = std::make_shared<Namer>(journal_, absl::StrCat("alias ", ++last_name_));
  namer->wait_for_room = request.wait_for_room;
  namers_.push_back(namer);
  journal_.Add(absl::StrCat(last_name_, " ", request.name, " = ", request.spec.reference, " on ",
                            request.spec.device));
  namer->ticket = manager_->SetAlias(request, namer);
}

void World::RemoveAlias() {
  const std::string name = OneOf(chance_, kAliases);
  const uint64_t question = ++last_name_;
  journal_.Add(name);
  unanswered_[question] = "remove alias";
  manager_->RemoveAlias(name, [this, question](const absl::StatusOr<Alias>&) {
    if (unanswered_.erase(question) == 0) journal_.Broken("an alias is removed twice");
  });
}

std::vector<std::shared_ptr<Worker>> World::WorkersThat(bool (Worker::*are)() const) const {
  std::vector<std::shared_ptr<Worker>> those;
  for (const auto& worker : workers_) {
    if (((*worker).*are)()) those.push_back(worker);
  }
  return those;
}

void World::ReleaseLease() {
  const auto holding = WorkersThat(&Worker::IsHolding);
  if (holding.empty()) return;
  Worker& worker = *holding[chance_.Below(holding.size())];
  journal_.Add(worker.name);
  worker.is_over = true;
  for (ModelBackend& backend : backends_) {
    if (auto* held = backend.Find(worker.grant->residency_id)) held->used_until = clock_->Now();
  }
  manager_->Release(worker.ticket, /*holder_died=*/chance_.Percent(10));
}

void World::CancelWait() {
  const auto waiting = WorkersThat(&Worker::IsWaiting);
  const size_t kind = chance_.Below(6);
  if (kind == 0 && !preloaders_.empty()) {
    Preloader& preloader = *preloaders_[chance_.Below(preloaders_.size())];
    preloader.is_over = true;
    return manager_->Release(preloader.ticket);
  }
  if (kind == 1 && !namers_.empty()) {
    Namer& namer = *namers_[chance_.Below(namers_.size())];
    if (namer.is_over) return;
    namer.may_be_late = store_.is_saving();
    namer.is_over = true;
    return manager_->Release(namer.ticket);
  }
  if (waiting.empty()) return;
  Worker& worker = *waiting[chance_.Below(waiting.size())];
  journal_.Add(worker.name);
  worker.is_over = true;
  manager_->Release(worker.ticket);
}

// ---- what comes back ----

void World::RunTask() {
  LooseExecutor& first = chance_.Percent(50) ? resolving_ : planning_;
  LooseExecutor& second = &first == &resolving_ ? planning_ : resolving_;
  if (!first.RunOne(chance_)) second.RunOne(chance_);
}
void World::FinishLoad() { AnyBackend().FinishLoad(!calm_, policy_.min_residency); }
void World::FinishReading() { backends_[0].FinishReading(!calm_); }
void World::FinishDigest() { AnyBackend().FinishDigest(); }
void World::FinishRelease() { AnyBackend().FinishRelease(); }
void World::TellProgress() { AnyBackend().TellProgress(); }

void World::FinishSave() {
  if (!store_.is_saving()) return;
  Save(!calm_ && chance_.Percent(10) ? absl::ResourceExhaustedError("the disk is full")
                                     : absl::OkStatus());
}

void World::Advance() {
  constexpr base::Duration kSteps[] = {milliseconds(1), milliseconds(300), seconds(1),
                                       seconds(3),      seconds(5),        seconds(20)};
  const base::Duration step = OneOf(chance_, kSteps);
  journal_.Add(absl::StrCat(step / milliseconds(1), " ms"));
  clock_->Advance(step);
}

// ---- operators ----

void World::Evict() {
  EvictRequest request;
  request.selector = AnySelector();
  request.drain = chance_.Percent(40);
  if (chance_.Percent(50)) request.drain_deadline = clock_->Now() + seconds(chance_.Below(5));
  request.dry_run = chance_.Percent(20);
  const uint64_t question = ++last_name_;
  journal_.Add(
      absl::StrCat(request.selector, request.drain ? " drain" : "", request.dry_run ? " dry" : ""));
  unanswered_[question] = absl::StrCat("evict ", request.selector);
  manager_->Evict(request, [this, question](const absl::StatusOr<EvictResult>&) {
    if (unanswered_.erase(question) == 0) journal_.Broken("an eviction is answered twice");
  });
}

void World::Pin() {
  const std::string selector = AnySelector();
  const bool pinned = chance_.Percent(35);
  const uint64_t question = ++last_name_;
  journal_.Add(absl::StrCat(pinned ? "" : "not ", selector));
  unanswered_[question] = absl::StrCat("pin ", selector);
  manager_->SetPinned(selector, pinned, [this, question](const absl::StatusOr<ResidencyInfo>&) {
    if (unanswered_.erase(question) == 0) journal_.Broken("a pin is answered twice");
  });
}

void World::Look() {
  const std::string selector = AnySelector();
  const uint64_t question = ++last_name_;
  journal_.Add(selector);
  unanswered_[question] = absl::StrCat("look at ", selector);
  if (chance_.Percent(90)) {
    return manager_->Find(selector, [this, question](const absl::StatusOr<ResidencyInfo>&) {
      if (unanswered_.erase(question) == 0) journal_.Broken("a look is answered twice");
    });
  }
  // Copies the whole history.
  manager_->Explain(selector, [this, question](const absl::StatusOr<Explanation>&) {
    if (unanswered_.erase(question) == 0) journal_.Broken("an explanation is given twice");
  });
}

void World::WriteFile() {
  const std::string name = OneOf(chance_, kFiles);
  const std::string word = chance_.Percent(40) ? catalog_.WordOf(name) : OneOf(chance_, kWords);
  journal_.Add(absl::StrCat(name, " ", word));
  catalog_.Write(name, word);
}

void World::ToggleAgent() {
  ModelBackend& backend = AnyBackend();
  journal_.Add(absl::StrCat(&backend == &backends_.front() ? "host" : "gpu",
                            backend.is_up() ? " down" : " up"));
  backend.is_up() ? backend.GoDown() : backend.ComeUp();
}

void World::ChangePolicy() {
  constexpr base::Duration kKeepAlives[] = {kForever, kForever, seconds(0), seconds(2),
                                            seconds(30)};
  constexpr base::Duration kProtections[] = {seconds(0), seconds(0), seconds(1), seconds(10)};
  policy_.keep_alive = OneOf(chance_, kKeepAlives);
  policy_.min_residency = OneOf(chance_, kProtections);
  policy_.adoption_grace = OneOf(chance_, kProtections);
  journal_.Add(absl::StrCat("min_residency ", policy_.min_residency / seconds(1), " grace ",
                            policy_.adoption_grace / seconds(1)));
  manager_->SetPolicy(policy_);
}

// modeld ends, as by a crash, and another one takes over: those who held something come back for
// it, and those who waited ask somebody else.
void World::Restart() {
  const auto holding = WorkersThat(&Worker::IsHolding);
  workers_.clear();
  preloaders_.clear();
  namers_.clear();
  unanswered_.clear();
  store_.Crash(chance_.Below(store_.save_count() + 1));
  for (ModelBackend& backend : backends_) backend.LoseModeld();
  capacities_["host"] = (kHostLetters - (chance_.Percent(20) ? 3 : 0)) * kLetterBytes;
  StartManager();
  for (const auto& before : holding) {
    const ModelBackend::Held* const held = FindHeld(before->grant->residency_id);
    if (held == nullptr || chance_.Percent(30)) continue;
    const auto worker = NewWorker();
    worker->spec = before->spec;
    worker->since = before->since;
    worker->request.keep_alive.reset();
    worker->request.resume = ResumeRequest{before->grant->residency_id, before->grant->generation};
    workers_.push_back(worker);
    worker->ticket = manager_->Acquire(worker->request, worker);
    if (!worker->IsHolding()) journal_.Broken(absl::StrCat(before->name, " could not come back"));
  }
}

// ---- the end ----

void World::ComeToRest() {
  calm_ = true;
  catalog_.FailSome(false);
  journal_.Note("come to rest");
  for (ModelBackend& backend : backends_) {
    if (!backend.is_up()) backend.ComeUp();
  }
  // First with nothing but time, so that those who wait for room get it in turn.
  for (int round = 0; round < 200 && !journal_.is_broken(); ++round) {
    bool busy = true;
    while (busy && !journal_.is_broken()) {
      busy = resolving_.RunOne(chance_) || planning_.RunOne(chance_);
      for (ModelBackend& backend : backends_) {
        busy = backend.FinishLoad(false, policy_.min_residency) || backend.FinishReading(false) ||
               backend.FinishDigest() || backend.FinishRelease() || busy;
      }
      if (store_.is_saving()) {
        Save(absl::OkStatus());
        busy = true;
      }
    }
    for (const ResidencyInfo& info : TakeSnapshot().residencies) {
      if (info.pinned) manager_->SetPinned(info.id, false, [](const auto&) {});
    }
    if (!WorkersThat(&Worker::IsHolding).empty()) ReleaseLease();
    clock_->Advance(seconds(1));
    Check();
  }
  if (journal_.is_broken()) return;

  journal_.Note("rest");
  for (const auto& worker : workers_) {
    if (!worker->is_over) journal_.Broken(absl::StrCat(worker->name, " is forgotten"));
  }
  for (const auto& preloader : preloaders_) {
    if (!preloader->is_over) journal_.Broken("a preload is forgotten");
  }
  for (const auto& namer : namers_) {
    if (!namer->is_over) journal_.Broken("an alias is forgotten");
  }
  for (const auto& [number, question] : unanswered_) {
    journal_.Broken(absl::StrCat("no answer to: ", question));
  }
  const Snapshot snapshot = TakeSnapshot();
  for (const DeviceInfo& device : snapshot.devices) {
    if (device.reserved_bytes != 0) journal_.Broken("something is still reserved");
    // Nobody reads or waits: all could go.
    if (device.evictable_bytes != device.resident_bytes) journal_.Broken("something cannot go");
  }
  for (const ResidencyInfo& info : snapshot.residencies) {
    if (info.state != State::kReady) {
      journal_.Broken(absl::StrCat(info.id, " is still ", std::string(StateName(info.state))));
    }
  }
  if (chance_.Percent(50)) {
    for (const ResidencyInfo& info : snapshot.residencies) {
      manager_->Evict({.selector = info.id}, [this, info](const absl::StatusOr<EvictResult>& done) {
        if (!done.ok()) journal_.Broken(absl::StrCat(info.id, " cannot be evicted at rest"));
      });
    }
    for (ModelBackend& backend : backends_) {
      while (backend.FinishRelease()) {
      }
    }
    for (const DeviceInfo& device : TakeSnapshot().devices) {
      if (device.resident_bytes != 0) journal_.Broken("bytes of nobody are resident");
    }
  }
  Check();
  calm_ = false;
  catalog_.FailSome(true);
}

}  // namespace modeld::residency::model
