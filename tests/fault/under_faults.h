// A daemon whose calls can be made to fail, and somebody who must not notice.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "support/daemon_fixture.h"
#include "support/faults/injector.h"
#include "support/rpc_client.h"
#include "support/worker_process.h"

namespace modeld::test {

class UnderFaults : public testing::Test {
 protected:
  // Starts the daemon and a worker that holds a checkpoint, and waits until nothing goes on any
  // more. m.safetensors, 16 MiB, is there to be loaded.
  void StartDaemon(DaemonOptions options = {});
  // Ends what the test did: after Clear, and when all else is released. Nobody noticed, and nothing
  // is left. Called by the test, last.
  void ExpectNothingLeft();
  // The worker has what it had.
  void ExpectHolderUnharmed();

  FaultInjector& faults() { return faults_; }
  DaemonFixture& daemon() { return *daemon_; }
  RpcClient& admin() { return *admin_; }
  std::string path() const { return daemon_->root() + "/m.safetensors"; }
  v1::Device Host() { return admin_->HostDevice().value_or(v1::Device()); }
  WorkerProcess NewWorker() { return WorkerProcess(daemon_->endpoint()); }

  // The checksum of m.safetensors as a worker sees it, which it releases; then it is evicted.
  std::string LoadAndEvict();
  // What the next load of m.safetensors fails with.
  absl::Status FailedLoad() { return admin_->Preload("m.safetensors").status(); }
  // Every digest is known.
  bool DigestsAreKnown();

 private:
  struct Resources {
    size_t daemon_fds = 0;
    size_t agent_fds = 0;
    uint64_t resident_bytes = 0;
    uint64_t reserved_bytes = 0;
    uint32_t leases = 0;
    uint32_t sessions = 0;
    bool operator==(const Resources&) const = default;
  };
  Resources Look();

  FaultInjector faults_;
  std::unique_ptr<DaemonFixture> daemon_;
  std::unique_ptr<RpcClient> admin_;
  std::optional<WorkerProcess> holder_;
  std::string checksum_;
  Resources before_;
};

}  // namespace modeld::test
