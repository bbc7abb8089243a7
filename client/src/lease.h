// The right to a residency, from the asking to the release.

#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "acquire_stream.h"
#include "connection_keeper.h"
#include "deadline.h"
#include "modeld/client.h"
#include "modeld/model.h"
#include "modeld/v1/residency_service.pb.h"
#include "state_notifier.h"
#include "wire/mutex.h"

namespace modeld::client {

// What modeld has granted.
struct Grant {
  v1::Granted granted;
  std::shared_ptr<Connection> connection;  // on which it was granted
  // The question for its descriptors, if it has been put already.
  std::optional<uint64_t> fds_request;
};

// ACQUIRING -> GRANTED -> MAPPED -> OVER
//     ^------------'
// and to OVER from everywhere. GRANTED goes back when the connection breaks before the descriptors
// have come.
//
// While MAPPED, a broken stream is taken up again (kReconnecting) until modeld grants it or says
// that the residency is gone (kLost). Thread-safe; lives on while its stream does.
class Lease : public AcquireStream::Observer,
              public ConnectionKeeper::User,
              public std::enable_shared_from_this<Lease> {
 public:
  struct Terms {
    v1::ModelSpec spec;
    std::string scope;
    Deadline deadline;  // until granted
    bool wait_for_room = false;
    std::optional<Duration> keep_alive = {};  // negative: forever
  };

  Lease(std::shared_ptr<ConnectionKeeper> keeper, Terms terms);

  // Asks for it. Once.
  void Start();

  enum class Waited { kGranted, kFailed, kProgress, kTimedOut };
  // Waits for a grant, a failure, or progress beyond the `seen`th (which it then raises). A modeld
  // that stays away for a minute is a failure when the terms have no deadline.
  Waited Wait(Deadline until, uint64_t* seen);
  Progress progress();
  // REQUIRES: kFailed
  absl::Status failure();
  // What it waits for, for the message of a timeout.
  std::string DescribeWait();

  // REQUIRES: kGranted. The caller fetches the descriptors, then calls Mapped, Retry or Release.
  Grant TakeGrant();
  // The descriptors did not come because of `why`. If that is a broken connection, asks for the
  // lease anew and returns true.
  bool Retry(const absl::Status& why);
  // The memory is mapped: from now on the lease is kept by all means.
  void Mapped();

  // Ends it. Never waits. Idempotent.
  void Release();

  Model::State state() const { return state_.load(std::memory_order_acquire); }
  // Whoever asks for the model anew is to get another one.
  bool retired() const { return retired_.load(std::memory_order_acquire); }
  // Lock-free, so that it works in a forked child.
  std::string digest() const;
  StateNotifier& notifier() { return notifier_; }

 private:
  enum class Phase { kAcquiring, kGranted, kMapped, kOver };
  // What is left to do when the lock is given up.
  struct Next {
    std::shared_ptr<AcquireStream> cancel;
    std::optional<ConnectionKeeper::Because> await;
    std::shared_ptr<Connection> broken;
  };

  void OnUpdate(AcquireStream& stream, const v1::AcquireUpdate& update) override;
  void OnEnd(AcquireStream& stream, const absl::Status& status) override;
  void OnConnected(std::shared_ptr<Connection> connection) override;
  bool OnRefused(const absl::Status& why) override;

  void OnGranted(AcquireStream& stream, const v1::Granted& granted);
  void OnResumed(const v1::Granted& granted, Next& next) MODELD_REQUIRES(mutex_);
  void EndBeforeGrant(const AcquireStream& stream, const absl::Status& status, Next& next)
      MODELD_REQUIRES(mutex_);
  void EndWhileMapped(const std::shared_ptr<Connection>& connection, const absl::Status& status,
                      Next& next) MODELD_REQUIRES(mutex_);
  void Fail(absl::Status why) MODELD_REQUIRES(mutex_);
  void SetState(Model::State state) MODELD_REQUIRES(mutex_);
  void SetDigest(const std::string& digest) MODELD_REQUIRES(mutex_);
  v1::AcquireRequest MakeRequest() MODELD_REQUIRES(mutex_);
  void Do(Next next);

  const std::shared_ptr<ConnectionKeeper> keeper_;
  const Terms terms_;
  StateNotifier notifier_;
  std::atomic<Model::State> state_{Model::State::kHeld};
  std::atomic<bool> retired_{false};
  std::array<char, 128> digest_;
  std::atomic<size_t> digest_size_{0};  // published after the characters

  wire::Mutex mutex_;
  wire::CondVar changed_;
  Phase phase_ MODELD_GUARDED_BY(mutex_) = Phase::kAcquiring;
  std::shared_ptr<AcquireStream> stream_ MODELD_GUARDED_BY(mutex_);  // null: none is open
  bool stream_confirmed_ MODELD_GUARDED_BY(mutex_) = false;
  Grant grant_ MODELD_GUARDED_BY(mutex_);
  Progress progress_ MODELD_GUARDED_BY(mutex_) = {};
  uint64_t progress_count_ MODELD_GUARDED_BY(mutex_) = 0;
  // Why it is OVER; while ACQUIRING, why modeld turned it away for now.
  absl::Status failure_ MODELD_GUARDED_BY(mutex_);
  // How the stream ended while GRANTED: for whoever maps to deal with.
  std::optional<absl::Status> ended_ MODELD_GUARDED_BY(mutex_);
  // Since when there has been no modeld that answers, while ACQUIRING.
  Deadline away_since_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::client
