// Keeps the agent of one device running, and is that device's memory as the residency domain sees
// it.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "residency/device_backend.h"
#include "supervisor/agent_link.h"
#include "supervisor/agent_process.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::supervisor {

// Connects to the agent that serves the socket (one that outlived its modeld: its inventory is told
// to the observer) or starts one. When the connection is lost it fails the loads in flight, answers
// the releases that wait, tells OnAgentDown, and brings the agent back: at once the first time,
// then with growing pauses of 0.2 to 5 seconds.
//
// What an agent still has after a lost connection, but the observer was told is gone, is released
// before it is told as inventory.
//
// Thread-safe but for Start and Stop. Two threads of its own; the observer is called from them, and
// from Load and Release when there is no agent, never under a lock.
class AgentSupervisor : public residency::DeviceBackend {
 public:
  struct Options {
    std::string socket_path;
    std::string program = "modeld-agent-host";
    std::string program_directory;  // of the program; empty: found beside this one
    std::string device = std::string(residency::kHostDevice);
    std::string label = "host agent";                 // for messages: `the LABEL ...`
    std::vector<std::string> arguments;               // besides those that every agent has
    std::vector<std::string> environment;             // NAME=value
    base::Duration grace = std::chrono::seconds(60);  // how long an agent waits for a modeld
    int reader_threads = 0;                           // per load; 0: the agent's default
    std::string log_level = "info";
    std::string log_format = "text";  // or `json`
    base::Duration start_timeout = std::chrono::seconds(10);
  };

  // `observer` must outlive Stop.
  AgentSupervisor(Options options, residency::BackendObserver* observer);
  // Stop(true) unless it was stopped.
  ~AgentSupervisor() override;

  // Returns when the agent answers and its inventory has been told. Once. kDeviceUnavailable when
  // that fails: nothing runs then, and the message says what to do.
  absl::Status Start();

  // The same without giving up: an agent that does not come up is tried again and again, and
  // OnAgentDown says why it is not there. Once, instead of Start.
  void StartInBackground();
  // False as soon as a start has failed, and when the agent is not up by then.
  bool WaitUntilUp(base::TimePoint deadline);

  // Fails loads in flight, ends the connection and joins. `leave_running`: the agent stays, with
  // what it holds, for the next modeld (until its grace period ends); otherwise it is ended and
  // waited for, which frees its memory. No call to the observer after it.
  void Stop(bool leave_running);

  void Load(residency::LoadJob job) override;
  void Identify(residency::LoadJob job) override;
  void CancelLoad(const std::string& residency_id) override;
  void UpdateRecord(const residency::ResidencyRecord& record) override;
  void Release(const std::string& residency_id) override;
  void Adopt(const residency::ResidencyRecord& record,
             std::shared_ptr<const residency::ResidentMemory> memory,
             std::shared_ptr<const residency::ResidentDigests> digests) override;

  // How often an agent has been started.
  int starts() const { return starts_.load(std::memory_order_relaxed); }

 private:
  using Table = std::shared_ptr<const plan::SealedTable>;
  struct InFlight {
    std::string path;
    std::shared_ptr<const plan::LoadPlan> plan;
    std::vector<residency::BorrowedSegment> borrowed;
  };
  enum class Phase { kStarting, kUp, kDown, kStopped };

  // Can it be sent now?
  absl::Status CheckJob(const residency::LoadJob& job) const MODELD_REQUIRES(mutex_);
  void Run();
  // One connection, from the hello to its end, which is returned.
  absl::Status Serve(wire::UniqueFd connection);
  absl::Status Greet(wire::FramedSocket& socket, AgentLink& link, residency::AgentInfo* info,
                     std::vector<InventoryEntry>* inventory);
  absl::StatusOr<wire::Frame> Receive(wire::FramedSocket& socket, base::TimePoint deadline);
  void CameUp(std::shared_ptr<AgentLink> link, const residency::AgentInfo& info,
              std::vector<InventoryEntry> inventory);
  // True if whoever is told makes a line of it: it was up, or Start returns why it is not.
  bool WentDown(const absl::Status& why);
  absl::Status Handle(wire::Frame frame);
  void OnDone(const v1::LoadDone& done, std::vector<wire::UniqueFd> fds);
  void OnFailed(const v1::LoadFailed& failed);
  void OnIdentified(const v1::Identified& identified, std::vector<wire::UniqueFd> fds);
  void OnDigest(const v1::DigestDone& done, std::vector<wire::UniqueFd> fds);
  void SetPhase(Phase phase, absl::Status why);
  bool Rest(base::Duration duration) const;

  const Options options_;
  residency::BackendObserver* const observer_;
  wire::UniqueFd stop_fd_;  // eventfd: readable once Stop was called
  AgentProcess process_;    // the supervising thread's, and Stop's after it
  std::atomic<int> starts_{0};
  std::thread thread_;
  bool in_background_ = false;

  wire::Mutex mutex_;
  wire::CondVar phase_changed_;
  Phase phase_ MODELD_GUARDED_BY(mutex_) = Phase::kStarting;
  absl::Status why_down_ MODELD_GUARDED_BY(mutex_);
  std::shared_ptr<AgentLink> link_ MODELD_GUARDED_BY(mutex_);  // null: down
  std::map<std::string, InFlight> loads_ MODELD_GUARDED_BY(mutex_);
  std::map<std::string, InFlight> readings_ MODELD_GUARDED_BY(mutex_);  // Identify
  std::set<std::string> releases_ MODELD_GUARDED_BY(mutex_);
  std::map<std::string, Table> tables_ MODELD_GUARDED_BY(mutex_);  // of what the agent has
  // Answered as failed or released when the connection was lost: not wanted back.
  std::set<std::string> given_up_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::supervisor
