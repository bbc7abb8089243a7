// One checkpoint on one device, from the first wish for it to its end.

#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/timer.h"
#include "plan/fingerprint.h"
#include "residency/device_backend.h"
#include "residency/types.h"

namespace modeld::residency {

using Ticket = uint64_t;

// Plain state with one guarded change. Lives on the manager's strand.
class Residency {
 public:
  explicit Residency(ResidencyRecord record) : record_(std::move(record)) {}

  const std::string& id() const { return record_.id; }
  const ResidencyRecord& record() const { return record_; }
  // Of one of its sources.
  Key KeyOf(const Source& source) const {
    return {source.content_key, record_.device, record_.instance};
  }
  State state() const { return state_; }

  // Is it on its way to READY?
  bool IsComing() const {
    return state_ == State::kPending || state_ == State::kIdentifying || state_ == State::kLoading;
  }

  // REQUIRES: CanChange(state(), to)
  void ChangeState(State to);
  // For a residency that an earlier modeld brought to READY, or that was DRAINING there. REQUIRES:
  // state() == kPending
  void Adopt();

  // Remembers another reference that leads here, by that content. False: it was known.
  // REQUIRES: a source has that content key
  bool AddReference(const std::string& content_key, const std::string& reference);
  // Remembers another content that turned out to be the same. REQUIRES: no source has its key
  void AddSource(Source source) { record_.sources.push_back(std::move(source)); }
  // What is known of its first source once that was read.
  void DescribeSource(const std::string& format,
                      std::shared_ptr<const plan::SealedReferenceTable> reference_table);
  void set_pinned(bool pinned) { record_.pinned = pinned; }
  bool pinned() const { return record_.pinned; }
  void set_keep_alive(base::Duration keep_alive) { record_.keep_alive = keep_alive; }
  void set_draining() { record_.draining = true; }
  void set_superseded_by(const std::string& alias) { record_.superseded_by = alias; }

  // Of what is resident; empty before it is known.
  std::string digest_text() const;
  // It is there for those who hold it, and for nobody else.
  bool IsLeaving() const { return state_ == State::kDraining && memory != nullptr; }
  bool WantedByNobody() const { return waiters.empty() && followers.empty() && !wanted; }
  // May it go when room is needed, or an operator says so?
  bool IsIdle() const { return leases.empty() && waiters.empty() && readers == 0; }
  // Bytes of its own segments; 0 before its plan is made.
  uint64_t own_bytes() const { return own_bytes_; }
  void set_own_bytes(uint64_t own_bytes) { own_bytes_ = own_bytes; }

  ResidencyInfo Info() const;

  // What it is made from; gone once it is READY or has ended.
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;
  // READY and DRAINING: its memory, and the digests once they are known.
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const ResidentDigests> digests;
  // What it holds as far as that is known before, or besides, `digests`: by a cache, or by reading
  // its files.
  std::shared_ptr<const plan::ContentDigests> content;
  std::shared_ptr<const plan::Fingerprint> fingerprint;  // once there is a plan

  // IDENTIFYING: the residency whose content it waits to know, which may be the same or have
  // tensors in common; its own files are being read to know theirs; it is not the same as any.
  std::string rival_id;
  bool reading_files = false;
  bool identified = false;
  // Segments of others that it will use, or uses. Until it is READY their lenders are in `lenders`,
  // and count it as a reader.
  std::vector<BorrowedSegment> borrowed;
  std::vector<std::string> lenders;
  std::shared_ptr<const plan::LoadPlan> whole_plan;  // with lenders: as if there were none
  uint64_t freeing_bytes = 0;                        // DRAINING: what its device gets back

  // Ids of copies on GPUs that are to be loaded from this one, on the host, once it is READY.
  std::set<std::string> followers;
  // How many others read this copy or compare themselves with it now; and, of a copy that is loaded
  // from another one, the id of that.
  int readers = 0;
  std::string source_id;
  bool keep_host = false;  // it is to be loaded by way of a copy on the host

  std::set<Ticket> waiters;
  std::set<uint64_t> leases;
  bool wanted = false;              // an operator wants it loaded, whether or not anybody waits
  bool patient = false;             // and that it waits for room
  bool cancelling = false;          // nobody wants the load any more; the agent has been told
  bool has_news = false;            // LOADING: its record is not as the agent was told
  std::optional<Progress> waiting;  // PENDING or IDENTIFYING: first in the queue, without room
  uint64_t loaded_bytes = 0;
  uint64_t tensor_bytes = 0;
  uint64_t tensor_count = 0;
  base::WallTime created_time;
  std::optional<base::WallTime> ready_time;
  std::optional<base::WallTime> released_time;
  base::TimePoint idle_since;
  // Nobody's need of room evicts it before; and nothing does before its holders had time to come
  // back after a restart.
  base::TimePoint protected_until = base::TimePoint::min();
  base::TimePoint returning_until = base::TimePoint::min();
  // When its keep_alive is looked at again.
  std::optional<std::pair<base::TimePoint, base::TimerId>> expiry;
  absl::Status error;

 private:
  ResidencyRecord record_;
  State state_ = State::kPending;
  uint64_t own_bytes_ = 0;
};

}  // namespace modeld::residency
