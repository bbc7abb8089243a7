// N workers, one copy: equal bytes, one load, and the memory to prove it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <span>

#include "footprint.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/each_device.h"
#include "support/sanitizer.h"
#include "support/worker_process.h"

namespace modeld::test {
namespace {

using ::testing::StartsWith;

constexpr uint64_t kGib = 1 << 30;

std::string Hex(std::span<const unsigned char> bytes) {
  std::string text;
  char hex[3];
  for (const unsigned char byte : bytes) {
    std::snprintf(hex, sizeof hex, "%02x", byte);
    text += hex;
  }
  return text;
}

// What a plain read of the file's data says.
std::string PlainChecksum(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
  file.seekg(static_cast<std::streamoff>(8 + header_bytes));
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  std::vector<char> buffer(1 << 20);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) ||
         file.gcount() > 0) {
    EVP_DigestUpdate(context, buffer.data(), static_cast<size_t>(file.gcount()));
  }
  std::array<unsigned char, 32> digest;
  EVP_DigestFinal_ex(context, digest.data(), nullptr);
  EVP_MD_CTX_free(context);
  return Hex(digest);
}

class SharedCheckpoint : public OnEachDevice {};

TEST_P(SharedCheckpoint, IsLoadedOnceForSixtyFourProcessesAtTheSameMoment) {
  StartDaemon();
  const std::string path = WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(64 << 20));
  const std::string expected = "checksum " + PlainChecksum(path);
  std::vector<WorkerProcess> workers;
  for (int i = 0; i < 64; ++i) workers.push_back(NewWorker());
  for (WorkerProcess& worker : workers) worker.Send("acquire m.safetensors");
  std::string first;
  for (WorkerProcess& worker : workers) {
    const std::string answer = worker.Receive();
    if (first.empty()) first = answer;
    ASSERT_THAT(answer, StartsWith("ok "));
    EXPECT_EQ(answer, first);
  }
  EXPECT_EQ(CountEvents(v1::Event::LOAD_STARTED), 1u);
  EXPECT_EQ(CountEvents(v1::Event::LEASE_GRANTED), 64u);
  for (WorkerProcess& worker : workers) EXPECT_EQ(worker.Ask("checksum"), expected);
}

TEST_P(SharedCheckpoint, IsRefusedBeforeAnythingIsAllocatedWhereItIsTooBig) {
  StartDaemon({.host_capacity = "32MiB"});
  WriteCheckpoint(daemon().root() + "/m.safetensors", LargeSpec(64 << 20));
  EXPECT_EQ(NewWorker().Ask("acquire m.safetensors"), "error BUDGET_EXCEEDED");
  EXPECT_EQ(CountEvents(v1::Event::LOAD_STARTED), 0u);
  EXPECT_EQ(Device().reserved_bytes() + Device().resident_bytes(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Devices, SharedCheckpoint, testing::ValuesIn(EachDevice()),
                         DeviceKindName);

TEST(Sharing, EightWorkersOnOneGibibyteTakeOneCopyOfIt) {
  DaemonFixture daemon({.host_capacity = "2GiB"});
  WriteCheckpoint(daemon.root() + "/m.safetensors", LargeSpec(kGib));
  const std::vector<pid_t> daemons = {daemon.pid(), daemon.agent_pid()};
  const auto idle = tools::MeasureFootprint(daemons);
  ASSERT_TRUE(idle.ok()) << idle.status();

  // A worker that is connected and maps nothing.
  WorkerProcess bare(daemon.endpoint());
  ASSERT_EQ(bare.Ask("acquire nothing.safetensors"), "error CHECKPOINT_NOT_FOUND");
  const auto bare_footprint = tools::MeasureFootprint(std::vector<pid_t>{bare.pid()});
  ASSERT_TRUE(bare_footprint.ok()) << bare_footprint.status();
  bare.Finish();

  std::vector<WorkerProcess> workers;
  std::vector<pid_t> pids = daemons;
  std::string checksum;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back(daemon.endpoint());
    ASSERT_THAT(workers.back().Ask("acquire m.safetensors"), StartsWith("ok "));
    pids.push_back(workers.back().pid());
  }
  for (WorkerProcess& worker : workers) worker.Send("checksum");
  for (WorkerProcess& worker : workers) {
    const std::string answer = worker.Receive();
    if (checksum.empty()) checksum = answer;
    EXPECT_EQ(answer, checksum);
  }
  const auto taken = tools::MeasureFootprint(pids);
  ASSERT_TRUE(taken.ok()) << taken.status();
  const double allowed = 1.02 * kGib + static_cast<double>(idle->total_bytes()) +
                         8.0 * static_cast<double>(bare_footprint->own_bytes());
  RecordProperty("total_bytes", std::to_string(taken->total_bytes()));
  RecordProperty("own_bytes_of_a_bare_worker", std::to_string(bare_footprint->own_bytes()));
  std::printf(
      "checkpoint %.1f MiB, taken %.1f MiB (memfds %.1f, own %.1f), allowed %.1f; a bare worker "
      "%.1f MiB\n",
      1024.0, taken->total_bytes() / 1048576.0, taken->memfd_bytes() / 1048576.0,
      taken->own_bytes() / 1048576.0, allowed / 1048576.0, bare_footprint->own_bytes() / 1048576.0);
  if (!kSanitized) {
    EXPECT_LE(static_cast<double>(taken->total_bytes()), allowed);
  }
}

TEST(Sharing, RefusesPathsOutsideTheRoots) {
  DaemonFixture daemon;
  TempDir elsewhere;
  WriteCheckpoint(elsewhere / "secret.safetensors", SmallSpec());
  ASSERT_EQ(symlink((elsewhere / "secret.safetensors").c_str(),
                    (daemon.root() + "/link.safetensors").c_str()),
            0);
  WorkerProcess worker(daemon.endpoint());
  EXPECT_EQ(worker.Ask("acquire " + (elsewhere / "secret.safetensors")), "error PATH_NOT_ALLOWED");
  EXPECT_EQ(worker.Ask("acquire link.safetensors"), "error PATH_NOT_ALLOWED");
  EXPECT_EQ(worker.Ask("acquire ../../etc/passwd"), "error PATH_NOT_ALLOWED");
}

}  // namespace
}  // namespace modeld::test
