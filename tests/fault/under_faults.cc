#include "under_faults.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "support/bytes.h"
#include "support/checkpoint_writer.h"
#include "support/processes.h"

namespace modeld::test {
namespace {

// gRPC gives each thread that polls an eventfd when it first needs one.
constexpr size_t kPollerFds = 4;

}  // namespace

void UnderFaults::StartDaemon(DaemonOptions options) {
  daemon_ = std::make_unique<DaemonFixture>(faults_.For(std::move(options)));
  ASSERT_TRUE(daemon_->running());
  admin_ = std::make_unique<RpcClient>(daemon_->socket("admin.sock"));
  WriteCheckpoint(path(), LargeSpec(16 * kMiB));
  WriteCheckpoint(daemon_->root() + "/held.safetensors", LargeSpec(4 * kMiB, 4, 2));
  holder_.emplace(NewWorker());
  ASSERT_THAT(holder_->Ask("acquire held.safetensors"), testing::StartsWith("ok "));
  checksum_ = holder_->Ask("checksum");
  // Once, so that whatever the first load brings with it is there.
  LoadAndEvict();
  ASSERT_TRUE(Eventually([&] { return DigestsAreKnown() && Look().sessions == 1; }));
  before_ = Look();
}

UnderFaults::Resources UnderFaults::Look() {
  Resources now;
  const auto info = admin_->ServerInfo();
  EXPECT_TRUE(info.ok()) << info.status();
  if (info.ok()) {
    now.leases = info->lease_count();
    now.sessions = info->session_count();
  }
  const v1::Device host = Host();
  now.resident_bytes = host.resident_bytes();
  now.reserved_bytes = host.reserved_bytes();
  now.daemon_fds = OpenFdCount(daemon_->pid());
  now.agent_fds = OpenFdCount(daemon_->agent_pid());
  return now;
}

void UnderFaults::ExpectHolderUnharmed() {
  EXPECT_EQ(holder_->Ask("state"), "state HELD");
  EXPECT_EQ(holder_->Ask("checksum"), checksum_);
}

void UnderFaults::ExpectNothingLeft() {
  ExpectHolderUnharmed();
  Resources now;
  EXPECT_TRUE(Eventually([&] {
    now = Look();
    Resources wanted = before_;
    wanted.daemon_fds = std::clamp(now.daemon_fds, size_t{1}, before_.daemon_fds + kPollerFds);
    return now == wanted;
  })) << "descriptors of modeld "
      << before_.daemon_fds << " -> " << now.daemon_fds << ", of the agent " << before_.agent_fds
      << " -> " << now.agent_fds << ", resident " << before_.resident_bytes << " -> "
      << now.resident_bytes << ", reserved " << now.reserved_bytes << ", leases " << now.leases
      << ", sessions " << now.sessions << "\nmodeld:\n"
      << OpenFds(daemon_->pid()) << "agent:\n"
      << OpenFds(daemon_->agent_pid());
}

std::string UnderFaults::LoadAndEvict() {
  WorkerProcess worker = NewWorker();
  EXPECT_THAT(worker.Ask("acquire m.safetensors"), testing::StartsWith("ok "));
  std::string checksum = worker.Ask("checksum");
  worker.Finish();
  absl::Status evicted;
  EXPECT_TRUE(Eventually([&] {
    evicted = admin_->Evict("m.safetensors").status();
    return evicted.ok();
  })) << evicted;
  return checksum;
}

bool UnderFaults::DigestsAreKnown() {
  const auto list = admin_->List();
  return list.ok() && std::ranges::none_of(*list, [](const v1::Residency& residency) {
           return residency.digest().empty();
         });
}

}  // namespace modeld::test
