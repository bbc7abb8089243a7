// A call that makes something READY and tells how that goes: Preload, SetAlias.

#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "modeld/v1/admin_service.pb.h"
#include "residency/manager.h"
#include "rpc/convert.h"
#include "rpc/open_calls.h"
#include "rpc/slot_stream.h"

namespace modeld::rpc {

struct PreloadCall {
  using Request = residency::PreloadRequest;
  using Observer = residency::PreloadObserver;
  using Result = residency::ResidencyInfo;
  using Update = v1::PreloadUpdate;

  static residency::Ticket Ask(residency::Manager& manager, Request request,
                               std::shared_ptr<Observer> observer) {
    return manager.Preload(std::move(request), std::move(observer));
  }
  static void FillResult(const Result& from, Update& to) { Fill(from, *to.mutable_residency()); }
};

struct SetAliasCall {
  using Request = residency::SetAliasRequest;
  using Observer = residency::AliasObserver;
  using Result = residency::AliasResult;
  using Update = v1::SetAliasUpdate;

  static residency::Ticket Ask(residency::Manager& manager, Request request,
                               std::shared_ptr<Observer> observer) {
    return manager.SetAlias(std::move(request), std::move(observer));
  }
  static void FillResult(const Result& from, Update& to) { Fill(from, *to.mutable_result()); }
};

// Progress until there is a result. Cancelling the call cancels the load, unless somebody else
// waits for it.
template <class Call>
class LoadReactor final : public SlotStream<typename Call::Update, 2> {
 public:
  // Both outlive the call.
  LoadReactor(residency::Manager& manager, OpenCalls& calls)
      : manager_(manager), calls_(calls), observer_(*this) {}

  // From the service's method, after Start.
  static void Ask(const std::shared_ptr<LoadReactor>& reactor, typename Call::Request request) {
    reactor->calls_.Enter();
    // The observer lives as long as the reactor that it is part of.
    std::shared_ptr<typename Call::Observer> observer(reactor, &reactor->observer_);
    // OnOver comes after the service's method has returned, so it finds the ticket.
    reactor->ticket_ = Call::Ask(reactor->manager_, std::move(request), std::move(observer));
  }

 private:
  using Update = typename Call::Update;
  using Result = typename Call::Result;
  enum Slot { kProgress, kResult };

  // Apart from the reactor, because both have an OnDone.
  class Observer : public Call::Observer {
   public:
    explicit Observer(LoadReactor& reactor) : reactor_(reactor) {}

    void OnProgress(const residency::Progress& progress) override {
      Update update;
      Fill(progress, *update.mutable_progress());
      reactor_.Put(kProgress, std::move(update));
    }

    void OnDone(const absl::StatusOr<Result>& result) override {
      if (result.ok()) {
        Update update;
        Call::FillResult(*result, update);
        reactor_.Put(kResult, std::move(update));
      }
      reactor_.End(result.status());
    }

   private:
    LoadReactor& reactor_;
  };

  void OnOver() override {
    const residency::Ticket ticket = ticket_;
    if (ticket == 0) return;
    manager_.Release(ticket);
    calls_.Leave();
  }

  residency::Manager& manager_;
  OpenCalls& calls_;
  Observer observer_;
  // 0: nothing was asked of the manager.
  std::atomic<residency::Ticket> ticket_{0};
};

}  // namespace modeld::rpc
