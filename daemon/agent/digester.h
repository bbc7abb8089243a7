// Digests of what is resident, computed when nobody needs the processor.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/residency.h"
#include "wire/mutex.h"

namespace modeld::agent {

// The digests of a table's tensors as they travel. RESOURCE_EXHAUSTED.
absl::StatusOr<std::shared_ptr<const Digests>> SealDigests(
    const wire::TableView& table, const std::vector<wire::Digest>& tensors);

// One thread of the lowest priority (SCHED_BATCH, nice 19, idle I/O), one residency at a time, in
// the order of Add. It rests while loads run, which need the memory's bandwidth. Thread-safe.
class Digester {
 public:
  // By id: a residency that is released meanwhile must not be kept by this call. kDeviceLost: there
  // is nothing left to read. After any other failure it is tried again, until it is forgotten.
  using OnDone =
      std::function<void(const std::string& id, absl::StatusOr<std::shared_ptr<const Digests>>)>;

  // `on_done` runs on the digester's thread.
  explicit Digester(OnDone on_done);
  // Gives up what is not done, and joins.
  ~Digester();

  void Add(std::shared_ptr<const Residency> residency);

  // Returns when the residency is not read any more and never will be.
  void Forget(const Residency* residency);

  // Rests while more loads began than ended.
  void LoadBegan();
  void LoadEnded();

 private:
  // Puts it back at the end of the queue, after a pause.
  void Later(const std::shared_ptr<const Residency>& residency);
  void Run();
  // False when the digest is not wanted any more; waits while loads run.
  bool KeepGoing();

  const OnDone on_done_;
  wire::Mutex mutex_;
  wire::CondVar changed_;
  std::deque<std::shared_ptr<const Residency>> queue_ MODELD_GUARDED_BY(mutex_);
  const Residency* current_ MODELD_GUARDED_BY(mutex_) = nullptr;
  bool forget_current_ MODELD_GUARDED_BY(mutex_) = false;
  int loads_ MODELD_GUARDED_BY(mutex_) = 0;
  bool stopping_ MODELD_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace modeld::agent
