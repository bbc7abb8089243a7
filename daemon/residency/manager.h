// The heart: which checkpoint is resident where, who holds it, and what happens next.

#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/strand.h"
#include "base/timer.h"
#include "plan/sharing.h"
#include "residency/catalog.h"
#include "residency/device_backend.h"
#include "residency/durable_state.h"
#include "residency/event_log.h"
#include "residency/explanation.h"
#include "residency/ledger.h"
#include "residency/policy.h"
#include "residency/registry.h"
#include "residency/requests.h"
#include "residency/residency.h"
#include "residency/types.h"

namespace modeld::residency {

// What a Manager works with. All of it outlives the manager.
struct ManagerDeps {
  CheckpointCatalog* catalog = nullptr;
  base::Executor* resolve_executor =
      nullptr;  // file system look-ups: short, unless the file system hangs
  base::Executor* plan_executor = nullptr;  // parsers: seconds at worst
  const base::Clock* clock = nullptr;
  base::Timer* timer = nullptr;
  // May a residency use tensors that lie in another one's segments?
  bool share_tensors = true;
  // Told how each acquire was answered and how long that took, on the strand; may be empty.
  std::function<void(AcquireResult, base::Duration)> on_acquired = {};
  StateStore* state = nullptr;  // null: wishes end with modeld
  // What can be changed while it runs.
  Policy policy = {};
  // Ids of residencies: 16 hexadecimal digits, never the same ones; empty: random ones.
  std::function<std::string()> make_id = {};
};

// Thread-safe: every call may come from any thread, never waits, and answers through a callback
// that runs on the manager's strand (so it must not block, and may already have run when the call
// returns).
//
// Decisions are taken on the strand, on numbers; whatever takes time (resolving, parsing, loading)
// runs elsewhere and comes back as a task. Invariants, between any two tasks:
//   - single flight: a key has at most one residency that an acquire can join;
//   - a device's reserved bytes are the own segments of its LOADING residencies, its resident bytes
//     all segments that READY and DRAINING ones use, each once, until the agent has given them
//     back;
//   - no residency with a lease is given to an agent for release;
//   - of two current residencies on one device and of one instance whose contents are known, the
//     contents differ;
//   - every waiter belongs to one residency that is coming, or is READY and being digested for it,
//     or is still being resolved;
//   - whoever wants room and cannot have it is the first of its device's queue, or behind one.
//
// REQUIRES: executors, timer and backends are stopped before it is destroyed.
class Manager : public BackendObserver {
 public:
  explicit Manager(const ManagerDeps& deps);

  // Before anything else. `backend` outlives the manager.
  void AddDevice(const std::string& id, uint64_t capacity_bytes, DeviceBackend* backend,
                 DeviceFacts facts = {});

  // The ticket is the lease id once it is granted. What the observer's OnEnded may say: whatever
  // the catalog and the backend refuse with, kBudgetExceeded, kDeadlineExceeded,
  // kDeviceUnavailable, kDraining; kResidencyNotFound for a resume.
  Ticket Acquire(AcquireRequest request, std::shared_ptr<AcquireObserver> observer);
  // Ends a wait or a lease, whatever it was asked with; idempotent. A load that nobody waits for
  // any more is cancelled. `holder_died`: its process ended, and with it the lease.
  void Release(Ticket ticket, bool holder_died = false);

  Ticket Preload(PreloadRequest request, std::shared_ptr<PreloadObserver> observer);

  // Before inventories come.
  void Restore(const DurableState& state);
  void SetPolicy(const Policy& policy);

  // Makes the version READY beside the one that the alias names, then gives it the name. What the
  // observer's OnDone may say: as for an Acquire, and why the change is not durable.
  Ticket SetAlias(SetAliasRequest request, std::shared_ptr<AliasObserver> observer);
  // kAliasNotFound; why it is not durable.
  void RemoveAlias(std::string name, Reply<absl::StatusOr<Alias>> reply);

  // Answers when the memory has been given back. kResidencyLeased and kResidencyPinned, naming the
  // holders; what Registry::Find says.
  void Evict(EvictRequest request, Reply<absl::StatusOr<EvictResult>> reply);
  // A pin outlives what it is for: that of a reference which is not resident any more can be taken
  // back too, and the answer has no id. Taken back by a reference, so are those of files that had
  // the name before. What Registry::Find says; why it is not durable.
  void SetPinned(std::string selector, bool pinned, Reply<absl::StatusOr<ResidencyInfo>> reply);
  // kResidencyNotFound where nothing is remembered either.
  void Explain(std::string selector, Reply<absl::StatusOr<Explanation>> reply);
  // A selector that is no id, digest or known reference is resolved as a reference.
  void Find(std::string selector, Reply<absl::StatusOr<ResidencyInfo>> reply);
  void GetSnapshot(const SnapshotParts& parts, Reply<Snapshot> reply);
  // kResidencyNotFound also for a lease of another session.
  void GetLeaseMemory(uint64_t session, uint64_t lease_id,
                      Reply<absl::StatusOr<LeaseMemory>> reply);

  EventLog& events() { return events_; }

  // No new leases (kDraining), waits ended, loads cancelled, holders asked to let go.
  void BeginShutdown();

  // BackendObserver
  void OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) override;
  void OnLoaded(const std::string& residency_id, std::shared_ptr<const ResidentMemory> memory,
                const LoadStats& stats) override;
  void OnLoadFailed(const std::string& residency_id, absl::Status status) override;
  void OnDigest(const std::string& residency_id,
                std::shared_ptr<const ResidentDigests> digests) override;
  void OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) override;
  void OnIdentified(const std::string& residency_id,
                    absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> digests) override;
  void OnAgentUp(const std::string& device, const AgentInfo& info) override;
  void OnAgentDown(const std::string& device, const absl::Status& why) override;
  void OnInventory(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory> memory,
                   std::shared_ptr<const ResidentDigests> digests) override;

 private:
  // Somebody who waits: for a lease (observer), for a load (preload) or for a version (alias).
  struct Waiter {
    ModelSpec spec;  // of what an alias names, where one was asked for
    Holder holder;
    std::shared_ptr<AcquireObserver> observer;
    std::shared_ptr<PreloadObserver> preload;
    std::shared_ptr<AliasObserver> alias_observer;
    std::string alias_to_set;
    std::optional<base::Duration> alias_keep_alive;
    bool no_wait = false;
    bool pin = false;
    bool wait_for_room = false;
    std::optional<base::Duration> keep_alive;
    std::string alias;        // that was asked for
    std::string version_key;  // the content that the alias names
    std::string version_digest;
    std::optional<base::TimerId> timer;
    base::TimePoint since;
    AcquireResult result = AcquireResult::kHit;  // if it is granted
    std::string residency_id;                    // empty while the reference is being resolved
    std::string content_key;                     // what the reference led to
  };

  struct Lease {
    LeaseInfo info;
    std::string alias;  // that was asked for
    std::shared_ptr<const plan::SealedReferenceTable> reference_table;
    std::shared_ptr<AcquireObserver> observer;
  };

  struct Device {
    explicit Device(uint64_t capacity_bytes) : ledger(capacity_bytes) {}
    DeviceBackend* backend = nullptr;
    DeviceFacts facts;
    Ledger ledger;
    bool available = false;
    AgentInfo agent;
    uint32_t agent_starts = 0;
    std::string down_because;
    std::deque<std::string> admission;  // residencies that want room, in order of arrival
    bool admitting = false;             // Admit is about to run
    std::optional<base::TimerId> protection_timer;
    std::unordered_map<std::string, int>
        users;                      // of each segment, by its id: residencies with memory
    uint64_t releasing_bytes = 0;   // resident, but on their way out
    uint64_t unreturned_bytes = 0;  // of the last one that went: still mapped by somebody
  };

  using Opened = std::shared_ptr<const plan::OpenCheckpoint>;
  using Planned = std::shared_ptr<const plan::LoadPlan>;

  // manager.cc: waiting and leasing
  static void TellProgressTo(const Waiter& waiter, const Progress& progress);
  void StartWaiter(Ticket ticket, Waiter waiter, std::optional<base::TimePoint> deadline);
  void Resolve(Ticket ticket);
  void ResolveReference(Ticket ticket);
  void Resume(Ticket ticket, const ResumeRequest& resume);
  void OnResolved(Ticket ticket, absl::StatusOr<Opened> opened);
  void Join(Ticket ticket, Waiter& waiter, Residency& residency);
  void GrantTo(Ticket ticket, Residency& residency);
  void EndWaiter(Ticket ticket, const absl::Status& status);
  void LeaveResidency(const std::string& residency_id, Ticket ticket);
  void EndLease(Ticket ticket, std::string_view cause);
  void TellAcquired(const Waiter& waiter, AcquireResult result);
  void OnDeadline(Ticket ticket);
  void TakeWishes(const Waiter& waiter, Residency& residency);
  void TellWhatPassed(const Lease& lease, const Residency& residency);
  static Event EventOf(const LeaseInfo& lease);
  void Publish(EventType type, const Residency& residency, Event event = {});

  // manager_operator.cc: what operators ask
  void FindThen(std::string selector, std::function<void(absl::StatusOr<Residency*>)> then);
  std::vector<std::string> Ids();
  std::string HoldersOf(const Residency& residency) const;
  absl::Status LeasedError(const Residency& residency) const;
  absl::Status WhyNotEvict(const Residency& residency, bool drain) const;
  void StartEviction(Residency& residency, const EvictRequest& request,
                     Reply<absl::StatusOr<EvictResult>> reply);
  void GiveUpWaiting(const std::string& residency_id, Ticket eviction_id);
  std::vector<LeaseInfo> LeasesOf(const Residency& residency) const;
  DeviceInfo InfoOf(const std::string& id, const Device& device);
  ResidencyFacts FactsOf(const Residency& residency);
  ResidencyFacts FactsOfEnded(const std::string& selector);
  void AddHistory(const std::string& residency_id, const std::string& device_id,
                  ResidencyFacts& facts);

  // manager_pins.cc: what shall stay
  static SetPin PinOf(const Residency& residency);
  bool IsToBePinned(const ResidencyRecord& record) const;
  void DropReplaced(const std::string& reference, const Residency& residency);
  void UnpinAbsent(const std::string& selector, const absl::Status& not_found,
                   Reply<absl::StatusOr<ResidencyInfo>> reply);
  void SavePin(const Residency& residency, const SetPin& pin);
  void Enforce(const SetPin& pin, bool pinned);
  void DropPin(const Key& key);
  void PinNow(Residency& residency, const SetPin& pin, bool pinned);
  std::vector<PinInfo> Pins();

  // manager_alias.cc: names for versions, and what outlives modeld
  bool FollowAlias(Ticket ticket, Waiter& waiter);
  bool IsTheVersion(Ticket ticket, Waiter& waiter, const plan::OpenCheckpoint& opened);
  void GiveName(Waiter waiter, Residency& residency);
  void Rename(const Alias& alias, AliasResult& result);
  void Supersede(Residency& residency, const Alias& alias, AliasResult& result);
  void TellRecord(Residency& residency);
  static bool IsNamed(const Alias& alias, const Residency& residency);
  std::vector<std::string> AliasesOf(const Residency& residency) const;
  void LearnDigests();
  void Save(StateChange change, std::function<void(absl::Status)> then);
  void SaveOrSay(StateChange change, const Residency& residency, std::function<void()> then = {});

  // manager_identity.cc: what is the same, and what is in part
  void AcquireByDigest(Ticket ticket);
  Residency* FindByDigest(const std::string& digest, const std::string& device,
                          const std::string& instance);
  void Identify(Residency& residency);
  void AwaitContent(Residency& residency, Residency& rival);
  void ReadFiles(Residency& residency);
  void ReadWaitingFiles();
  void LeaveRival(Residency& residency);
  void WakeRivals(const std::string& rival_id);
  void JoinInto(Residency& residency, Residency& other);
  // False: that ended every wait for it, and so it is gone.
  [[nodiscard]] bool SetContent(Residency& residency,
                                std::shared_ptr<const plan::ContentDigests> content);
  void RememberContent(const Residency& residency);
  void FindLenders(Residency& residency);
  void OnLenders(const std::string& residency_id, const std::vector<std::string>& ids);
  void PlanWithLenders(Residency& residency, const std::vector<Residency*>& lenders);
  void OnSharedPlan(const std::string& residency_id, absl::StatusOr<plan::SharedPlan> shared,
                    const std::vector<std::string>& lender_ids);
  void LeaveLenders(Residency& residency);
  // nullopt: not known yet. OK, or DIGEST_MISMATCH.
  std::optional<absl::Status> CheckExpected(const ModelSpec& spec, const Residency& residency);

  // manager_room.cc: who gets room, and who goes for it
  // Those that are READY, idle and not pinned, that nothing protects at `time`, and whose end would
  // give something back to the device, and how much it would be in all.
  struct Idle {
    std::vector<Residency*> residencies;
    uint64_t bytes = 0;
  };
  void Enqueue(Residency& residency);
  void Admit(const std::string& device_id);
  void MakeRoom(const Residency& first, const Idle& idle);
  void Reconsider(const std::string& device_id);
  void Await(Residency& first, std::string why);
  void AwaitEndOfProtection(const std::string& device_id, const Idle& idle);
  bool StopBorrowing(const std::string& device_id);
  bool RefuseCopy(const std::string& device_id, const absl::Status& refusal);
  bool IsPatient(const Residency& residency);
  bool KeepPatient(Residency& residency, const absl::Status& refusal);
  void RefuseImpatient(const std::string& device_id);
  std::string HeldBy(const std::string& device_id);
  absl::Status BudgetError(const std::string& device_id, const Residency& residency,
                           uint64_t evictable_bytes);
  absl::Status QueueError(const std::string& device_id, const Residency& residency,
                          const Residency& first);
  Idle Evictable(const std::string& device_id, base::TimePoint time);
  static Candidate CandidateOf(const Residency& residency);
  void UseSegments(Device& device, const Residency& residency);
  // The bytes of those that nobody uses any more.
  uint64_t LeaveSegments(Device& device, const Residency& residency);
  uint64_t WouldFree(const Residency& residency) const;

  // manager_end.cc: how residencies end
  void Fail(Residency& residency, const absl::Status& status);
  void CancelLoad(Residency& residency);
  void Drain(Residency& residency, std::string_view cause, const std::string& why);
  void Free(Residency& residency, std::string_view cause, const std::string& why);
  void GiveBack(Residency& residency);
  void Lose(Residency& residency, const absl::Status& why);
  void AnswerEvictions(const Residency& residency, uint64_t freed_bytes);
  void LeaveReader(Residency* residency);
  void Settle(Residency& residency);
  void SettleSoon(const Residency& residency);
  base::Duration KeepAliveOf(const Residency& residency) const;
  // nullopt: not by time.
  std::optional<base::TimePoint> ExpiryOf(const Residency& residency) const;

  // manager_load.cc: planning and loading
  Residency& AddResidency(const ModelSpec& spec, Source source);
  Residency& CreateResidency(const ModelSpec& spec, Source source, const Opened& opened);
  void MakePlan(Residency& residency);
  Residency* HostCopyOf(const Residency& residency);
  void KeepOnHost(const Residency& residency, const std::string& content_key, const Opened& opened);
  void PlanFromHost(Residency& residency, Residency& host);
  void HostIsReady(Residency& host);
  void LeaveSource(Residency& residency);
  void OnPlanned(const std::string& residency_id, absl::StatusOr<Planned> plan);
  void GrantToWaiters(Residency& residency);
  void StartLoad(Device& device, Residency& residency);
  void GiveAgentTime(const std::string& device_id);
  void FailAdmissions(const std::string& device_id);
  ResidencyInfo InfoOf(const Residency& residency) const;
  void TellProgress(const Residency& residency, const Progress& progress);
  Progress ProgressOf(const Residency& residency) const;

  const ManagerDeps deps_;
  std::atomic<Ticket> last_ticket_{0};
  EventLog events_;
  base::Strand strand_;

  // Only on the strand.
  Policy policy_;
  Registry registry_;
  std::map<std::string, Alias> aliases_;
  std::multiset<std::string> names_changing_;  // of aliases: what becomes of them is being saved
  std::map<Key, std::string> pins_;            // the reference that each was pinned under
  std::map<std::string, Device> devices_;
  std::unordered_map<Ticket, Waiter> waiters_;
  std::map<Ticket, Lease> leases_;
  struct Eviction {
    Ticket id = 0;
    Reply<absl::StatusOr<EvictResult>> reply;
    std::optional<base::TimerId> timer;
  };
  std::unordered_map<std::string, std::vector<Eviction>> evictions_;  // by residency
  uint64_t last_generation_ = 0;
  bool stopping_ = false;
};

}  // namespace modeld::residency
