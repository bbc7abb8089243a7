// Manager: what the owners of memory say.

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "residency/manager.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

// How long an adopted private copy waits for its holder to come back.
constexpr std::chrono::seconds kPrivatePatience{30};

}  // namespace

void Manager::OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) {
  strand_.Post([this, residency_id, bytes_done] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    residency->loaded_bytes = bytes_done;
    TellProgress(*residency, ProgressOf(*residency));
  });
}

void Manager::OnLoaded(const std::string& residency_id,
                       std::shared_ptr<const ResidentMemory> memory, const LoadStats& stats) {
  strand_.Post([this, residency_id, memory = std::move(memory), stats] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    Device& device = devices_.at(residency->record().device);
    device.ledger.Commit(residency->own_bytes());
    residency->memory = memory;
    UseSegments(device, *residency);
    residency->loaded_bytes = residency->tensor_bytes;
    residency->ready_time = deps_.clock->WallNow();
    residency->idle_since = deps_.clock->Now();
    residency->protected_until = residency->idle_since + policy_.min_residency;
    residency->ChangeState(State::kReady);
    LeaveSource(*residency);
    LeaveLenders(*residency);
    Event event;
    event.bytes = residency->own_bytes();
    event.message = absl::StrFormat("read %s in %.3f s", stats.read_mode, stats.read_nanos / 1e9);
    Publish(EventType::kResidencyReady, *residency, std::move(event));
    if (residency->cancelling) {  // it was too late to stop it
      Free(*residency, cause::kUnwanted, "nobody waited for it any more");
      return;
    }
    if (residency->has_news) TellRecord(*residency);
    GrantToWaiters(*residency);
    HostIsReady(*residency);
    Settle(*residency);
  });
}

// To all but those who expect a digest that is not known yet.
void Manager::GrantToWaiters(Residency& residency) {
  const std::set<Ticket> waiters = residency.waiters;
  for (const Ticket ticket : waiters) {
    const auto expected = CheckExpected(waiters_.at(ticket).spec, residency);
    if (!expected) continue;
    if (expected->ok()) {
      GrantTo(ticket, residency);
    } else {
      EndWaiter(ticket, *expected);
    }
  }
}

void Manager::OnLoadFailed(const std::string& residency_id, absl::Status status) {
  strand_.Post([this, residency_id, status = std::move(status)] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kLoading) return;
    const std::string device_id = residency->record().device;
    devices_.at(device_id).ledger.Cancel(residency->own_bytes());
    Fail(*residency, status);
  });
}

void Manager::OnDigest(const std::string& residency_id,
                       std::shared_ptr<const ResidentDigests> digests) {
  strand_.Post([this, residency_id, digests = std::move(digests)] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->memory == nullptr) return;
    residency->digests = digests;
    Event event;
    event.message = residency->digest_text();
    if (residency->content != nullptr && residency->content->weights != digests->content->weights) {
      event.reason = std::string(wire::ReasonName(wire::Reason::kDigestMismatch));
      absl::StrAppend(&event.message, ", and not as it was known before: ",
                      wire::DigestText(residency->content->weights));
    }
    Publish(EventType::kDigestKnown, *residency, std::move(event));
    if (!SetContent(*residency, digests->content)) return;
    RememberContent(*residency);
    LearnDigests();
    for (const Ticket ticket : residency->leases) {
      leases_.at(ticket).observer->OnDigestKnown(residency->digest_text());
    }
    GrantToWaiters(*residency);
    WakeRivals(residency_id);
  });
}

void Manager::OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) {
  strand_.Post([this, residency_id, unreturned_bytes] {
    Residency* const residency = registry_.Get(residency_id);
    if (residency == nullptr || residency->state() != State::kDraining) return;
    const std::string device_id = residency->record().device;
    const uint64_t freed = residency->freeing_bytes;
    Device& device = devices_.at(device_id);
    device.ledger.Free(freed);
    device.releasing_bytes -= freed;
    device.unreturned_bytes = unreturned_bytes;
    residency->ChangeState(State::kEvicted);
    Event event;
    event.bytes = freed;
    if (unreturned_bytes > 0) {
      event.message = absl::StrCat(unreturned_bytes, " bytes are still mapped by somebody");
    }
    Publish(EventType::kResidencyEvicted, *residency, std::move(event));
    AnswerEvictions(*residency, freed);
    registry_.Remove(*residency);
    Admit(device_id);
  });
}

void Manager::OnAgentUp(const std::string& device_id, const AgentInfo& info) {
  strand_.Post([this, device_id, info] {
    Device& device = devices_.at(device_id);
    device.available = true;
    device.agent = info;
    ++device.agent_starts;
    Event event;
    event.type = EventType::kAgentStarted;
    event.device = device_id;
    event.pid = info.pid;
    events_.Publish(std::move(event));
    for (const Residency* residency : registry_.All()) {
      if (residency->record().device != device_id || residency->memory == nullptr) continue;
      device.backend->Adopt(residency->record(), residency->memory, residency->digests);
    }
    if (device_id == kHostDevice) ReadWaitingFiles();
    Admit(device_id);
  });
}

void Manager::OnAgentDown(const std::string& device_id, const absl::Status& why) {
  strand_.Post([this, device_id, why] {
    Device& device = devices_.at(device_id);
    device.down_because = std::string(why.message());
    if (!device.available) return;
    device.available = false;
    GiveAgentTime(device_id);
    Event event;
    event.type = EventType::kAgentDied;
    event.device = device_id;
    event.pid = device.agent.pid;
    event.reason = std::string(wire::ReasonName(wire::GetReason(why)));
    event.message = device.down_because;
    events_.Publish(std::move(event));
    bool lost = false;
    for (const std::string& id : Ids()) {
      Residency* const residency = registry_.Get(id);
      if (residency == nullptr || residency->record().device != device_id ||
          residency->memory == nullptr) {
        continue;
      }
      const auto& segments = residency->memory->segments;
      const bool dies_with_agent = std::any_of(segments.begin(), segments.end(), [](const auto& s) {
        return s->info.kind == wire::SegmentKind::kCudaIpc;
      });
      if (dies_with_agent) {
        lost = true;
        Lose(*residency,
             wire::MakeError(wire::Reason::kDeviceLost,
                             absl::StrCat("the memory of ", residency->record().reference(),
                                          " went with its agent: ", device.down_because),
                             {{"device", device_id}, {"residency", residency->id()}},
                             "acquire it anew; export = \"vmm\" survives this"));
      }
    }
    if (lost) StopBorrowing(device_id);  // there is nothing to borrow any more
  });
}

void Manager::OnInventory(const ResidencyRecord& record,
                          std::shared_ptr<const ResidentMemory> memory,
                          std::shared_ptr<const ResidentDigests> digests) {
  strand_.Post([this, record, memory = std::move(memory), digests = std::move(digests)] {
    Device& device = devices_.at(record.device);
    if (registry_.Get(record.id) != nullptr) return;
    const bool known =
        std::any_of(record.sources.begin(), record.sources.end(), [&](const Source& source) {
          return registry_.Current({source.content_key, record.device, record.instance}) != nullptr;
        });
    if (!record.private_copy && !record.draining && known) {
      device.backend->Release(record.id);  // a second copy of what is here already
      return;
    }
    auto adopted = std::make_unique<Residency>(record);
    adopted->Adopt();
    adopted->memory = memory;
    adopted->digests = digests;
    if (digests != nullptr) adopted->content = digests->content;
    adopted->fingerprint =
        std::make_shared<const plan::Fingerprint>(plan::FingerprintOf(memory->table->view(), {}));
    adopted->identified = true;
    const std::vector<uint64_t> used = plan::UsedBytes(memory->table->view());
    uint64_t new_bytes = 0;
    for (size_t i = 0; i < memory->segments.size(); ++i) {
      const auto& segment = memory->segments[i];
      if (!device.users.contains(segment->id)) new_bytes += segment->info.size_bytes;
      if (absl::StartsWith(segment->id, absl::StrCat(record.id, "/"))) {
        adopted->set_own_bytes(adopted->own_bytes() + segment->info.size_bytes);
      } else {
        adopted->borrowed.push_back({"", segment, used[i]});
      }
    }
    UseSegments(device, *adopted);
    adopted->tensor_bytes = adopted->loaded_bytes = memory->table->view().tensor_bytes();
    adopted->tensor_count = memory->table->view().size();
    adopted->created_time = deps_.clock->WallNow();
    adopted->ready_time = adopted->released_time = adopted->created_time;
    adopted->idle_since = deps_.clock->Now();
    adopted->returning_until = adopted->idle_since + policy_.adoption_grace;
    if (IsToBePinned(record)) adopted->set_pinned(true);
    last_generation_ = std::max(last_generation_, record.generation);
    device.ledger.Adopt(new_bytes);
    Residency& residency = registry_.Add(std::move(adopted));
    Event event;
    event.bytes = new_bytes;
    Publish(EventType::kResidencyAdopted, residency, std::move(event));
    LearnDigests();
    if (residency.pinned() != record.pinned) TellRecord(residency);
    Settle(residency);

    if (!record.private_copy) return;
    deps_.timer->At(deps_.clock->Now() + kPrivatePatience, [this, id = record.id] {
      strand_.Post([this, id] {
        Residency* const left = registry_.Get(id);
        if (left != nullptr && left->state() == State::kReady && left->leases.empty()) {
          Free(*left, cause::kPrivate, "the holder of the private copy did not come back");
        }
      });
    });
  });
}

}  // namespace modeld::residency
