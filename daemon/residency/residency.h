// One checkpoint on one device, from the first wish for it to its end.

#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "residency/device_backend.h"
#include "residency/types.h"

namespace modeld::residency {

using Ticket = uint64_t;

// What makes two wishes the same wish.
struct Key {
  std::string content;  // plan::OpenCheckpoint::Key()
  std::string device;
  std::string instance;

  // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
  auto operator<=>(const Key&) const = default;
};

// Plain state with one guarded change. Lives on the manager's strand.
class Residency {
 public:
  explicit Residency(ResidencyRecord record) : record_(std::move(record)) {}

  const std::string& id() const { return record_.id; }
  const ResidencyRecord& record() const { return record_; }
  Key key() const { return {record_.content_key, record_.device, record_.instance}; }
  State state() const { return state_; }

  // REQUIRES: CanChange(state(), to)
  void ChangeState(State to);
  // For a residency that an earlier modeld brought to READY. REQUIRES: state() == kPending
  void AdoptAsReady();

  // Remembers another reference that leads here.
  void AddReference(const std::string& reference);
  void set_format(std::string format) { record_.format = std::move(format); }

  std::string digest_text() const;
  bool WantedByNobody() const { return waiters.empty() && followers.empty() && !wanted; }
  // May it go when room is needed, or an operator says so?
  bool IsIdle() const { return leases.empty() && readers == 0; }
  // Bytes of its segments; 0 before its plan is made.
  uint64_t size_bytes() const { return size_bytes_; }
  void set_size_bytes(uint64_t size_bytes) { size_bytes_ = size_bytes; }

  ResidencyInfo Info() const;

  // What it is made from; gone once it is READY or has ended.
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;
  // READY and DRAINING: its memory, and the digests once they are known.
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const ResidentDigests> digests;

  // Ids of copies on GPUs that are to be loaded from this one, on the host, once it is READY.
  std::set<std::string> followers;
  // How many loads read this copy now; and, of a copy that is loaded so, the id of the one it
  // reads.
  int readers = 0;
  std::string source_id;
  bool keep_host = false;  // it is to be loaded by way of a copy on the host

  std::set<Ticket> waiters;
  std::set<uint64_t> leases;
  bool pinned = false;
  bool wanted = false;      // an operator wants it loaded, whether or not anybody waits
  bool cancelling = false;  // nobody wants the load any more; the agent has been told
  uint64_t loaded_bytes = 0;
  uint64_t tensor_bytes = 0;
  uint64_t tensor_count = 0;
  base::WallTime created_time;
  std::optional<base::WallTime> ready_time;
  std::optional<base::WallTime> released_time;
  base::TimePoint idle_since;
  absl::Status error;

 private:
  ResidencyRecord record_;
  State state_ = State::kPending;
  uint64_t size_bytes_ = 0;
};

}  // namespace modeld::residency
