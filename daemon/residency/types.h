// The words of the residency domain, as plain values.

#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "plan/load_config.h"
#include "wire/segment.h"

namespace modeld::residency {

inline constexpr std::string_view kHostDevice = "host";

// As modeld.v1.ModelSpec.
struct ModelSpec {
  std::string reference;
  std::string device = std::string(kHostDevice);
  std::string instance;
  bool private_copy = false;
  bool keep_host = false;
  plan::LoadConfig config;
  std::string expected_digest;  // `sha256:...`; empty: whatever it is

  bool operator==(const ModelSpec&) const = default;
};

// What makes two wishes the same wish.
struct Key {
  std::string content;  // plan::OpenCheckpoint::Key()
  std::string device;
  std::string instance;

  // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
  auto operator<=>(const Key&) const = default;
};

// PENDING -> (IDENTIFYING) -> LOADING -> READY -> DRAINING -> EVICTED
//    |             |             |         |         |
//    +-> FAILED <--+-------------+         +-> LOST <+
//
// One direction only. READY is announced after it is true, DRAINING before. What is PENDING or
// IDENTIFYING may also vanish: it turned out to be the content of another residency, which it
// joins.
enum class State { kPending, kIdentifying, kLoading, kReady, kDraining, kEvicted, kFailed, kLost };

// `READY`
std::string_view StateName(State state);
// Is the change one that the picture above allows?
bool CanChange(State from, State to);
// EVICTED, FAILED, LOST: nothing happens to it any more.
bool IsEnded(State state);

// Who holds or waits; verified by the kernel through the attach session.
struct Holder {
  uint64_t session = 0;  // number of the attach session
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string program;
  std::string scope;
};

// `pid 4711 (python, world/train)`
std::string HolderText(const Holder& holder);

using wire::SegmentInfo;

enum class Phase { kPlanning, kIdentifying, kWaiting, kLoading };

struct Progress {
  Phase phase = Phase::kPlanning;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  std::string message = {};  // kWaiting: who has the room

  bool operator==(const Progress&) const = default;
};

// keep_alive: how long a residency stays after its last release.
inline constexpr base::Duration kForever = base::Duration::max();

// What a holder is told once.
struct Grant {
  uint64_t lease_id = 0;
  std::string residency_id;
  uint64_t generation = 0;
  std::string digest;  // empty: not known yet
  std::string device;
  std::vector<SegmentInfo> segments;
  uint64_t table_size_bytes = 0;
  uint64_t reference_table_size_bytes = 0;  // 0: there is none
  uint64_t tensor_bytes = 0;
  std::string format;
};

struct ResidencyInfo {
  std::string id;
  std::vector<std::string> references;  // in the order of first use; never empty
  std::string digest;
  std::string device;
  State state = State::kPending;
  uint64_t size_bytes = 0;      // of all segments that it maps
  uint64_t own_bytes = 0;       // of those that were allocated for it
  uint64_t shared_bytes = 0;    // of its tensors that lie in other residencies' segments
  uint64_t stranded_bytes = 0;  // of the segments that it alone keeps, what it has no use for
  uint32_t lease_count = 0;
  uint32_t waiter_count = 0;
  bool pinned = false;
  std::string instance;
  bool private_copy = false;
  uint64_t generation = 0;
  uint64_t tensor_bytes = 0;
  uint64_t tensor_count = 0;
  std::string format;
  uint64_t loaded_bytes = 0;
  uint32_t page_size_bytes = 0;
  base::WallTime created_time;
  std::optional<base::WallTime> ready_time;
  std::optional<base::WallTime> released_time;
  absl::Status error;  // FAILED, LOST
  std::vector<std::string> aliases;
  std::optional<base::Duration> keep_alive;  // as somebody asked for it
  std::optional<base::WallTime> expire_time;
  std::string superseded_by;  // an alias
};

struct LeaseInfo {
  uint64_t id = 0;
  std::string residency_id;
  std::string reference;
  Holder holder;
  base::WallTime granted_time;
};

// An operator's wish that something stays.
struct PinInfo {
  std::string reference;  // under which it was pinned
  std::string device;
  std::string instance;
  std::string residency_id;  // empty: it is not resident, and will be pinned when it is loaded
};

// What a device is, whatever happens on it.
struct DeviceFacts {
  uint32_t index = 0;  // among the GPUs, in PCI order
  std::string name;
  std::string pci_bus_id;
  uint64_t memory_bytes = 0;
};

struct DeviceInfo {
  std::string id;
  uint64_t capacity_bytes = 0;
  uint64_t reserved_bytes = 0;
  uint64_t resident_bytes = 0;
  uint64_t evictable_bytes = 0;
  std::string export_kind;  // `memfd`, `vmm` or `ipc`
  std::string export_note;
  uint32_t page_size_bytes = 0;
  std::string page_size_note;
  DeviceFacts facts;
  bool available = false;
  pid_t agent_pid = 0;
  uint32_t agent_starts = 0;
  std::vector<std::string> notes;
};

enum class EventType {
  kResidencyCreated,
  kLoadStarted,
  kResidencyReady,
  kLoadFailed,
  kLoadCancelled,
  kDigestKnown,
  kResidencyDraining,
  kResidencyEvicted,
  kResidencyLost,
  kLeaseGranted,
  kLeaseEnded,
  kResidencyPinned,
  kResidencyUnpinned,
  kAgentStarted,
  kAgentDied,
  kDaemonStarted,
  kDaemonStopping,
  kResidencyAdopted,
  kResidencyIdentifying,
  kResidencyJoined,
  kResidencySuperseded,
  kAliasSet,
  kAliasRemoved,
  kStateNotSaved,
};

// `LEASE_GRANTED`
std::string_view EventTypeName(EventType type);

// How an acquire was answered.
enum class AcquireResult {
  kHit,        // it was READY
  kJoined,     // somebody else's load was under way
  kLoaded,     // its own was the load
  kResumed,    // it named the residency: a lease of before a reconnect, say
  kRefused,    // no room, no time left, stopping, or not allowed
  kFailed,     // for any other reason
  kCancelled,  // whoever asked went away first
};

// Event::cause: of a residency that goes, and of a lease that ends.
namespace cause {
inline constexpr std::string_view kRoom = "room";              // another one needed it
inline constexpr std::string_view kOperator = "operator";      // an operator said so
inline constexpr std::string_view kExpired = "expired";        // its keep_alive was over
inline constexpr std::string_view kSuperseded = "superseded";  // another version has its alias
inline constexpr std::string_view kPrivate = "private";    // of a private copy whose holder went
inline constexpr std::string_view kUnwanted = "unwanted";  // nobody waited for it any more
inline constexpr std::string_view kReleased = "released";  // its holder let go
inline constexpr std::string_view kDied = "died";          // its holder's process ended
inline constexpr std::string_view kLost = "lost";          // the memory went with its agent
inline constexpr std::string_view kStopping = "stopping";  // modeld stops
}  // namespace cause

struct Event {
  uint64_t sequence = 0;
  base::WallTime time;
  EventType type = EventType::kDaemonStarted;
  std::string residency_id;
  std::string reference;
  std::string device;
  uint64_t lease_id = 0;
  pid_t pid = 0;
  std::string scope;
  uint64_t bytes = 0;
  std::string reason;
  std::string cause;
  std::string message;
};

}  // namespace modeld::residency
