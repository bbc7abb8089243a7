#include "chaos_disturber.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>
#include <vector>

#include "chaos_models.h"
#include "wire/error.h"

namespace modeld::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kAliasName[] = "prod";
constexpr size_t kKeptLines = 200;

// What an earlier modeld left is not evicted for kChaosAdoptionGrace. A machine that is full waits
// as long for room, so a modeld has to live longer than that for every worker to get what it wants.
constexpr milliseconds kShortestLife{4'000};
constexpr milliseconds kLongestLife{10'000};
// An agent that dies at once again is started more and more slowly.
constexpr milliseconds kShortestAgentLife{700};
constexpr milliseconds kLongestAgentLife{14'000};

const std::set<wire::Reason> kRefusals = {
    wire::Reason::kResidencyLeased,   wire::Reason::kResidencyPinned,
    wire::Reason::kResidencyNotFound, wire::Reason::kBudgetExceeded,
    wire::Reason::kDeadlineExceeded,  wire::Reason::kDeviceUnavailable,
    wire::Reason::kDeviceLost,        wire::Reason::kCheckpointChanged};

constexpr std::chrono::seconds kPatienceAtFirst{60};
constexpr std::chrono::seconds kOperatorPatience{1};

}  // namespace

ChaosDisturber::ChaosDisturber(DaemonFixture& daemon, ChaosCrew& crew, std::string device,
                               unsigned seed)
    : daemon_(daemon),
      crew_(crew),
      device_(std::move(device)),
      random_(seed),
      next_end_(start_ + milliseconds(3000)),
      next_death_(start_ + milliseconds(1500)) {}

void ChaosDisturber::Disturb() {
  const TimePoint now = steady_clock::now();
  if (now >= next_end_) return EndModeld();
  if (now >= next_death_) return KillAgent();
  const unsigned dice = Below(100);
  if (dice < 25) {
    Note("workers killed", crew_.KillOne());
  } else if (dice < 40) {
    Note("workers stopped", crew_.StopOne(milliseconds(100 + Below(1400))));
  } else if (dice < 55) {
    ReplaceFile();
  } else {
    Operate();
  }
}

void ChaosDisturber::EndModeld() {
  switch (Below(4)) {
    case 0:
      RestartAfter(SIGKILL, /*agent_too=*/false);
      break;
    case 1:
      RestartAfter(SIGKILL, /*agent_too=*/true);
      break;
    case 2:
      RestartAfter(SIGUSR2, /*agent_too=*/false);
      break;
    default:
      for (unsigned i = 0; i < 3; ++i) RestartAfter(SIGKILL, /*agent_too=*/false);
      break;
  }
  next_end_ = steady_clock::now() + kShortestLife +
              milliseconds(Below(static_cast<unsigned>((kLongestLife - kShortestLife).count())));
}

void ChaosDisturber::RestartAfter(int signal, bool agent_too) {
  if (!daemon_.running()) return;
  if (agent_too) {
    if (const pid_t agent = daemon_.agent_pid(device_); agent != 0) ::kill(agent, SIGKILL);
  }
  const TimePoint start = steady_clock::now();
  const pid_t pid = daemon_.pid();
  const auto exit = daemon_.Kill(signal);
  daemon_.Start();
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);
  longest_restart_ = std::max(longest_restart_, took);
  Note(signal == SIGUSR2 ? "hand-overs"
       : agent_too       ? "modelds and agents killed"
                         : "modelds killed",
       std::to_string(pid) + (exit ? " " + exit->Text() : " did not end") + ", " +
           std::to_string(daemon_.pid()) + " was ready after " + std::to_string(took.count()) +
           " ms");
}

void ChaosDisturber::KillAgent() {
  const pid_t agent = daemon_.agent_pid(device_);
  if (agent == 0) return;
  ::kill(agent, SIGKILL);
  Note("agents killed", std::to_string(agent));
  next_death_ =
      steady_clock::now() + kShortestAgentLife +
      milliseconds(Below(static_cast<unsigned>((kLongestAgentLife - kShortestAgentLife).count())));
}

void ChaosDisturber::Operate() {
  std::vector<v1::Residency> there;
  {
    const auto list = RpcClient(daemon_.socket()).List();
    if (!list.ok()) return Note("listings", "", list.status());
    for (const v1::Residency& residency : *list) {
      if (residency.device() == device_) there.push_back(residency);
    }
  }
  if (there.empty()) return Preload();
  const v1::Residency& any = there[Below(static_cast<unsigned>(there.size()))];
  switch (Below(8)) {
    case 0:
    case 1:
      return Evict(any, /*drain=*/false);
    case 2:
      return Evict(any, /*drain=*/true);
    case 3:
      return Pin(any);
    case 4:
      return UnpinAll();
    case 5:
      return Preload();
    default:
      return MoveAlias(there);
  }
}

void ChaosDisturber::Evict(const v1::Residency& residency, bool drain) {
  v1::EvictRequest request;
  request.set_selector(residency.id());
  request.set_drain(drain);
  if (drain) request.mutable_drain_timeout()->set_nanos(200'000'000);
  const auto evicted = RpcClient(daemon_.socket("admin.sock")).Evict(request);
  Note(drain ? "drained" : "evicted", residency.id() + " " + residency.reference(),
       evicted.status());
}

// At most one: what is pinned is room that workers do not get.
void ChaosDisturber::Pin(const v1::Residency& residency) {
  UnpinAll();
  Note("pinned", residency.id() + " " + residency.reference(),
       RpcClient(daemon_.socket("admin.sock")).Pin(residency.id()));
}

void ChaosDisturber::UnpinAll() {
  const auto list = RpcClient(daemon_.socket()).List();
  if (!list.ok()) return Note("listings", "", list.status());
  for (const v1::Residency& residency : *list) {
    if (residency.pinned()) Unpin(residency.id());
  }
}

void ChaosDisturber::Unpin(const std::string& selector) {
  Note("unpinned", selector, RpcClient(daemon_.socket("admin.sock")).Unpin(selector));
}

void ChaosDisturber::SetFirstAlias() {
  SetAlias(ChaosModels().front().reference, kPatienceAtFirst);
  EXPECT_EQ(counts_["aliases set"], 1u) << Log();
}

// To something that is resident already, if there is such a thing.
void ChaosDisturber::MoveAlias(const std::vector<v1::Residency>& there) {
  std::vector<std::string> lasting;
  std::vector<std::string> resident;
  for (const ChaosModel& model : ChaosModels()) {
    if (model.replaceable) continue;
    lasting.push_back(model.reference);
    const auto is_it = [&](const v1::Residency& one) { return one.reference() == model.reference; };
    if (std::ranges::any_of(there, is_it)) resident.push_back(model.reference);
  }
  const auto& choice = resident.empty() ? lasting : resident;
  SetAlias(choice[Below(static_cast<unsigned>(choice.size()))], kOperatorPatience);
}

void ChaosDisturber::SetAlias(const std::string& reference, std::chrono::seconds patience) {
  v1::SetAliasRequest request;
  request.mutable_alias()->set_name(kAliasName);
  request.mutable_alias()->mutable_spec()->set_reference(reference);
  request.mutable_alias()->mutable_spec()->set_device(device_);
  request.mutable_wait_timeout()->set_seconds(patience.count());
  Note("aliases set", reference,
       RpcClient(daemon_.socket("admin.sock")).SetAlias(request).status());
}

void ChaosDisturber::Preload() {
  v1::PreloadRequest request;
  const auto& models = ChaosModels();
  const std::string& reference = models[Below(static_cast<unsigned>(models.size()))].reference;
  request.mutable_spec()->set_reference(reference);
  request.mutable_spec()->set_device(device_);
  request.mutable_wait_timeout()->set_seconds(kOperatorPatience.count());
  request.set_no_wait(Below(2) == 0);
  Note("preloaded", reference, RpcClient(daemon_.socket("admin.sock")).Preload(request).status());
}

void ChaosDisturber::ReplaceFile() {
  for (;;) {
    const auto& models = ChaosModels();
    const ChaosModel& model = models[Below(static_cast<unsigned>(models.size()))];
    if (!model.replaceable) continue;
    const unsigned version = Below(4);
    WriteChaosModel(daemon_.root(), model, version);
    return Note("files replaced", model.reference + " by version " + std::to_string(version));
  }
}

void ChaosDisturber::Note(const std::string& kind, const std::string& words,
                          const absl::Status& status) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%9.3f ",
                std::chrono::duration<double>(steady_clock::now() - start_).count());
  log_.push_back(seconds + kind + ": " + words + (status.ok() ? "" : ": " + status.ToString()));
  if (log_.size() > kKeptLines) log_.pop_front();
  ++counts_[status.ok() ? kind : kind + " (refused)"];
  EXPECT_TRUE(status.ok() || kRefusals.contains(wire::GetReason(status))) << log_.back();
}

std::string ChaosDisturber::Log() const {
  std::string text;
  for (const std::string& line : log_) text += line + "\n";
  return text;
}

}  // namespace modeld::test
