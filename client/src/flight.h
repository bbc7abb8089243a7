// One asking for a model, on which any number of threads wait.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "deadline.h"
#include "lease.h"
#include "modeld/client.h"
#include "resident_model.h"
#include "wire/mutex.h"

namespace modeld::client {

class Core;

// Whichever waiter wakes first after the grant fetches the descriptors and maps them, for all. When
// the last waiter leaves without a result, the call is cancelled. Thread-safe.
class Flight {
 public:
  // What is asked for besides the spec.
  struct Wishes {
    std::string scope;
    Deadline deadline;  // until it is mapped
    bool wait_for_room = false;
    std::optional<Duration> keep_alive = {};
  };

  Flight(std::shared_ptr<Core> core, ModelSpec spec, Wishes wishes);

  // Becomes one more waiter, who must then Wait. False when it is too late to join, or when the
  // flight is given up before the deadline, or asks modeld for something else.
  bool Join(const Wishes& wishes);

  // Asks modeld. Once, by whoever made the flight, after its Join.
  void Start() { lease_->Start(); }

  // Until there is a result, or `deadline`. What `on_progress` throws passes through.
  absl::StatusOr<std::shared_ptr<const ResidentModel>> Wait(
      Deadline deadline, const std::function<void(const Progress&)>& on_progress);

 private:
  using Result = absl::StatusOr<std::shared_ptr<const ResidentModel>>;

  absl::Status Map(Deadline deadline);
  void SetResult(Result result);
  void Leave();
  absl::Status TimedOut() const;

  const std::shared_ptr<Core> core_;
  const ModelSpec spec_;
  const Wishes wishes_;
  const TimePoint started_ = Clock::now();
  const std::shared_ptr<Lease> lease_;

  wire::Mutex mutex_;
  wire::CondVar changed_;
  int waiters_ MODELD_GUARDED_BY(mutex_) = 0;
  bool over_ MODELD_GUARDED_BY(mutex_) = false;
  bool mapping_ MODELD_GUARDED_BY(mutex_) = false;
  std::optional<Result> result_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::client
