// The heart: which checkpoint is resident where, who holds it, and what happens next.

#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
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
#include "residency/event_log.h"
#include "residency/ledger.h"
#include "residency/registry.h"
#include "residency/residency.h"
#include "residency/types.h"

namespace modeld::residency {

// Told about one Acquire, in order, from the manager's strand: must not block. OnEnded is last and
// comes exactly once, unless Release came first; after Release nothing is told.
class AcquireObserver {
 public:
  virtual ~AcquireObserver() = default;
  virtual void OnProgress(const Progress& progress) = 0;
  virtual void OnGranted(const Grant& grant) = 0;
  virtual void OnDigestKnown(const std::string& digest) = 0;
  virtual void OnDrainRequested(const std::string& message) = 0;
  // The memory behind the grant is gone; OnEnded follows.
  virtual void OnLost(const absl::Status& why) = 0;
  virtual void OnEnded(const absl::Status& status) = 0;
};

// As AcquireObserver, for Preload.
class PreloadObserver {
 public:
  virtual ~PreloadObserver() = default;
  virtual void OnProgress(const Progress& progress) = 0;
  // READY (or, with no_wait, whatever it is now), or why not. Once, and last.
  virtual void OnDone(const absl::StatusOr<ResidencyInfo>& result) = 0;
};

struct ResumeRequest {
  std::string residency_id;
  uint64_t generation = 0;
};

struct AcquireRequest {
  ModelSpec spec;
  std::optional<base::TimePoint> deadline;  // until granted
  Holder holder;
  std::optional<ResumeRequest> resume;
};

// What a reference to something resident by its digest begins with.
inline constexpr std::string_view kDigestScheme = "sha256:";

struct PreloadRequest {
  ModelSpec spec;
  bool no_wait = false;
  bool pin = false;
  std::optional<base::TimePoint> deadline;
};

struct EvictResult {
  ResidencyInfo residency;
  uint64_t freed_bytes = 0;
};

// The descriptors of a lease, kept open by the pointers.
struct LeaseMemory {
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;  // null: empty
  std::shared_ptr<const ResidentDigests> digests;                     // null: not known yet
};

struct Snapshot {
  std::vector<ResidencyInfo> residencies;  // by creation
  std::vector<LeaseInfo> leases;           // by id
  std::vector<DeviceInfo> devices;
};

template <class T>
using Reply = std::function<void(T)>;

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
//     or is still being resolved.
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
  // Ends a wait or a lease; idempotent. A load that nobody waits for any more is cancelled.
  // `holder_died`: its process ended, and with it the lease.
  void Release(Ticket ticket, bool holder_died = false);

  Ticket Preload(PreloadRequest request, std::shared_ptr<PreloadObserver> observer);
  void CancelPreload(Ticket ticket) { Release(ticket); }

  // Answers when the memory has been given back. kResidencyLeased and kResidencyPinned, naming the
  // holders; what Registry::Find says.
  void Evict(std::string selector, Reply<absl::StatusOr<EvictResult>> reply);
  void SetPinned(std::string selector, bool pinned, Reply<absl::StatusOr<ResidencyInfo>> reply);
  // A selector that is no id, digest or known reference is resolved as a reference.
  void Find(std::string selector, Reply<absl::StatusOr<ResidencyInfo>> reply);
  void GetSnapshot(bool include_ended, Reply<Snapshot> reply);
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
  // Somebody who waits: for a lease (observer) or for a load (preload).
  struct Waiter {
    ModelSpec spec;
    Holder holder;
    std::shared_ptr<AcquireObserver> observer;
    std::shared_ptr<PreloadObserver> preload;
    bool no_wait = false;
    bool pin = false;
    std::optional<base::TimerId> timer;
    base::TimePoint since;
    AcquireResult result = AcquireResult::kHit;  // if it is granted
    std::string residency_id;                    // empty while the reference is being resolved
    std::string content_key;                     // what the reference led to
  };

  struct Lease {
    LeaseInfo info;
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
    std::map<std::string, int> users;   // of each segment, by its id: READY residencies
    uint64_t releasing_bytes = 0;       // resident, but on their way out
    uint64_t unreturned_bytes = 0;      // of the last one that went: still mapped by somebody
  };

  using Opened = std::shared_ptr<const plan::OpenCheckpoint>;
  using Planned = std::shared_ptr<const plan::LoadPlan>;

  // manager.cc: waiting and leasing
  void StartWaiter(Ticket ticket, Waiter waiter, std::optional<base::TimePoint> deadline);
  void Resolve(Ticket ticket);
  void Resume(Ticket ticket, const ResumeRequest& resume);
  void OnResolved(Ticket ticket, absl::StatusOr<Opened> opened);
  void Join(Ticket ticket, Waiter& waiter, Residency& residency);
  void GrantTo(Ticket ticket, Residency& residency);
  void EndWaiter(Ticket ticket, const absl::Status& status);
  void LeaveResidency(const std::string& residency_id, Ticket ticket);
  void EndLease(Ticket ticket, std::string_view cause);
  void TellAcquired(const Waiter& waiter, AcquireResult result);
  void OnDeadline(Ticket ticket);
  void FindThen(std::string selector, std::function<void(absl::StatusOr<Residency*>)> then);
  std::vector<std::string> Ids();
  absl::Status LeasedError(const Residency& residency) const;
  void Publish(EventType type, const Residency& residency, Event event = {});

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

  // manager_load.cc: planning, room, loading, freeing
  Residency& AddResidency(const ModelSpec& spec, Source source);
  Residency& CreateResidency(const ModelSpec& spec, Source source, const Opened& opened);
  void MakePlan(Residency& residency);
  Residency* HostCopyOf(const Residency& residency);
  void KeepOnHost(const Residency& residency, const std::string& content_key, const Opened& opened);
  void PlanFromHost(Residency& residency, Residency& host);
  void HostIsReady(Residency& host);
  void LeaveSource(Residency& residency);
  void OnPlanned(const std::string& residency_id, absl::StatusOr<Planned> plan);
  void Enqueue(Residency& residency);
  void Admit(const std::string& device_id);
  void GrantToWaiters(Residency& residency);
  void StartLoad(Device& device, Residency& residency);
  void Fail(Residency& residency, const absl::Status& status);
  void CancelLoad(Residency& residency);
  void Free(Residency& residency, std::string_view cause, const std::string& why);
  void Lose(Residency& residency, const absl::Status& why);
  void AnswerEvictions(const Residency& residency, uint64_t freed_bytes);
  void GiveAgentTime(const std::string& device_id);
  void FailAdmissionsIfDown(const std::string& device_id);
  absl::Status BudgetError(const Device& device, const Residency& residency,
                           uint64_t evictable_bytes) const;
  // Those that are READY, idle and not pinned and whose end would give something back to the
  // device, and how much it would be in all.
  struct Idle {
    std::vector<Residency*> residencies;
    uint64_t bytes = 0;
  };
  Idle Evictable(const std::string& device_id);
  void UseSegments(Device& device, const Residency& residency);
  // The bytes of those that nobody uses any more.
  uint64_t LeaveSegments(Device& device, const Residency& residency);
  ResidencyInfo InfoOf(const Residency& residency) const;
  void TellProgress(const Residency& residency, const Progress& progress);
  Progress ProgressOf(const Residency& residency) const;

  const ManagerDeps deps_;
  std::atomic<Ticket> last_ticket_{0};
  EventLog events_;
  base::Strand strand_;

  // Only on the strand.
  Registry registry_;
  std::map<std::string, Device> devices_;
  std::unordered_map<Ticket, Waiter> waiters_;
  std::map<Ticket, Lease> leases_;
  std::unordered_map<std::string, std::vector<Reply<absl::StatusOr<EvictResult>>>> evictions_;
  uint64_t last_generation_ = 0;
  bool stopping_ = false;
};

}  // namespace modeld::residency
