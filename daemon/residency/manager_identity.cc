// Manager: equal content is in memory once, and so are equal tensors of what differs.
//
// A residency that has a plan is compared with those that came before it. Names, dtypes, shapes and
// a few samples rule most out; where they do not, it waits until the contents of both are known
// (its own is read from its files, the other's is computed over its memory) and joins the other, or
// loads. What differs as a whole may still have tensors in common: those are borrowed.

#include <algorithm>
#include <iterator>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// How long a reading waits for the host's agent, which may be being restarted.
constexpr std::chrono::seconds kReaderPatience{5};

std::string Describe(const Residency& residency) {
  return absl::StrCat(residency.id(), " (", residency.record().reference(), ")");
}

}  // namespace

// ---- by digest ----

Residency* Manager::FindByDigest(const std::string& digest, const std::string& device,
                                 const std::string& instance) {
  Residency* found = nullptr;
  for (Residency* residency : registry_.All()) {
    const ResidencyRecord& record = residency->record();
    const bool fits = residency->state() == State::kReady && !record.private_copy &&
                      record.device == device && record.instance == instance &&
                      absl::StartsWith(residency->digest_text(), digest);
    // A beginning that fits several contents names none of them.
    if (fits && found != nullptr && found->digest_text() != residency->digest_text()) {
      return nullptr;
    }
    if (fits) found = residency;
  }
  return found;
}

void Manager::AcquireByDigest(Ticket ticket) {
  Waiter& waiter = waiters_.at(ticket);
  const ModelSpec& spec = waiter.spec;
  if (!spec.config.empty()) {
    return EndWaiter(
        ticket, wire::MakeError(wire::Reason::kFieldInvalid,
                                "a digest names what is resident as it is: a load configuration "
                                "cannot change it",
                                {{"field", "spec.load_config"}},
                                "name the checkpoint by its path to load it in another way"));
  }
  if (!spec.private_copy) {
    if (Residency* const found = FindByDigest(spec.reference, spec.device, spec.instance)) {
      waiter.content_key = found->record().sources.front().content_key;
      return Join(ticket, waiter, *found);
    }
  }
  // What lies on the host can be copied from there.
  Residency* const host = FindByDigest(spec.reference, std::string(kHostDevice), "");
  if (host == nullptr) {
    return EndWaiter(
        ticket, wire::MakeError(wire::Reason::kResidencyNotFound,
                                absl::StrCat("nothing resident on ", spec.device,
                                             " or on the host ", "has the digest ", spec.reference),
                                {{"digest", spec.reference}, {"device", spec.device}},
                                "name the checkpoint by its path, or see what is resident: "
                                "modelctl ps"));
  }
  Source source = host->record().sources.front();
  waiter.content_key = source.content_key;
  Residency* residency = spec.private_copy
                             ? nullptr
                             : registry_.Current({source.content_key, spec.device, spec.instance});
  if (residency == nullptr) {
    waiter.result = AcquireResult::kLoaded;
    source.references = {spec.reference};
    residency = &AddResidency(spec, std::move(source));
    PlanFromHost(*residency, *host);
  }
  Join(ticket, waiter, *residency);
}

std::optional<absl::Status> Manager::CheckExpected(const ModelSpec& spec,
                                                   const Residency& residency) {
  if (spec.expected_digest.empty()) return absl::OkStatus();
  if (residency.content == nullptr) return std::nullopt;
  const std::string digest = wire::DigestText(residency.content->weights);
  if (digest == spec.expected_digest) return absl::OkStatus();
  return wire::MakeError(
      wire::Reason::kDigestMismatch,
      absl::StrCat(spec.reference, " has the weights digest ", digest, ", not the expected ",
                   spec.expected_digest),
      {{"reference", spec.reference}, {"digest", digest}, {"expected", spec.expected_digest}},
      "check which file the reference leads to: modelctl inspect");
}

// ---- the same as a whole ----

void Manager::Identify(Residency& residency) {
  const ResidencyRecord& record = residency.record();
  for (Residency* other : registry_.All()) {
    if (record.private_copy) break;
    const bool comparable =
        other != &residency && other->record().device == record.device &&
        other->record().instance == record.instance && registry_.IsCurrent(*other) &&
        (other->identified ||
         (other->plan != nullptr && other->record().generation < record.generation));
    if (!comparable || !plan::MayBeEqual(*residency.fingerprint, *other->fingerprint)) continue;
    if (residency.content == nullptr || other->content == nullptr) {
      return AwaitContent(residency, *other);
    }
    if (residency.content->weights == other->content->weights) {
      return JoinInto(residency, *other);
    }
  }
  LeaveRival(residency);
  residency.identified = true;
  // What was asked for because of a rival that is gone: it comes back here, knowing more.
  if (residency.reading_files) return;
  FindLenders(residency);
}

// Until the contents of both are known, or one is gone.
void Manager::AwaitContent(Residency& residency, Residency& rival) {
  LeaveRival(residency);
  residency.rival_id = rival.id();
  ++rival.readers;
  const std::string& device_id = residency.record().device;
  if (!devices_.at(device_id).available) GiveAgentTime(device_id);
  if (residency.state() == State::kPending) {
    residency.ChangeState(State::kIdentifying);
    Event event;
    event.message = absl::StrCat("compared with ", Describe(rival));
    Publish(EventType::kResidencyIdentifying, residency, std::move(event));
    TellProgress(residency, ProgressOf(residency));
  }
  if (residency.content == nullptr) ReadFiles(residency);
}

void Manager::ReadFiles(Residency& residency) {
  if (residency.reading_files) return;
  residency.reading_files = true;
  devices_.at(std::string(kHostDevice))
      .backend->Identify({residency.record(), residency.checkpoint, residency.plan, {}});
}

// The host's agent is back.
void Manager::ReadWaitingFiles() {
  for (Residency* residency : registry_.All()) {
    if (!residency->rival_id.empty() && residency->content == nullptr) {
      ReadFiles(*residency);
    }
  }
}

void Manager::LeaveRival(Residency& residency) {
  LeaveReader(registry_.Get(std::exchange(residency.rival_id, {})));
}

// Something has changed for those who wait for it: a content is known, or it is gone.
void Manager::WakeRivals(const std::string& rival_id) {
  if (stopping_) return;
  for (Residency* residency : registry_.All()) {
    if (residency->rival_id != rival_id) continue;
    strand_.Post([this, id = residency->id(), rival_id] {
      Residency* const waiting = registry_.Get(id);
      // Somebody else may have woken it meanwhile.
      if (waiting != nullptr && waiting->rival_id == rival_id) Identify(*waiting);
    });
  }
}

bool Manager::SetContent(Residency& residency,
                         std::shared_ptr<const plan::ContentDigests> content) {
  residency.content = std::move(content);
  const std::string id = residency.id();
  const std::set<Ticket> waiters = residency.waiters;
  for (const Ticket ticket : waiters) {
    const auto expected = CheckExpected(waiters_.at(ticket).spec, residency);
    if (expected && !expected->ok()) EndWaiter(ticket, *expected);
    if (registry_.Get(id) == nullptr) return false;
  }
  return true;
}

// For later plans of the same files.
void Manager::RememberContent(const Residency& residency) {
  for (const Source& source : residency.record().sources) {
    if (!source.settled) continue;
    deps_.plan_executor->Post([this, key = source.content_key, content = residency.content] {
      deps_.catalog->RememberDigests(key, *content);
    });
  }
}

void Manager::OnIdentified(const std::string& residency_id,
                           absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> digests) {
  strand_.Post([this, residency_id, digests = std::move(digests)] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || !residency->reading_files) return;
    residency->reading_files = false;
    if (residency->state() != State::kIdentifying) return;
    if (!digests.ok()) {
      if (wire::GetReason(digests.status()) != wire::Reason::kDeviceUnavailable) {
        return Fail(*residency, digests.status());
      }
      if (residency->rival_id.empty()) return Identify(*residency);  // it is not asked any more
      deps_.timer->At(deps_.clock->Now() + kReaderPatience,
                      [this, residency_id, why = digests.status()] {
                        strand_.Post([this, residency_id, why] {
                          Residency* const waiting = registry_.Get(residency_id);
                          if (waiting == nullptr || waiting->reading_files ||
                              waiting->rival_id.empty() || waiting->content != nullptr) {
                            return;
                          }
                          Fail(*waiting, why);
                        });
                      });
      return;
    }
    const bool wanted = SetContent(*residency, *digests);
    if (!wanted) return;
    RememberContent(*residency);
    Identify(*residency);
    WakeRivals(residency_id);
  });
}

// The content of `residency` is that of `other`: whoever waits for it, waits for the other or gets
// it.
void Manager::JoinInto(Residency& residency, Residency& other) {
  const std::string id = residency.id();
  Event event;
  event.message = absl::StrCat("the same weights as ", Describe(other));
  Publish(EventType::kResidencyJoined, residency, std::move(event));
  LeaveRival(residency);
  LeaveLenders(residency);
  LeaveSource(residency);
  if (residency.reading_files) {
    devices_.at(std::string(kHostDevice)).backend->CancelLoad(id);
  }
  for (const Source& source : residency.record().sources) {
    if (other.record().FindSource(source.content_key) == nullptr) {
      other.AddSource(source);
      continue;
    }
    for (const std::string& reference : source.references) {
      other.AddReference(source.content_key, reference);
    }
  }
  if (residency.pinned()) other.set_pinned(true);
  if (residency.record().keep_alive) other.set_keep_alive(*residency.record().keep_alive);
  if (residency.wanted && other.IsComing()) other.wanted = true;
  const std::set<Ticket> waiters = std::exchange(residency.waiters, {});
  const std::set<std::string> followers = std::exchange(residency.followers, {});
  AnswerEvictions(residency, 0);
  registry_.Forget(residency);  // frees its keys
  registry_.Recognize(other);
  TellRecord(other);
  LearnDigests();
  SettleSoon(other);  // its keep-alive may be another one
  if (other.state() == State::kReady) RememberContent(other);

  for (const std::string& follower_id : followers) {
    Residency* const follower = registry_.Get(follower_id);
    if (follower == nullptr) continue;
    if (other.state() == State::kReady) {
      PlanFromHost(*follower, other);
    } else {
      other.followers.insert(follower_id);
    }
  }
  for (const Ticket ticket : waiters) Join(ticket, waiters_.at(ticket), other);
  WakeRivals(id);
}

// ---- the same in part ----

// Of what may be borrowed only as much is known as names and samples say.
void Manager::FindLenders(Residency& residency) {
  if (!deps_.share_tensors || residency.record().private_copy) return Enqueue(residency);
  struct Snapshot {
    std::string id;
    std::shared_ptr<const ResidentMemory> memory;
    std::shared_ptr<const plan::Fingerprint> fingerprint;
  };
  std::vector<Snapshot> lenders;
  for (const Residency* other : registry_.All()) {
    if (other != &residency && other->state() == State::kReady && registry_.IsCurrent(*other) &&
        other->record().device == residency.record().device &&
        other->record().instance == residency.record().instance &&
        other->memory->table->view().size() > 0) {
      lenders.push_back({other->id(), other->memory, other->fingerprint});
    }
  }
  if (lenders.empty() || residency.plan->table->view().size() == 0) return Enqueue(residency);
  deps_.plan_executor->Post([this, id = residency.id(), plan = residency.plan,
                             fingerprint = residency.fingerprint, lenders = std::move(lenders)] {
    std::vector<plan::Lender> views;
    for (const Snapshot& lender : lenders) {
      std::vector<uint64_t> sizes;
      for (const auto& segment : lender.memory->segments) sizes.push_back(segment->info.size_bytes);
      views.push_back({.table = &lender.memory->table->view(),
                       .fingerprint = lender.fingerprint.get(),
                       .content = nullptr,
                       .segment_sizes = std::move(sizes)});
    }
    std::vector<std::string> ids;
    for (const size_t index : plan::PromisingLenders(plan->table->view(), *fingerprint, views)) {
      ids.push_back(lenders[index].id);
    }
    strand_.Post([this, id, ids = std::move(ids)] { OnLenders(id, ids); });
  });
}

void Manager::OnLenders(const std::string& residency_id, const std::vector<std::string>& ids) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr || !residency->IsComing()) return;  // cancelled meanwhile
  std::vector<Residency*> lenders;
  for (const std::string& id : ids) {
    Residency* const lender = registry_.Get(id);
    if (lender != nullptr && lender->state() == State::kReady) lenders.push_back(lender);
  }
  if (lenders.empty()) return Enqueue(*residency);
  for (Residency* lender : lenders) {
    if (residency->content == nullptr || lender->content == nullptr) {
      return AwaitContent(*residency, *lender);  // and then from the start
    }
  }
  PlanWithLenders(*residency, lenders);
}

void Manager::PlanWithLenders(Residency& residency, const std::vector<Residency*>& lenders) {
  struct Snapshot {
    std::string id;
    std::shared_ptr<const ResidentMemory> memory;
    std::shared_ptr<const plan::ContentDigests> content;
  };
  std::vector<Snapshot> snapshots;
  for (Residency* lender : lenders) {
    ++lender->readers;
    residency.lenders.push_back(lender->id());
    snapshots.push_back({lender->id(), lender->memory, lender->content});
  }
  deps_.plan_executor->Post([this, id = residency.id(), plan = residency.plan,
                             content = residency.content, snapshots = std::move(snapshots)] {
    std::vector<plan::Lender> views;
    std::vector<std::string> ids;
    std::set<std::string> offered;
    const plan::Fingerprint unused;
    for (const Snapshot& lender : snapshots) {
      std::vector<uint64_t> sizes;
      for (const auto& segment : lender.memory->segments) {
        // What several lenders have is borrowed from one: a segment of this size is worth nothing.
        const bool first = offered.insert(segment->id).second;
        sizes.push_back(first ? segment->info.size_bytes : std::numeric_limits<uint64_t>::max());
      }
      views.push_back({.table = &lender.memory->table->view(),
                       .fingerprint = &unused,
                       .content = lender.content.get(),
                       .segment_sizes = std::move(sizes)});
      ids.push_back(lender.id);
    }
    auto shared = plan::MakeSharedPlan(*plan, *content, views);
    strand_.Post([this, id, shared = std::move(shared), ids = std::move(ids)] {
      OnSharedPlan(id, shared, ids);
    });
  });
}

void Manager::OnSharedPlan(const std::string& residency_id, absl::StatusOr<plan::SharedPlan> shared,
                           const std::vector<std::string>& lender_ids) {
  Residency* const residency = registry_.Get(residency_id);
  if (residency == nullptr || !residency->IsComing()) return;  // cancelled meanwhile
  if (!shared.ok()) return Fail(*residency, shared.status());
  // The lenders count it as a reader, so they are all there still, unless their device was lost.
  const bool all_there = std::ranges::all_of(shared->borrowed, [&](const plan::Borrowed& one) {
    const Residency* const lender = registry_.Get(lender_ids[one.lender]);
    return lender != nullptr && lender->memory != nullptr;
  });
  if (!all_there || shared->borrowed.empty()) {
    LeaveLenders(*residency);
    return Enqueue(*residency);
  }
  for (const plan::Borrowed& one : shared->borrowed) {
    const Residency* const lender = registry_.Get(lender_ids[one.lender]);
    residency->borrowed.push_back(
        {lender->id(), lender->memory->segments[one.segment], one.used_bytes});
  }
  residency->whole_plan = std::exchange(
      residency->plan, std::make_shared<const plan::LoadPlan>(std::move(shared->plan)));
  residency->set_own_bytes(residency->plan->resident_bytes());
  Enqueue(*residency);
}

// It uses their segments by itself now, or never will.
void Manager::LeaveLenders(Residency& residency) {
  for (const std::string& id : std::exchange(residency.lenders, {})) {
    LeaveReader(registry_.Get(id));
  }
}

}  // namespace modeld::residency
