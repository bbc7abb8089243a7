// What is resident in a daemon, as an operator has it.

#pragma once

#include <algorithm>
#include <string>

#include "bench_tools.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::bench {

// Waits until the daemon looks so; ends the program where it does not come to it. `what`: it comes
// to.
template <class Condition>
void Await(const std::string& what, Condition condition) {
  if (!test::Eventually(condition, std::chrono::minutes(2))) {
    Die("the daemon does not come to " + what);
  }
}

inline void AwaitLeases(const test::DaemonFixture& daemon, uint32_t count) {
  test::RpcClient rpc(daemon.socket());
  Await(std::to_string(count) + " leases", [&] {
    const auto info = rpc.ServerInfo();
    return info.ok() && info->lease_count() == count;
  });
}

// From then on the agent has nothing to do by itself.
inline void AwaitDigests(const test::DaemonFixture& daemon) {
  test::RpcClient rpc(daemon.socket());
  Await("digests of all", [&] {
    const auto list = rpc.List();
    return list.ok() && std::ranges::all_of(*list, [](const v1::Residency& residency) {
             return !residency.digest().empty();
           });
  });
}

// Everything: leases that were let go a moment ago are waited for.
inline void EvictAll(const test::DaemonFixture& daemon) {
  test::RpcClient admin(daemon.socket("admin.sock"));
  for (const v1::Residency& residency : OrDie(admin.List())) {
    Await("the eviction of " + residency.reference(),
          [&] { return admin.Evict(residency.id()).ok(); });
  }
}

}  // namespace modeld::bench
