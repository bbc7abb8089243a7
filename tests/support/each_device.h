// One test, on the host's memory and on a GPU's, whichever way that leaves its agent. The GPUs are
// tests/fake_cudart's; without a CUDA toolkit there is only the host.
//
//   class Sharing : public OnEachDevice {};
//   TEST_P(Sharing, ...) { StartDaemon(); WorkerProcess worker = NewWorker(); ... }
//   INSTANTIATE_TEST_SUITE_P(Devices, Sharing, testing::ValuesIn(EachDevice()), DeviceKindName);

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "modeld/v1/types.pb.h"
#include "support/daemon_fixture.h"
#include "support/test_gpus.h"
#include "support/worker_process.h"

namespace modeld::test {

enum class DeviceKind { kHost, kVmm, kIpc };

std::vector<DeviceKind> EachDevice();
// Those of `kinds` that this build has.
std::vector<DeviceKind> Devices(const std::vector<DeviceKind>& kinds);

inline std::string DeviceKindName(const testing::TestParamInfo<DeviceKind>& info) {
  return info.param == DeviceKind::kHost ? "host" : info.param == DeviceKind::kVmm ? "vmm" : "ipc";
}

// A daemon and workers on one device: the host, or the first of two GPUs.
class OnEachDevice : public testing::TestWithParam<DeviceKind> {
 protected:
  OnEachDevice();

  bool on_gpu() const { return GetParam() != DeviceKind::kHost; }
  // Do mappings and modeld's descriptors keep the memory when its agent is dead?
  bool outlives_its_agent() const { return GetParam() != DeviceKind::kIpc; }
  // `host`, or the GPU's UUID.
  const std::string& device() const { return device_; }
  TestGpus& gpus() { return *gpus_; }  // REQUIRES: on_gpu()

  // With room for options.host_capacity on each device.
  void StartDaemon(DaemonOptions options = {.host_capacity = "2GiB"});
  DaemonFixture& daemon() { return *daemon_; }

  WorkerProcess NewWorker() { return NewWorkerOn(device_); }
  WorkerProcess NewWorkerOn(const std::string& device);
  // A worker that holds m.safetensors.
  WorkerProcess NewHolder();

  v1::Device Device() { return DeviceOf(device_); }
  v1::Device DeviceOf(const std::string& id);
  uint32_t LeaseCount();
  // Of the daemon's events.
  size_t CountEvents(v1::Event::Type type);
  // kill -9 for the device's agent, which may be stopped, and waits until another one answers.
  void ReplaceAgent();

  // Writes m.safetensors, which takes some tenths of a second to load.
  void WriteSlowCheckpoint();
  // Has `worker` acquire m.safetensors, and stops the device's agent (SIGSTOP) while it loads. A
  // load that was complete before that is evicted, and begun again.
  void StopAgentInLoad(WorkerProcess& worker);

 private:
  // Of what is resident or on its way, if anything is.
  std::optional<v1::Residency::State> FirstState();

  std::optional<TestGpus> gpus_;
  std::string device_ = "host";
  std::unique_ptr<DaemonFixture> daemon_;
};

}  // namespace modeld::test
