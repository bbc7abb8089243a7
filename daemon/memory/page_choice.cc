#include "memory/page_choice.h"

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "memory/host_pages.h"

namespace modeld::memory {
namespace {

constexpr char kShmemEnabled[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
constexpr char kHugePool[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

std::string ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// `always within_size advise [never] deny force` -> `never`
std::string ChosenOf(const std::string& line) {
  const size_t open = line.find('[');
  const size_t close = line.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return "absent";
  return line.substr(open + 1, close - open - 1);
}

// Does the kernel itself say that the mapping at `data` is mapped by 2 MiB pages?
bool MappedByHugePages(const void* data, uint64_t size_bytes) {
  char start[32];
  std::snprintf(start, sizeof(start), "%lx-", reinterpret_cast<unsigned long>(data));
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool ours = false;
  while (std::getline(smaps, line)) {
    if (absl::StartsWith(line, start)) ours = true;
    if (!ours || !absl::StartsWith(line, "ShmemPmdMapped:")) continue;
    uint64_t kib = 0;
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    return fields.size() >= 2 && absl::SimpleAtoi(fields[1], &kib) && kib * 1024 >= size_bytes;
  }
  return false;
}

bool Works(PageKind kind) {
  constexpr uint64_t kSize = 2 * kHugePageBytes;
  auto fd = CreateMemfd("modeld-probe", kSize, kind);
  if (!fd.ok()) return false;
  auto mapping = MapWritable(fd->get(), kSize, kind);
  if (!mapping.ok()) return false;
  const auto huge_bytes = Populate(mapping->data(), kSize, kind);
  if (!huge_bytes.ok() || *huge_bytes != kSize) return false;
  return kind == PageKind::kHugetlb || MappedByHugePages(mapping->data(), kSize);
}

}  // namespace

PageChoice ProbePages() {
  const std::string shmem = ChosenOf(ReadLine(kShmemEnabled));
  PageChoice choice;
  choice.fallback = Works(PageKind::kTransparent) ? PageKind::kTransparent : PageKind::kSmall;
  if (Works(PageKind::kHugetlb)) {
    choice.kind = PageKind::kHugetlb;
    choice.page_size_bytes = kHugePageBytes;
    choice.note = absl::StrCat(
        "2 MiB pages of the hugetlb pool (", ReadLine(absl::StrCat(kHugePool, "free_hugepages")),
        " of ", ReadLine(absl::StrCat(kHugePool, "nr_hugepages")),
        " free); a segment that does not fit takes ",
        choice.fallback == PageKind::kTransparent ? "transparent 2 MiB pages" : "4 KiB pages");
  } else if (choice.fallback == PageKind::kTransparent) {
    choice.kind = PageKind::kTransparent;
    choice.page_size_bytes = kHugePageBytes;
    choice.note = absl::StrCat("transparent 2 MiB pages (shmem_enabled is '", shmem, "')");
  } else {
    choice.kind = PageKind::kSmall;
    choice.page_size_bytes = SmallPageBytes();
    choice.note = absl::StrCat(
        SmallPageBytes() / 1024,
        " KiB pages: this kernel gave no 2 MiB pages (no hugetlb pool, shmem_enabled is '", shmem,
        "'), so loads and first reads are slower; echo advise > ", kShmemEnabled,
        ", or reserve pages with sysctl vm.nr_hugepages, and restart the agent");
  }
  return choice;
}

}  // namespace modeld::memory
