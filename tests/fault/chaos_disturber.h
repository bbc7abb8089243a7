// What happens to the chaos test's daemon and workers: kills, operators, and files that change.

#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "chaos_crew.h"
#include "modeld/v1/types.pb.h"
#include "support/daemon_fixture.h"
#include "support/rpc_client.h"

namespace modeld::test {

// Longer than workers are stopped.
inline constexpr char kChaosAdoptionGrace[] = "2s";

// Externally synchronised. Everything that must not happen is a failure of the test.
class ChaosDisturber {
 public:
  // Of the models on `device`. All are used as long as this lives.
  ChaosDisturber(DaemonFixture& daemon, ChaosCrew& crew, std::string device, unsigned seed);

  // One disturbance at random. When modeld is ended it has been started again on return.
  void Disturb();
  // Gives the alias `prod` to the first model there is, however long that takes. For the beginning.
  void SetFirstAlias();
  // Nothing is pinned any more.
  void UnpinAll();

  // How often each kind of disturbance happened.
  const std::map<std::string, uint64_t>& counts() const { return counts_; }
  // Of modeld, from its end until it is ready again.
  std::chrono::milliseconds longest_restart() const { return longest_restart_; }
  // The last disturbances, oldest first.
  std::string Log() const;

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  void EndModeld();
  void RestartAfter(int signal, bool agent_too);
  void KillAgent();
  void Operate();
  void Evict(const v1::Residency& residency, bool drain);
  void Pin(const v1::Residency& residency);
  void Unpin(const std::string& selector);
  void MoveAlias(const std::vector<v1::Residency>& there);
  void SetAlias(const std::string& reference, std::chrono::seconds patience);
  void Preload();
  void ReplaceFile();

  // A refusal is fine if it has one of the reasons that an operator may meet.
  void Note(const std::string& kind, const std::string& words, const absl::Status& status = {});
  unsigned Below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  DaemonFixture& daemon_;
  ChaosCrew& crew_;
  const std::string device_;
  std::mt19937 random_;
  const TimePoint start_ = std::chrono::steady_clock::now();
  TimePoint next_end_;    // of modeld
  TimePoint next_death_;  // of the agent
  std::map<std::string, uint64_t> counts_;
  std::chrono::milliseconds longest_restart_{0};
  std::deque<std::string> log_;
};

}  // namespace modeld::test
