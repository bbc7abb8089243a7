#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "modelctl/doctor/checks.h"
#include "modelctl/text.h"

namespace modeld::modelctl::doctor {
namespace {

constexpr char kShmem[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
constexpr char kPool[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
constexpr uint32_t kHugeBytes = 2 << 20;

const v1::Device* HostOf(const Patient& patient) {
  if (!patient.daemon) return nullptr;
  for (const v1::Device& device : patient.daemon->devices.devices()) {
    if (device.kind() == v1::Device::HOST) return &device;
  }
  return nullptr;
}

// `always within_size advise [never] deny force` -> `never`
std::string Chosen(const std::string& line) {
  const size_t open = line.find('[');
  const size_t close = line.find(']', open);
  if (open == std::string::npos || close == std::string::npos) return "";
  return line.substr(open + 1, close - open - 1);
}

void CheckPages(const Patient& patient, DoctorReport& report) {
  constexpr char kCheck[] = "huge pages";
  const std::string mend =
      absl::StrCat("echo advise > ", kShmem,
                   " (at each boot: systemd-tmpfiles, see docs/operations.md), or reserve pages "
                   "with sysctl vm.nr_hugepages; then restart modeld and its agents");
  // An agent has tried it.
  if (const v1::Device* host = HostOf(patient); host != nullptr && host->page_size_bytes() > 0) {
    if (host->page_size_bytes() >= kHugeBytes) {
      return Good(report, kCheck, host->page_size_note());
    }
    return Warn(report, kCheck, host->page_size_note(), mend);
  }
  const std::string shmem = Chosen(patient.machine.Read(kShmem).value_or(""));
  uint64_t pool = 0;
  (void)absl::SimpleAtoi(patient.machine.Read(kPool).value_or("0"), &pool);
  if (pool > 0) {
    return Good(report, kCheck, absl::StrCat("a pool of ", pool, " pages of 2 MiB"));
  }
  if (shmem == "advise" || shmem == "always" || shmem == "within_size" || shmem == "force") {
    return Good(
        report, kCheck,
        absl::StrCat("shared memory may have pages of 2 MiB (shmem_enabled is ", shmem, ")"));
  }
  Warn(report, kCheck,
       absl::StrCat("none for shared memory (no pool, shmem_enabled is ",
                    shmem.empty() ? "absent" : shmem, "): loads and first reads are slower"),
       mend);
}

// The tightest memory.max from a cgroup up to the root; with its place.
struct Limit {
  uint64_t bytes = 0;
  std::string file;
};

std::optional<Limit> CgroupLimit(const Machine& machine, const std::string& process) {
  const auto groups = machine.Read(absl::StrCat("/proc/", process, "/cgroup"));
  if (!groups) return std::nullopt;
  std::optional<Limit> least;
  for (const absl::string_view line : absl::StrSplit(*groups, '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const bool unified = fields[0] == "0";
    const bool memory = fields[1] == "memory";
    if (!unified && !memory) continue;
    const std::string base = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const std::string name = unified ? "memory.max" : "memory.limit_in_bytes";
    std::string path = fields[2];
    while (true) {
      const std::string file = absl::StrCat(base, path == "/" ? "" : path, "/", name);
      uint64_t bytes = 0;
      // `max`, and the old number that means it, are no limits.
      if (absl::SimpleAtoi(machine.Read(file).value_or("max"), &bytes) &&
          bytes < (uint64_t{1} << 62) && (!least || bytes < least->bytes)) {
        least = Limit{bytes, file};
      }
      if (path.size() <= 1) break;
      path.resize(std::max<size_t>(1, path.rfind('/')));
    }
  }
  return least;
}

void CheckCapacity(const Patient& patient, DoctorReport& report) {
  constexpr char kCheck[] = "host capacity";
  const Machine& machine = patient.machine;
  const uint64_t total = machine.Number("/proc/meminfo", "MemTotal").value_or(0) * 1024;
  const v1::Device* const host = HostOf(patient);
  const std::string process = host != nullptr && host->agent_pid() > 0
                                  ? absl::StrCat(host->agent_pid())
                                  : std::string("self");
  const auto limit = CgroupLimit(machine, process);
  const uint64_t memory = limit && limit->bytes < total ? limit->bytes : total;
  const std::string where = limit && limit->bytes < total
                                ? absl::StrCat("the limit in ", limit->file)
                                : std::string("the machine's memory");
  if (memory == 0) {
    return Warn(report, kCheck, "how much memory there is cannot be told",
                "set host_capacity to a size in modeld.toml");
  }
  if (host == nullptr) {
    return Good(report, kCheck,
                absl::StrCat(HumanBytes(memory), " (", where,
                             "), of which modeld takes 75% unless told otherwise"));
  }
  const std::string found = absl::StrCat("host_capacity is ", HumanBytes(host->capacity_bytes()),
                                         " of ", HumanBytes(memory), " (", where, ")");
  if (host->capacity_bytes() > memory) {
    return Bad(report, kCheck,
               absl::StrCat(found, ": a full one ends in the kernel killing the agent"),
               "lower host_capacity in modeld.toml, or raise the limit (MemoryMax in systemd, "
               "--memory of the container)");
  }
  if (host->capacity_bytes() > memory / 100 * 95) {
    return Warn(report, kCheck, absl::StrCat(found, ": nothing is left for anybody else"),
                "lower host_capacity in modeld.toml; 75% is the default");
  }
  Good(report, kCheck, found);
}

}  // namespace

void CheckMemory(const Patient& patient, DoctorReport& report) {
  CheckPages(patient, report);
  CheckCapacity(patient, report);
}

}  // namespace modeld::modelctl::doctor
