// What can be asked of a Manager, and who is told the answer.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "residency/device_backend.h"
#include "residency/durable_state.h"
#include "residency/types.h"

namespace modeld::residency {

struct Policy {
  // After their last release residencies stay so long, where no request and no alias says
  // otherwise.
  base::Duration keep_alive = kForever;
  // What has just been loaded is not evicted for others' need of room.
  base::Duration min_residency{0};
  // Nor is what an earlier modeld left: its holders come back first.
  base::Duration adoption_grace = std::chrono::seconds(10);
};

// Told about one Acquire, in order, from the manager's strand: must not block. OnEnded is last and
// comes exactly once, unless Release came first; after Release nothing is told.
class AcquireObserver {
 public:
  virtual ~AcquireObserver() = default;
  virtual void OnProgress(const Progress& progress) = 0;
  virtual void OnGranted(const Grant& grant) = 0;
  virtual void OnDigestKnown(const std::string& digest) = 0;
  // `stopping`: it is modeld that stops; otherwise the residency shall go.
  virtual void OnDrainRequested(const std::string& message, bool stopping) = 0;
  // Another version, of that reference, stands under the alias that was acquired.
  virtual void OnSuperseded(const std::string& alias, const std::string& reference) = 0;
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

struct AliasResult {
  Alias alias;
  ResidencyInfo residency;                // that it names
  std::vector<ResidencyInfo> superseded;  // that it named before, on all devices
  uint32_t told_holders = 0;
};

// As AcquireObserver, for SetAlias.
class AliasObserver {
 public:
  virtual ~AliasObserver() = default;
  virtual void OnProgress(const Progress& progress) = 0;
  // Once, and last. Not OK: the alias is as it was.
  virtual void OnDone(const absl::StatusOr<AliasResult>& result) = 0;
};

// That residency and no other, whatever its reference leads to now: a lease of before a reconnect,
// or one that somebody means by its id. Waits until it is READY. kResidencyNotFound.
struct ResumeRequest {
  std::string residency_id;
  uint64_t generation = 0;
};

struct AcquireRequest {
  ModelSpec spec;
  std::optional<base::TimePoint> deadline;  // until granted
  Holder holder;
  std::optional<ResumeRequest> resume;
  // Where what is held or pinned has the room: wait for it, or be refused at once.
  bool wait_for_room = false;
  std::optional<base::Duration> keep_alive;  // kForever; nullopt: as it is
};

// What a reference to something resident by its digest begins with.
inline constexpr std::string_view kDigestScheme = "sha256:";

struct PreloadRequest {
  ModelSpec spec;
  bool no_wait = false;
  bool pin = false;
  std::optional<base::TimePoint> deadline;
  bool wait_for_room = false;
  std::optional<base::Duration> keep_alive;
};

struct SetAliasRequest {
  std::string name;
  ModelSpec spec;  // neither private nor an instance
  std::optional<base::Duration> keep_alive;
  std::optional<base::TimePoint> deadline;
  bool wait_for_room = false;
};

struct EvictRequest {
  std::string selector;
  bool drain = false;                             // wait for the holders
  std::optional<base::TimePoint> drain_deadline;  // until then; it goes with them all the same
  bool dry_run = false;
};

struct EvictResult {
  ResidencyInfo residency;
  uint64_t freed_bytes = 0;
  std::vector<LeaseInfo> holders;  // of a dry run that would drain
};

// The descriptors of a lease, kept open by the pointers.
struct LeaseMemory {
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;  // null: empty
  std::shared_ptr<const ResidentDigests> digests;                     // null: not known yet
};

struct Snapshot {
  std::vector<ResidencyInfo> residencies;  // those that ended first, then by creation
  std::vector<LeaseInfo> leases;           // by id
  std::vector<DeviceInfo> devices;
  std::vector<Alias> aliases;  // by name
  std::vector<PinInfo> pins;   // by reference
  // Always.
  size_t residency_count = 0;  // without those that ended
  size_t lease_count = 0;
};

// What a snapshot is to have: the rest stays empty, for there may be ten thousand of it.
struct SnapshotParts {
  static SnapshotParts All() {
    return {.residencies = true, .leases = true, .devices = true, .aliases = true, .pins = true};
  }

  bool residencies = false;
  bool ended = false;  // residencies too, as far as they are remembered
  bool leases = false;
  std::string leases_of;  // without `leases`: those of the residency with this id
  bool devices = false;
  bool aliases = false;
  bool pins = false;
};

template <class T>
using Reply = std::function<void(T)>;

}  // namespace modeld::residency
