// Who asks the manager for something, and knows what it may be told.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "journal.h"
#include "residency/requests.h"
#include "wire/error.h"

namespace modeld::residency::model {

// A worker: of one acquire, from its wish to its end.
class Worker : public AcquireObserver {
 public:
  // Told that a worker has been granted its lease.
  using Granted = std::function<void(Worker&)>;

  Worker(Journal& journal, Granted granted) : journal_(journal), granted_(std::move(granted)) {}

  void OnProgress(const Progress& progress) override {
    Expect(!grant && !is_over, "progress");
    last_progress = progress;
  }
  void OnGranted(const Grant& given) override {
    Expect(!grant && !is_over, "a grant");
    grant = given;
    granted_(*this);
  }
  void OnDigestKnown(const std::string& digest) override {
    Expect(IsHolding() && grant->digest.empty(), "a digest");
    grant->digest = digest;
  }
  void OnDrainRequested(const std::string&, bool) override {
    Expect(IsHolding(), "a wish for its lease");
    ++drains;
  }
  void OnSuperseded(const std::string& alias, const std::string&) override {
    Expect(IsHolding() && alias == spec.reference, "that it is superseded");
    ++superseded;
  }
  void OnLost(const absl::Status&) override {
    Expect(IsHolding() && !is_lost, "a loss");
    is_lost = true;
  }
  void OnEnded(const absl::Status& status) override {
    Expect(!is_over && (!grant || is_lost), "an end");
    is_over = true;
    end = status;
    journal_.Add(absl::StrCat(name, " ends: ", std::string(status.message())));
  }

  bool IsHolding() const { return grant.has_value() && !is_over; }
  bool IsWaiting() const { return !grant && !is_over; }

  std::string name;
  uint64_t ticket = 0;
  AcquireRequest request;
  ModelSpec& spec = request.spec;
  size_t since = 0;  // versions of its file when it asked

  std::optional<Progress> last_progress;
  std::optional<Grant> grant;
  bool is_lost = false;
  bool is_over = false;  // or released: it is to be told nothing
  absl::Status end;
  int drains = 0;
  int superseded = 0;
  int expected_superseded = 0;

 private:
  void Expect(bool expected, const std::string& what) {
    if (!expected) journal_.Broken(absl::StrCat(name, " is told ", what));
  }

  Journal& journal_;
  const Granted granted_;
};

// Is answered once, unless it was released before: by what may still be told then.
template <class Observer, class Result>
class Asker : public Observer {
 public:
  Asker(Journal& journal, std::string name) : journal_(journal), name_(std::move(name)) {}

  void OnProgress(const Progress&) override {
    if (is_over) journal_.Broken(absl::StrCat(name_, " is told progress after its end"));
  }
  void OnDone(const absl::StatusOr<Result>& done) override {
    if (is_over && !may_be_late) journal_.Broken(absl::StrCat(name_, " is answered twice"));
    is_over = true;
    may_be_late = false;
    result = done;
  }

  uint64_t ticket = 0;
  bool wait_for_room = false;
  bool is_over = false;
  bool may_be_late = false;
  std::optional<absl::StatusOr<Result>> result;

 private:
  Journal& journal_;
  const std::string name_;
};
using Preloader = Asker<PreloadObserver, ResidencyInfo>;
using Namer = Asker<AliasObserver, AliasResult>;

}  // namespace modeld::residency::model
