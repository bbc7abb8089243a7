#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <random>

namespace fake_cudart_test {
namespace {

std::string RandomUuid() {
  std::random_device random;
  std::array<char, 48> text;
  snprintf(text.data(), text.size(), "GPU-%08x-%04x-4%03x-8%03x-%08x%04x", random(),
           random() & 0xffff, random() & 0xfff, random() & 0xfff, random(), random() & 0xffff);
  return text.data();
}

}  // namespace

World::World(const std::vector<std::string>& sizes) {
  std::string list;
  for (const std::string& size : sizes) {
    uuids_.push_back(RandomUuid());
    if (!list.empty()) list += ",";
    list.append(uuids_.back()).append(":").append(size);
  }
  Set("FAKE_CUDA_DEVICES", list);
  Set("FAKE_CUDA_LOG", dir_ / "log");
  Set("FAKE_CUDA_FAULTS", dir_ / "faults");
}

std::vector<std::string> World::Environment() const {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (text.compare(0, 4, "CUDA") != 0 && text.compare(0, 9, "FAKE_CUDA") != 0) {
      environment.push_back(text);
    }
  }
  for (const auto& [name, value] : variables_) {
    environment.push_back(name);
    environment.back().append("=").append(value);
  }
  return environment;
}

void World::SetFaults(const std::string& lines) const {
  const std::string draft = dir_.Write("faults.draft", lines);
  std::filesystem::rename(draft, dir_ / "faults");
}

size_t World::Logged(const std::string& beginning) const {
  std::ifstream log(dir_ / "log");
  size_t count = 0;
  for (std::string line; std::getline(log, line);) {
    if (line.compare(0, beginning.size(), beginning) == 0) ++count;
  }
  return count;
}

}  // namespace fake_cudart_test
