#include "support/fake_gpus.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace modeld::test {

FakeGpus::FakeGpus(int count, const std::string& memory) : memory_(memory) {
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

std::vector<std::string> FakeGpus::Environment() const {
  std::string devices;
  for (const std::string& uuid : uuids_) {
    devices += (devices.empty() ? "" : ",") + uuid + ":" + memory_;
  }
  return {"LD_LIBRARY_PATH=" MODELD_FAKE_CUDART, "FAKE_CUDA_DEVICES=" + devices,
          "FAKE_CUDA_POISON=1", "FAKE_CUDA_LOG=" + dir_ / "events",
          "FAKE_CUDA_FAULTS=" + dir_ / "faults"};
}

DaemonOptions FakeGpus::For(DaemonOptions options) const {
  for (const std::string& variable : Environment()) options.env.push_back(variable);
  return options;
}

void FakeGpus::SetFaults(const std::string& lines) {
  std::ofstream(dir_ / "faults.new") << lines;
  std::filesystem::rename(dir_ / "faults.new", dir_ / "faults");
}

size_t FakeGpus::CountEvents(const std::string& text) const {
  std::ifstream events(dir_ / "events");
  size_t count = 0;
  for (std::string line; std::getline(events, line);) count += line.starts_with(text + " ") ? 1 : 0;
  return count;
}

}  // namespace modeld::test
