#include "support/test_gpus.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/child_process.h"
#include "support/read_file.h"

namespace modeld::test {

bool TestGpus::Available() { return sizeof(MODELD_FAKE_CUDART) > 1; }

TestGpus::TestGpus(int count, const std::string& memory)
    : simulated_(std::getenv("MODELD_TEST_REAL_GPUS") == nullptr), memory_(memory) {
  if (!simulated_) {
    std::istringstream lines(AskForMemory());
    std::string uuid;
    uint64_t free = 0;
    uint64_t total = 0;
    while (lines >> uuid >> free >> total) uuids_.push_back(uuid);
    EXPECT_FALSE(uuids_.empty()) << "CUDA shows no GPU";
    return;
  }
  static std::atomic<unsigned> made{0};
  const unsigned which = ++made;
  for (int i = 0; i < count; ++i) {
    char uuid[64];
    std::snprintf(uuid, sizeof(uuid), "GPU-%08x-%04x-4000-8000-%012x",
                  static_cast<unsigned>(::getpid()), which, static_cast<unsigned>(i + 1));
    uuids_.emplace_back(uuid);
  }
  SetFaults("");
}

std::vector<std::string> TestGpus::Environment() const {
  if (!simulated_) return {};
  std::string devices;
  for (const std::string& uuid : uuids_) {
    devices += (devices.empty() ? "" : ",") + uuid + ":" + memory_;
  }
  std::vector<std::string> variables = {
      "LD_LIBRARY_PATH=" MODELD_FAKE_CUDART, "FAKE_CUDA_DEVICES=" + devices, "FAKE_CUDA_POISON=1",
      "FAKE_CUDA_LOG=" + dir_ / "events", "FAKE_CUDA_FAULTS=" + dir_ / "faults"};
  variables.insert(variables.end(), more_.begin(), more_.end());
  return variables;
}

DaemonOptions TestGpus::For(DaemonOptions options) const {
  for (const std::string& variable : Environment()) options.env.push_back(variable);
  return options;
}

void TestGpus::SetFaults(const std::string& lines) {
  std::ofstream(dir_ / "faults.new") << lines;
  std::filesystem::rename(dir_ / "faults.new", dir_ / "faults");
}

uint64_t TestGpus::FreeBytes(size_t index) const {
  std::istringstream lines(AskForMemory());
  std::string uuid;
  uint64_t free = 0;
  uint64_t total = 0;
  while (lines >> uuid >> free >> total) {
    if (uuid == uuids_[index]) return free;
  }
  ADD_FAILURE() << "CUDA does not show " << uuids_[index];
  return 0;
}

// What modeld-test-gpu-memory prints.
std::string TestGpus::AskForMemory() const {
  const std::string path = dir_ / "memory";
  {
    const wire::UniqueFd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    auto probe = base::ChildProcess::Spawn(
        {.path = TestProgram("modeld-test-gpu-memory", MODELD_TEST_GPU_MEMORY),
         .env = Environment(),
         .fds = {{out.get(), STDOUT_FILENO}}});
    const auto exit = probe.ok() ? probe->Wait() : std::nullopt;
    EXPECT_TRUE(exit && exit->ok()) << probe.status() << (exit ? exit->Text() : "");
  }
  return ReadFile(path);
}

// The fake counts descriptors of such a name, whoever has them.
wire::UniqueFd TestGpus::Occupy(size_t index, uint64_t bytes) const {
  const std::string name = "fake-cuda:" + uuids_[index] + ":malloc";
  wire::UniqueFd memory(::memfd_create(name.c_str(), MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(memory.get(), static_cast<off_t>(bytes)), 0);
  return memory;
}

size_t TestGpus::CountEvents(const std::string& text) const {
  std::ifstream events(dir_ / "events");
  size_t count = 0;
  for (std::string line; std::getline(events, line);) count += line.starts_with(text + " ") ? 1 : 0;
  return count;
}

}  // namespace modeld::test
