#include "app/preloader.h"

#include <pthread.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "app/logging.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::app {

// To one question. The manager gives it on its strand; it may come after the end of whoever waited.
template <class T>
class Preloader::Answer {
 public:
  explicit Answer(std::shared_ptr<State> state) : state_(std::move(state)) {}

  void Give(T answer) {
    {
      wire::MutexLock lock(state_->mutex);
      given_ = std::move(answer);
    }
    state_->changed.NotifyAll();
  }

  // nullopt: told to stop.
  std::optional<T> Wait() {
    wire::MutexLock lock(state_->mutex);
    while (!given_ && !state_->stopping) state_->changed.Wait(state_->mutex);
    if (state_->stopping) return std::nullopt;
    return std::move(given_);
  }

 private:
  const std::shared_ptr<State> state_;
  std::optional<T> given_ MODELD_GUARDED_BY(state_->mutex);
};

template <class Observer, class Result>
class Preloader::Observed : public Observer {
 public:
  explicit Observed(std::shared_ptr<State> state) : answer(std::move(state)) {}

  void OnProgress(const residency::Progress&) override {}
  void OnDone(const absl::StatusOr<Result>& result) override { answer.Give(result); }

  Answer<absl::StatusOr<Result>> answer;
};

Preloader::~Preloader() { Stop(); }

void Preloader::Start(std::vector<Preload> preloads, std::vector<std::string> gpus) {
  if (preloads.empty()) return;
  thread_ = std::thread(
      [this, preloads = std::move(preloads), gpus = std::move(gpus)] { Run(preloads, gpus); });
  pthread_setname_np(thread_.native_handle(), "preload");
}

void Preloader::Stop() {
  if (!thread_.joinable()) return;
  {
    wire::MutexLock lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.NotifyAll();
  thread_.join();
}

std::vector<std::string> Preloader::notes() const {
  wire::MutexLock lock(state_->mutex);
  return state_->notes;
}

bool Preloader::IsLoading(std::string_view reference) const {
  wire::MutexLock lock(state_->mutex);
  return !reference.empty() && state_->reference == reference;
}

void Preloader::Run(const std::vector<Preload>& preloads, const std::vector<std::string>& gpus) {
  for (const Preload& preload : preloads) {
    SetLoading(preload.spec.reference);
    const bool go_on = Load(preload, gpus);
    SetLoading("");
    if (!go_on) return;
  }
  Log(LogLevel::kInfo, "the preloads are done",
      {{"preloads", wire::StrCat(preloads.size())}, {"notes", wire::StrCat(notes().size())}});
}

bool Preloader::Load(const Preload& preload, const std::vector<std::string>& gpus) {
  const auto device = DeviceOf(preload.spec.device, gpus);
  if (!device.ok()) {
    SayFailed(preload, device.status());
    return true;
  }
  residency::PreloadRequest request;
  request.spec = preload.spec;
  request.spec.device = *device;
  request.pin = preload.pin;
  request.keep_alive = preload.keep_alive;
  const residency::ModelSpec spec = request.spec;
  const auto observer =
      std::make_shared<Observed<residency::PreloadObserver, residency::ResidencyInfo>>(state_);
  const residency::Ticket ticket = manager_.Preload(std::move(request), observer);
  const auto loaded = observer->answer.Wait();
  if (!loaded) {
    manager_.Release(ticket);
    return false;
  }
  if (!loaded->ok()) {
    SayFailed(preload, loaded->status());
    return true;
  }
  return preload.alias.empty() || GiveName(preload, spec, **loaded);
}

bool Preloader::GiveName(const Preload& preload, const residency::ModelSpec& spec,
                         const residency::ResidencyInfo& residency) {
  if (std::ranges::find(residency.aliases, preload.alias) != residency.aliases.end()) return true;
  const auto snapshot = std::make_shared<Answer<residency::Snapshot>>(state_);
  manager_.GetSnapshot({.aliases = true}, [snapshot](residency::Snapshot answer) {
    snapshot->Give(std::move(answer));
  });
  const auto now = snapshot->Wait();
  if (!now) return false;
  const auto other = std::ranges::find(now->aliases, preload.alias, &residency::Alias::name);
  if (other != now->aliases.end()) {
    const std::string words = wire::StrCat("alias ", preload.alias, " stays with another version, ",
                                           other->spec.reference, ", and is not given to ",
                                           spec.reference, ", which the configuration gives it to");
    Log(LogLevel::kWarn, "an alias stays where it is",
        {{"alias", preload.alias}, {"at", other->spec.reference}, {"preload", spec.reference}});
    Note(wire::StrCat(words, ": modelctl alias set ", preload.alias, " ", spec.reference,
                      " moves it"));
    return true;
  }
  residency::SetAliasRequest request;
  request.name = preload.alias;
  request.spec = spec;
  request.keep_alive = preload.keep_alive;
  const auto observer =
      std::make_shared<Observed<residency::AliasObserver, residency::AliasResult>>(state_);
  const residency::Ticket ticket = manager_.SetAlias(std::move(request), observer);
  const auto set = observer->answer.Wait();
  if (!set) {
    manager_.Release(ticket);
    return false;
  }
  if (!set->ok()) SayFailed(preload, set->status());
  return true;
}

void Preloader::SetLoading(const std::string& reference) {
  wire::MutexLock lock(state_->mutex);
  state_->reference = reference;
}

void Preloader::SayFailed(const Preload& preload, const absl::Status& why) {
  const wire::ErrorInfo info = wire::GetErrorInfo(why);
  const std::string message(wire::ToStd(why.message()));
  Log(LogLevel::kError, "a preload failed",
      {{"reference", preload.spec.reference},
       {"device", preload.spec.device},
       {"reason", std::string(wire::ReasonName(info.reason))},
       {"why", message}});
  Note(wire::StrCat("preload of ", preload.spec.reference, " failed: ", message,
                    info.hint.empty() ? "" : "; ", info.hint));
}

void Preloader::Note(std::string note) {
  wire::MutexLock lock(state_->mutex);
  state_->notes.push_back(std::move(note));
}

}  // namespace modeld::app
