// What the kernel counts of other processes.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "bench_tools.h"
#include "footprint.h"

namespace modeld::bench {

// Heaps and stacks that are resident. Not PSS: that falls when others map the same libraries.
inline uint64_t AnonymousBytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib * 1024;
  }
  Die("cannot read /proc/" + std::to_string(pid) + "/status");
}

// Blocks of the memfds that the process has, segments among them.
inline uint64_t MemfdBytes(pid_t pid) {
  return OrDie(tools::MeasureFootprint({&pid, 1})).memfd_bytes();
}

struct ReadBytes {
  uint64_t asked = 0;      // through read(2) and its kin, of files and whatever else
  uint64_t from_disk = 0;  // of them, what was not in the page cache
};

// Of the process and of those of its children that have ended. proc(5), /proc/PID/io
inline ReadBytes BytesReadBy(pid_t pid) {
  std::ifstream io("/proc/" + std::to_string(pid) + "/io");
  ReadBytes read;
  std::string name;
  for (uint64_t value = 0; io >> name >> value;) {
    if (name == "rchar:") read.asked = value;
    if (name == "read_bytes:") read.from_disk = value;
  }
  if (name.empty()) Die("cannot read /proc/" + std::to_string(pid) + "/io");
  return read;
}

}  // namespace modeld::bench
