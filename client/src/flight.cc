#include "flight.h"

#include <cstdio>
#include <utility>

#include "core.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

// modeld's own answer to a timeout says more than ours, and comes a little later than ours would.
constexpr std::chrono::milliseconds kSlack{250};
// modeld sends descriptors at once. A waiter whose time is up grants it a little, so as not to
// throw away a lease.
constexpr std::chrono::seconds kFdsTimeout{10};
constexpr std::chrono::seconds kLeastFdsTimeout{1};

v1::ModelSpec ToProto(const ModelSpec& spec) {
  v1::ModelSpec result;
  result.set_reference(spec.reference);
  result.set_device(spec.device);
  result.set_instance(spec.instance);
  result.set_private_copy(spec.private_copy);
  result.set_keep_host(spec.keep_host);
  const LoadConfig& config = spec.config;
  if (config != LoadConfig{}) {
    v1::LoadConfig& wanted = *result.mutable_load_config();
    wanted.set_cast(config.cast);
    wanted.mutable_include()->Add(config.include.begin(), config.include.end());
    wanted.mutable_exclude()->Add(config.exclude.begin(), config.exclude.end());
    wanted.set_key_prefix(config.key_prefix);
  }
  result.set_expected_digest(spec.expected_digest);
  return result;
}

std::string Seconds(Duration duration) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g s", std::chrono::duration<double>(duration).count());
  return text;
}

}  // namespace

Flight::Flight(std::shared_ptr<Core> core, ModelSpec spec, Wishes wishes)
    : core_(std::move(core)),
      spec_(std::move(spec)),
      wishes_(std::move(wishes)),
      lease_(std::make_shared<Lease>(core_->keeper(),
                                     Lease::Terms{.spec = ToProto(spec_),
                                                  .scope = wishes_.scope,
                                                  .deadline = wishes_.deadline,
                                                  .wait_for_room = wishes_.wait_for_room,
                                                  .keep_alive = wishes_.keep_alive})) {}

bool Flight::Join(const Wishes& wishes) {
  if (wishes.wait_for_room != wishes_.wait_for_room || wishes.keep_alive != wishes_.keep_alive) {
    return false;
  }
  wire::MutexLock lock(mutex_);
  // Equal timeouts of threads that start together are meant to be one flight.
  const Deadline& ours = wishes_.deadline;
  if (over_ || (ours && (!wishes.deadline || *wishes.deadline > *ours + kSlack))) return false;
  ++waiters_;
  return true;
}

Flight::Result Flight::Wait(Deadline deadline,
                            const std::function<void(const Progress&)>& on_progress) {
  struct Leaver {
    Flight* flight;
    ~Leaver() { flight->Leave(); }
  } leaver{this};

  const bool modeld_knows = wishes_.deadline && deadline && *deadline >= *wishes_.deadline;
  const Deadline until = modeld_knows ? Deadline(*deadline + kSlack) : deadline;
  uint64_t seen = 0;
  for (;;) {
    bool map = false;
    {
      wire::MutexLock lock(mutex_);
      while (mapping_ && !result_) {
        if (!until) {
          changed_.Wait(mutex_);
        } else if (!changed_.WaitUntil(mutex_, *until) && HasPassed(until)) {
          break;
        }
      }
      if (result_) return *result_;
      if (mapping_) return TimedOut();
    }
    switch (lease_->Wait(until, &seen)) {
      case Lease::Waited::kTimedOut:
        return TimedOut();
      case Lease::Waited::kProgress:
        if (on_progress) on_progress(lease_->progress());
        break;
      case Lease::Waited::kFailed:
        SetResult(lease_->failure());
        break;
      case Lease::Waited::kGranted: {
        wire::MutexLock lock(mutex_);
        map = !mapping_ && !result_;
        if (map) mapping_ = true;
        break;
      }
    }
    if (!map) continue;
    const absl::Status failed = Map(until);
    wire::MutexLock lock(mutex_);
    mapping_ = false;
    changed_.NotifyAll();
    if (!failed.ok()) return failed;
  }
}

// An error is this waiter's alone: the others may try again. What concerns all is set as the
// result.
absl::Status Flight::Map(Deadline deadline) {
  const Grant grant = lease_->TakeGrant();
  const absl::StatusOr<GrantedMemory> granted = GrantedMemory::From(grant.granted, spec_.device);
  if (!granted.ok()) {
    SetResult(granted.status());
    return absl::OkStatus();
  }
  const TimePoint now = Clock::now();
  TimePoint until = now + kFdsTimeout;
  if (deadline) until = std::min(until, std::max(*deadline, now + kLeastFdsTimeout));

  AttachChannel& attach = grant.connection->attach();
  absl::StatusOr<uint64_t> request =
      grant.fds_request ? *grant.fds_request : attach.Ask(grant.granted.lease_id());
  absl::StatusOr<std::vector<wire::UniqueFd>> fds =
      request.ok() ? attach.Answer(*request, granted->descriptor_count(), until)
                   : absl::StatusOr<std::vector<wire::UniqueFd>>(request.status());
  if (!fds.ok()) {
    if (lease_->Retry(fds.status())) return absl::OkStatus();
    if (absl::IsDeadlineExceeded(fds.status())) {
      return wire::MakeError(wire::Reason::kDeadlineExceeded,
                             wire::StrCat("modeld has granted ", spec_.reference,
                                          " but does not send its descriptors"),
                             {{"reference", spec_.reference}}, "see `modelctl health`");
    }
    SetResult(fds.status());
    return absl::OkStatus();
  }
  absl::StatusOr<MappedResidency> memory =
      MappedResidency::Map(*granted, *std::move(fds), spec_.device, spec_.peer);
  if (!memory.ok()) {
    SetResult(memory.status());
    return absl::OkStatus();
  }
  auto model = std::make_shared<const ResidentModel>(core_, spec_, lease_, grant.granted,
                                                     *std::move(memory));
  lease_->Mapped();
  SetResult(core_->Publish(std::move(model)));
  return absl::OkStatus();
}

void Flight::SetResult(Result result) {
  {
    wire::MutexLock lock(mutex_);
    over_ = true;
    if (!result_) result_ = std::move(result);
    changed_.NotifyAll();
  }
  core_->Land(spec_, this);
}

void Flight::Leave() {
  bool give_up;
  {
    wire::MutexLock lock(mutex_);
    if (--waiters_ > 0) return;
    over_ = true;
    give_up = !result_ || !result_->ok();
  }
  if (!give_up) return;
  lease_->Release();
  core_->Land(spec_, this);
}

absl::Status Flight::TimedOut() const {
  return wire::MakeError(wire::Reason::kDeadlineExceeded,
                         wire::StrCat("waited ", Seconds(Clock::now() - started_), " for ",
                                      spec_.reference, ": ", lease_->DescribeWait()),
                         {{"reference", spec_.reference}},
                         "`modelctl ps` shows what loads and what holds memory");
}

}  // namespace modeld::client
