// The composition root: what modeld is made of, in which order it comes up and goes down.

#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "app/config.h"
#include "app/event_logger.h"
#include "app/fd_store.h"
#include "app/inherited.h"
#include "app/preloader.h"
#include "app/runtime_dir.h"
#include "base/thread_pool.h"
#include "base/timer.h"
#include "metrics/activity.h"
#include "metrics/exporter.h"
#include "reference/resolver.h"
#include "residency/manager.h"
#include "rpc/server.h"
#include "state/state_file.h"
#include "supervisor/agent_supervisor.h"
#include "supervisor/checkpoint_catalog.h"
#include "supervisor/kept_backend.h"

namespace modeld::app {

// A serving modeld. Comes up from the bottom: the runtime directory is locked; the agent answers,
// and what it already holds has been taken over; then the sockets listen, so that no client ever
// sees a daemon that does not know yet what is resident.
//
// Externally synchronised, but for IsAlive.
class Daemon {
 public:
  // Serves when it returns. INVALID_ARGUMENT and NOT_FOUND for what the configuration should say
  // differently; FAILED_PRECONDITION when another modeld serves this runtime directory; UNAVAILABLE
  // when the agent does not come up.
  //
  // `store` (null: there is none) outlives the daemon; `inherited` is what an earlier modeld put
  // into it, and sockets of the runtime directory that the service manager listens on.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const Config& config,
                                                       FdStore* store = nullptr,
                                                       Inherited inherited = {});
  // Stop(), if nobody did.
  ~Daemon();

  // No new leases, loads cancelled, holders told and waited for, `stop_timeout` at most; then
  // everything ends, the agent too. Blocks. Once.
  void Stop();

  // What operators wished and what happened is on the disk; what comes later is not. For leaving
  // without Stop().
  void CloseState();

  // What is reloadable (settings.h) in `config` is in force from now on.
  void Reload(const Config& config);

  // Has the manager answered since the last call? The first call says yes. For watchdogs: call it
  // at intervals in which it must.
  bool IsAlive();

 private:
  Daemon(const Config& config, RuntimeDir runtime_dir, std::unique_ptr<state::StateFile> state,
         uint64_t host_capacity_bytes, FdStore* store);

  // One GPU: its agent keeps the residencies on it.
  struct Gpu {
    std::string uuid;
    std::unique_ptr<supervisor::KeptBackend> backend;
    std::unique_ptr<supervisor::AgentSupervisor> agent;
  };

  // Without those that lie elsewhere, which the log names.
  std::vector<base::ListeningSocket> OfRuntimeDir(std::vector<base::ListeningSocket> sockets) const;
  void RestoreState();
  absl::Status StartAgent();
  void FindGpus();
  void StartGpus();
  void Restore(std::vector<supervisor::NamedFd> inherited);
  void TellRestored();
  void ServeMetrics();
  void StartPreloads();
  absl::Status BringUp(std::optional<gid_t> socket_group, Inherited inherited);
  absl::StatusOr<rpc::InspectResult> Inspect(const std::string& reference);
  std::optional<v1::ParserSandbox> Sandbox() const;
  void TearDown(bool leave_agent_running);

  Config config_;
  FdStore* const store_;
  const RuntimeDir runtime_dir_;
  // Outlives whatever posts the questions.
  const std::shared_ptr<std::atomic<bool>> answered_ = std::make_shared<std::atomic<bool>>(true);

  // In order of construction. TearDown stops what calls into the manager before the manager goes.
  const std::unique_ptr<state::StateFile> state_;  // null: nothing outlives modeld
  std::unique_ptr<base::ThreadTimer> timer_;
  base::ThreadPool resolve_pool_;
  base::ThreadPool plan_pool_;
  base::ThreadPool inspect_pool_;
  reference::Resolver resolver_;
  supervisor::Catalog catalog_;
  std::shared_ptr<metrics::Activity> activity_;  // null: no metrics
  residency::Manager manager_;
  Preloader preloader_;
  EventLogger event_logger_;
  std::optional<uint64_t> activity_subscription_;
  std::optional<uint64_t> state_subscription_;
  supervisor::KeptBackend host_backend_;
  std::optional<supervisor::AgentSupervisor> host_agent_;  // never empty
  std::vector<Gpu> gpus_;
  std::vector<std::string> gpu_notes_;  // of what is missing
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<metrics::Exporter> exporter_;
  bool down_ = false;
};

}  // namespace modeld::app
