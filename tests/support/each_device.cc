#include "support/each_device.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <utility>

#include "support/checkpoint_writer.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {

std::vector<DeviceKind> EachDevice() {
  return Devices({DeviceKind::kHost, DeviceKind::kVmm, DeviceKind::kIpc});
}

std::vector<DeviceKind> Devices(const std::vector<DeviceKind>& kinds) {
  std::vector<DeviceKind> there;
  for (const DeviceKind kind : kinds) {
    if (kind == DeviceKind::kHost || TestGpus::Available()) there.push_back(kind);
  }
  return there;
}

OnEachDevice::OnEachDevice() {
  if (!on_gpu()) return;
  gpus_.emplace(2, "4GiB");
  device_ = (*gpus_)[0];
}

void OnEachDevice::StartDaemon(DaemonOptions options) {
  if (on_gpu()) {
    options.config += "gpu_capacity = [\"" + options.host_capacity + "\"]\ngpu_export = [\"" +
                      (GetParam() == DeviceKind::kVmm ? "vmm" : "ipc") + "\"]\n";
    options = gpus_->For(std::move(options));
  }
  daemon_ = std::make_unique<DaemonFixture>(std::move(options));
  ASSERT_TRUE(daemon_->running());
}

WorkerProcess OnEachDevice::NewWorkerOn(const std::string& device) {
  std::vector<std::string> environment;
  if (on_gpu()) environment = gpus_->Environment();
  environment.push_back("MODELD_TEST_DEVICE=" + device);
  return WorkerProcess(daemon_->endpoint(), environment);
}

WorkerProcess OnEachDevice::NewHolder() {
  WorkerProcess worker = NewWorker();
  EXPECT_THAT(worker.Ask("acquire m.safetensors"), testing::StartsWith("ok "));
  return worker;
}

v1::Device OnEachDevice::DeviceOf(const std::string& id) {
  return RpcClient(daemon_->socket()).Device(id).value_or(v1::Device());
}

uint32_t OnEachDevice::LeaseCount() {
  const auto info = RpcClient(daemon_->socket()).ServerInfo();
  EXPECT_TRUE(info.ok()) << info.status();
  return info.ok() ? info->lease_count() : 0;
}

size_t OnEachDevice::CountEvents(v1::Event::Type type) {
  const auto events = RpcClient(daemon_->socket()).Events(10000);
  EXPECT_TRUE(events.ok()) << events.status();
  size_t count = 0;
  for (const v1::Event& event : *events) count += event.type() == type ? 1 : 0;
  return count;
}

void OnEachDevice::ReplaceAgent() {
  const pid_t old = daemon_->KillAgent(device_);
  EXPECT_TRUE(Eventually([&] {
    const v1::Device now = Device();
    return now.available() && now.agent_pid() != old;
  })) << "no agent of "
      << device_ << " answers";
}

// A GPU that is a memfd is fast, but can be told to copy slowly.
void OnEachDevice::WriteSlowCheckpoint() {
  const bool delayed = on_gpu() && gpus_->simulated();
  const uint64_t bytes = uint64_t{1} << (delayed ? 27 : 30);
  if (delayed) gpus_->SetFaults("copy_delay_us_per_mib 10000\n");
  WriteCheckpoint(daemon_->root() + "/m.safetensors", LargeSpec(bytes));
}

std::optional<v1::Residency::State> OnEachDevice::FirstState() {
  const auto list = RpcClient(daemon_->socket()).List();
  if (!list.ok() || list->empty()) return std::nullopt;
  return list->front().state();
}

void OnEachDevice::StopAgentInLoad(WorkerProcess& worker) {
  constexpr int kAttempts = 20;  // this process may not run for as long as a load takes
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    worker.Send("acquire m.safetensors");
    const pid_t agent = Device().agent_pid();
    ASSERT_TRUE(Eventually([&] {
      const auto state = FirstState();
      return state == v1::Residency::LOADING || state == v1::Residency::READY;
    }));
    ASSERT_EQ(::kill(agent, SIGSTOP), 0);
    if (FirstState() == v1::Residency::LOADING) return;
    ASSERT_EQ(::kill(agent, SIGCONT), 0);
    ASSERT_THAT(worker.Receive(), testing::StartsWith("ok "));
    ASSERT_EQ(worker.Ask("release"), "released");
    ASSERT_TRUE(Eventually([&] { return LeaseCount() == 0; }));
    const auto evicted = RpcClient(daemon_->socket("admin.sock")).Evict("m.safetensors");
    ASSERT_TRUE(evicted.ok()) << evicted.status();
  }
  FAIL() << "every load was complete before its agent could be stopped";
}

}  // namespace modeld::test
