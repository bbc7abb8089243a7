#include "lease.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

// How long an Acquire without a timeout waits for a modeld that is away: longer than a restart
// takes.
constexpr std::chrono::seconds kPatience{60};

// Is it the connection, not modeld, that ended the call? modeld gives a reason with everything it
// refuses.
bool IsBreak(const absl::Status& status, const Connection& connection) {
  const wire::ErrorInfo info = wire::GetErrorInfo(status);
  if (info.reason == wire::Reason::kSessionInvalid) return true;
  if (!info.reason_name.empty()) return false;
  return absl::IsUnavailable(status) || absl::IsCancelled(status) || connection.IsBroken();
}

// modeld is there, and will be able to do it later: it is stopping, or has just started.
bool IsLater(const absl::Status& status) {
  return wire::GetReason(status) == wire::Reason::kDraining;
}

Progress FromProto(const v1::Progress& progress) {
  Progress result = {.phase = Progress::Phase::kPlanning,
                     .bytes_done = progress.bytes_done(),
                     .bytes_total = progress.bytes_total(),
                     .message = progress.message()};
  if (progress.phase() == v1::Progress::WAITING) result.phase = Progress::Phase::kWaiting;
  if (progress.phase() == v1::Progress::LOADING) result.phase = Progress::Phase::kLoading;
  if (progress.phase() == v1::Progress::IDENTIFYING) result.phase = Progress::Phase::kIdentifying;
  return result;
}

google::protobuf::Duration ToProto(Duration duration) {
  google::protobuf::Duration result;
  result.set_seconds(duration.count() / 1'000'000'000);
  result.set_nanos(static_cast<int32_t>(duration.count() % 1'000'000'000));
  return result;
}

}  // namespace

Lease::Lease(std::shared_ptr<ConnectionKeeper> keeper, Terms terms)
    : keeper_(std::move(keeper)), terms_(std::move(terms)) {}

void Lease::Start() {
  if (auto connection = keeper_->current()) {
    OnConnected(std::move(connection));
    return;
  }
  {
    wire::MutexLock lock(mutex_);
    away_since_ = Clock::now();
  }
  keeper_->Await(shared_from_this(), ConnectionKeeper::Because::kNoConnection, nullptr);
}

Lease::Waited Lease::Wait(Deadline until, uint64_t* seen) {
  wire::MutexLock lock(mutex_);
  for (;;) {
    if (phase_ == Phase::kGranted || phase_ == Phase::kMapped) return Waited::kGranted;
    if (phase_ == Phase::kOver) return Waited::kFailed;
    if (progress_count_ != *seen) {
      *seen = progress_count_;
      return Waited::kProgress;
    }
    if (HasPassed(until)) return Waited::kTimedOut;
    Deadline patience;
    if (!terms_.deadline && away_since_) patience = *away_since_ + kPatience;
    if (HasPassed(patience)) {
      if (stream_ != nullptr) {
        // It is back, and has nothing to say yet.
        away_since_.reset();
        continue;
      }
      Fail(ClientError(absl::StatusCode::kUnavailable, kDaemonUnreachable,
                       wire::StrCat("modeld at ", keeper_->endpoint().calls_path,
                                    " has been away for ", kPatience.count(), " s"),
                       "start it, or give a timeout to wait for it"));
      continue;
    }
    const Deadline wake = !until ? patience : !patience ? until : std::min(*until, *patience);
    if (wake) {
      changed_.WaitUntil(mutex_, *wake);
    } else {
      changed_.Wait(mutex_);
    }
  }
}

Progress Lease::progress() {
  wire::MutexLock lock(mutex_);
  return progress_;
}

absl::Status Lease::failure() {
  wire::MutexLock lock(mutex_);
  return failure_;
}

std::string Lease::DescribeWait() {
  bool away;
  absl::Status why;
  Progress progress;
  uint64_t count;
  {
    wire::MutexLock lock(mutex_);
    away = away_since_.has_value();
    why = failure_;
    progress = progress_;
    count = progress_count_;
  }
  if (away) {
    if (why.ok()) why = keeper_->last_failure();
    return wire::StrCat("modeld is away", why.ok() ? "" : ": ", why.message());
  }
  if (count == 0) return "modeld has not answered";
  switch (progress.phase) {
    case Progress::Phase::kPlanning:
      return "modeld is reading its header";
    case Progress::Phase::kIdentifying:
      return "modeld is comparing it with what is resident";
    case Progress::Phase::kWaiting:
      return wire::StrCat("it waits for room: ", progress.bytes_total, " bytes are needed, ",
                          progress.bytes_done, " are free", progress.message.empty() ? "" : ", ",
                          progress.message);
    case Progress::Phase::kLoading:
      return wire::StrCat("modeld is loading it: ", progress.bytes_done, " of ",
                          progress.bytes_total, " bytes");
  }
  return {};
}

Grant Lease::TakeGrant() {
  wire::MutexLock lock(mutex_);
  Grant grant = grant_;
  grant_.fds_request.reset();
  return grant;
}

bool Lease::Retry(const absl::Status& why) {
  Next next;
  {
    wire::MutexLock lock(mutex_);
    if (phase_ != Phase::kGranted) return false;
    const Connection& connection = *grant_.connection;
    if (!IsBreak(why, connection) && !(ended_ && IsBreak(*ended_, connection))) return false;
    phase_ = Phase::kAcquiring;
    next = {.cancel = std::move(stream_),
            .await = ConnectionKeeper::Because::kNoConnection,
            .broken = std::move(grant_.connection)};
    stream_ = nullptr;
    grant_ = {};
    ended_.reset();
    away_since_ = Clock::now();
  }
  Do(std::move(next));
  return true;
}

void Lease::Mapped() {
  Next next;
  {
    wire::MutexLock lock(mutex_);
    if (phase_ != Phase::kGranted) return;
    phase_ = Phase::kMapped;
    if (ended_) EndWhileMapped(grant_.connection, *ended_, next);
    grant_.connection = nullptr;
  }
  Do(std::move(next));
}

void Lease::Release() {
  Next next;
  Grant grant;
  {
    wire::MutexLock lock(mutex_);
    phase_ = Phase::kOver;
    next.cancel = std::move(stream_);
    stream_ = nullptr;
    grant = std::move(grant_);
  }
  notifier_.Close();
  if (grant.fds_request) grant.connection->attach().Abandon(*grant.fds_request);
  keeper_->Forget(this);
  Do(std::move(next));
}

std::string Lease::digest() const {
  return std::string(digest_.data(), digest_size_.load(std::memory_order_acquire));
}

void Lease::OnConnected(std::shared_ptr<Connection> connection) {
  std::shared_ptr<AcquireStream> stream;
  {
    wire::MutexLock lock(mutex_);
    if (phase_ == Phase::kOver || stream_ != nullptr) return;
    stream =
        std::make_shared<AcquireStream>(std::move(connection), MakeRequest(), shared_from_this());
    stream_ = stream;
    stream_confirmed_ = false;
  }
  stream->Start();
}

bool Lease::OnRefused(const absl::Status& why) {
  wire::MutexLock lock(mutex_);
  // Whoever has the memory mapped keeps asking: the configuration may be put right again.
  if (phase_ == Phase::kMapped) return true;
  if (phase_ == Phase::kAcquiring) Fail(why);
  return false;
}

void Lease::OnUpdate(AcquireStream& stream, const v1::AcquireUpdate& update) {
  if (update.has_granted()) OnGranted(stream, update.granted());
  Next next;
  bool confirm;
  {
    wire::MutexLock lock(mutex_);
    if (&stream != stream_.get()) return;
    confirm = !std::exchange(stream_confirmed_, true);
    switch (update.update_case()) {
      case v1::AcquireUpdate::kProgress:
        if (phase_ != Phase::kAcquiring) break;
        away_since_.reset();
        failure_ = absl::OkStatus();
        progress_ = FromProto(update.progress());
        ++progress_count_;
        changed_.NotifyAll();
        break;
      case v1::AcquireUpdate::kGranted:
        if (phase_ == Phase::kMapped) OnResumed(update.granted(), next);
        break;
      case v1::AcquireUpdate::kDigestKnown:
        SetDigest(update.digest_known().digest());
        break;
      case v1::AcquireUpdate::kDrainRequested:
        if (!update.drain_requested().stopping()) retired_ = true;
        if (state() == Model::State::kHeld || state() == Model::State::kSuperseded) {
          SetState(Model::State::kDraining);
        }
        break;
      case v1::AcquireUpdate::kSuperseded:
        retired_ = true;
        if (state() == Model::State::kHeld) SetState(Model::State::kSuperseded);
        break;
      case v1::AcquireUpdate::kLost:
        if (phase_ == Phase::kAcquiring) break;  // the status says why
        SetState(Model::State::kLost);
        break;
      case v1::AcquireUpdate::UPDATE_NOT_SET:
        break;
    }
  }
  if (confirm) keeper_->Confirm(stream.connection().get());
  Do(std::move(next));
}

void Lease::OnGranted(AcquireStream& stream, const v1::Granted& granted) {
  {
    wire::MutexLock lock(mutex_);
    if (&stream != stream_.get() || phase_ != Phase::kAcquiring) return;
  }
  // Put the question before waking whoever waits: the answer comes while that thread is woken.
  AttachChannel& attach = stream.connection()->attach();
  const absl::StatusOr<uint64_t> request = attach.Ask(granted.lease_id());
  {
    wire::MutexLock lock(mutex_);
    if (&stream == stream_.get() && phase_ == Phase::kAcquiring) {
      phase_ = Phase::kGranted;
      away_since_.reset();
      grant_ = {.granted = granted, .connection = stream.connection(), .fds_request = {}};
      if (request.ok()) grant_.fds_request = *request;
      SetDigest(granted.digest());
      changed_.NotifyAll();
      return;
    }
  }
  if (request.ok()) attach.Abandon(*request);
}

void Lease::OnResumed(const v1::Granted& granted, Next& next) {
  if (state() != Model::State::kReconnecting) return;
  if (granted.residency_id() != grant_.granted.residency_id() ||
      granted.generation() != grant_.granted.generation()) {
    next.cancel = std::move(stream_);
    stream_ = nullptr;
    SetState(Model::State::kLost);
    return;
  }
  SetDigest(granted.digest());
  SetState(Model::State::kHeld);
}

void Lease::OnEnd(AcquireStream& stream, const absl::Status& status) {
  Next next;
  {
    wire::MutexLock lock(mutex_);
    if (&stream != stream_.get()) return;
    stream_ = nullptr;
    switch (phase_) {
      case Phase::kAcquiring:
        EndBeforeGrant(stream, status, next);
        break;
      case Phase::kGranted:
        ended_ = status;
        break;
      case Phase::kMapped:
        EndWhileMapped(stream.connection(), status, next);
        break;
      case Phase::kOver:
        break;
    }
  }
  Do(std::move(next));
}

void Lease::EndBeforeGrant(const AcquireStream& stream, const absl::Status& status, Next& next) {
  if (status.ok()) {
    Fail(ProtocolViolation("a call that ended without granting anything and without an error"));
  } else if (IsBreak(status, *stream.connection())) {
    next.await = ConnectionKeeper::Because::kNoConnection;
    next.broken = stream.connection();
  } else if (IsLater(status)) {
    next.await = ConnectionKeeper::Because::kTurnedAway;
    failure_ = status;
  } else {
    Fail(status);
  }
  if (next.await && !away_since_) away_since_ = Clock::now();
}

void Lease::EndWhileMapped(const std::shared_ptr<Connection>& connection,
                           const absl::Status& status, Next& next) {
  if (state() == Model::State::kLost) return;
  const bool broke = IsBreak(status, *connection);
  const bool resuming = state() == Model::State::kReconnecting;
  const wire::Reason reason = wire::GetReason(status);
  const bool gone = reason == wire::Reason::kResidencyNotFound ||
                    reason == wire::Reason::kDeviceLost ||
                    (resuming && !broke && !IsLater(status) && !absl::IsUnavailable(status));
  if (gone) {
    SetState(Model::State::kLost);
    return;
  }
  if (!resuming) SetState(Model::State::kReconnecting);
  next.await =
      broke ? ConnectionKeeper::Because::kNoConnection : ConnectionKeeper::Because::kTurnedAway;
  if (broke) next.broken = connection;
}

void Lease::Fail(absl::Status why) {
  phase_ = Phase::kOver;
  failure_ = std::move(why);
  changed_.NotifyAll();
}

void Lease::SetState(Model::State state) {
  state_.store(state, std::memory_order_release);
  notifier_.Push(state);
}

void Lease::SetDigest(const std::string& digest) {
  if (digest.empty() || digest.size() > digest_.size() || digest_size_.load() != 0) return;
  std::memcpy(digest_.data(), digest.data(), digest.size());
  digest_size_.store(digest.size(), std::memory_order_release);
}

v1::AcquireRequest Lease::MakeRequest() {
  v1::AcquireRequest request;
  *request.mutable_spec() = terms_.spec;
  request.set_scope(terms_.scope);
  if (phase_ == Phase::kMapped) {
    request.mutable_resume()->set_residency_id(grant_.granted.residency_id());
    request.mutable_resume()->set_generation(grant_.granted.generation());
  } else {
    request.set_wait_for_room(terms_.wait_for_room);
    if (terms_.keep_alive) *request.mutable_keep_alive() = ToProto(*terms_.keep_alive);
    if (terms_.deadline) {
      const Duration left = *terms_.deadline - Clock::now();
      *request.mutable_wait_timeout() = ToProto(std::max(left, Duration::zero()));
    }
  }
  return request;
}

void Lease::Do(Next next) {
  notifier_.Deliver();
  if (next.cancel) next.cancel->Cancel();
  if (next.await) keeper_->Await(shared_from_this(), *next.await, next.broken.get());
}

}  // namespace modeld::client
