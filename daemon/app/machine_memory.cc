#include "app/machine_memory.h"

#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Source: proc_meminfo(5): kB there are KiB.
std::optional<uint64_t> MemTotal(const std::string& meminfo) {
  for (absl::string_view line : absl::StrSplit(meminfo, '\n')) {
    uint64_t kib = 0;
    if (absl::ConsumePrefix(&line, "MemTotal:") && absl::ConsumeSuffix(&line, "kB") &&
        absl::SimpleAtoi(line, &kib)) {
      return kib * 1024;
    }
  }
  return std::nullopt;
}

// The directories, from the innermost out, and the file in each that holds a limit. Source:
// cgroups(7), /proc/[pid]/cgroup.
struct Hierarchy {
  std::string mount;
  std::string path;
  std::string file;
};

std::vector<Hierarchy> Hierarchies(const std::string& root, const std::string& cgroups) {
  std::vector<Hierarchy> found;
  for (const absl::string_view line : absl::StrSplit(cgroups, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    if (fields[0] == "0" && fields[1].empty()) {
      found.push_back({wire::StrCat(root, "/sys/fs/cgroup"), fields[2], "memory.max"});
      continue;
    }
    for (const absl::string_view controller : absl::StrSplit(fields[1], ',')) {
      if (controller != "memory") continue;
      found.push_back(
          {wire::StrCat(root, "/sys/fs/cgroup/memory"), fields[2], "memory.limit_in_bytes"});
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<MachineMemory> GetMachineMemory(const std::string& root) {
  const std::string meminfo_path = wire::StrCat(root, "/proc/meminfo");
  const auto meminfo = ReadFile(meminfo_path);
  const auto total = meminfo ? MemTotal(*meminfo) : std::nullopt;
  if (!total) {
    return absl::UnavailableError(wire::StrCat("cannot read the machine's memory from ",
                                               meminfo_path,
                                               ": set host_capacity to a size, such as `12GiB`"));
  }
  MachineMemory memory{*total, "the machine"};
  const std::string cgroups = ReadFile(wire::StrCat(root, "/proc/self/cgroup")).value_or("");
  for (Hierarchy& hierarchy : Hierarchies(root, cgroups)) {
    // In a container the path may be one of the host's that is not there: its own group is then
    // mounted at the top.
    for (std::string path = hierarchy.path;;) {
      const std::string file =
          wire::StrCat(hierarchy.mount, path == "/" ? "" : path, "/", hierarchy.file);
      uint64_t limit = 0;  // `max`, or no such file: no limit
      if (absl::SimpleAtoi(ReadFile(file).value_or(""), &limit) && limit < memory.bytes) {
        memory = {limit, file};
      }
      if (path.size() <= 1) break;
      path.resize(std::max<size_t>(path.rfind('/'), 1));
    }
  }
  return memory;
}

}  // namespace modeld::app
