#include "memory/host_pages.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "wire/checked.h"
#include "wire/error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace modeld::memory {
namespace {

constexpr size_t kMaxNameBytes = 200;  // the kernel's limit is 249

absl::Status OutOfMemory(const std::string& what, int error) {
  if (error == EMFILE || error == ENFILE) {
    return wire::MakeError(
        wire::Reason::kLimitReached,
        absl::StrCat("no descriptor for a host segment: ", what, ": ", wire::ErrnoText(error)), {},
        "raise LimitNOFILE of modeld, or fs.file-max of the machine");
  }
  return wire::MakeError(wire::Reason::kBudgetExceeded,
                         absl::StrCat("the machine cannot give the memory for a host segment: ",
                                      what, ": ", wire::ErrnoText(error)),
                         {},
                         "evict a residency (modelctl evict), or lower the host capacity to what "
                         "the machine really has free");
}

absl::Status SmallPages(std::byte* data, uint64_t size_bytes) {
  while (::madvise(data, size_bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return OutOfMemory("pages could not be faulted in", errno);
  }
  return absl::OkStatus();
}

// The kernel collapses a range only where something is there already: one small page is enough, the
// rest of the 2 MiB page is zeroed in the same go. It does so whatever shmem_enabled says, except
// `deny`. Where shmem_enabled gives 2 MiB pages at the first touch, there is nothing left to
// collapse.
absl::Status TouchOncePerHugePage(std::byte* data, uint64_t size_bytes) {
  for (uint64_t at = 0; at < size_bytes; at += kHugePageBytes) {
    if (absl::Status status = SmallPages(data + at, SmallPageBytes()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Collapse(std::byte* data, uint64_t size_bytes) {
  return ::madvise(data, size_bytes, MADV_COLLAPSE) == 0;
}

absl::StatusOr<uint64_t> TransparentPages(std::byte* data, uint64_t size_bytes) {
  if (absl::Status status = TouchOncePerHugePage(data, size_bytes); !status.ok()) return status;
  // One call for all: each call drains the page vectors of every processor.
  if (Collapse(data, size_bytes)) return size_bytes;
  uint64_t huge_bytes = 0;
  for (uint64_t at = 0; at < size_bytes; at += kHugePageBytes) {
    if (Collapse(data + at, kHugePageBytes)) {
      huge_bytes += kHugePageBytes;
    } else if (absl::Status status = SmallPages(data + at, kHugePageBytes); !status.ok()) {
      return status;
    }
  }
  return huge_bytes;
}

}  // namespace

uint32_t SmallPageBytes() {
  static const auto size = static_cast<uint32_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

absl::StatusOr<wire::UniqueFd> CreateMemfd(const std::string& name, uint64_t size_bytes,
                                           PageKind kind) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (kind == PageKind::kHugetlb) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  const std::string short_name = name.substr(0, kMaxNameBytes);
  wire::UniqueFd fd(::memfd_create(short_name.c_str(), flags | MFD_NOEXEC_SEAL));
  if (!fd.valid() && errno == EINVAL) fd.reset(::memfd_create(short_name.c_str(), flags));
  if (!fd.valid()) return OutOfMemory("memfd_create", errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return OutOfMemory(absl::StrCat("ftruncate to ", size_bytes, " bytes"), errno);
  }
  return fd;
}

absl::StatusOr<wire::Mapping> MapWritable(int fd, uint64_t size_bytes, PageKind kind) {
  if (size_bytes == 0) return wire::Mapping();
  const auto reserved_bytes = wire::CheckedAdd(size_bytes, kHugePageBytes);
  if (!reserved_bytes) return OutOfMemory("mmap", ENOMEM);
  void* reserved = ::mmap(nullptr, *reserved_bytes, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return OutOfMemory("mmap", errno);
  const auto base = reinterpret_cast<uintptr_t>(reserved);
  const uintptr_t aligned = (base + kHugePageBytes - 1) & ~uintptr_t{kHugePageBytes - 1};
  if (aligned > base) ::munmap(reserved, aligned - base);
  const uintptr_t end = base + *reserved_bytes;
  if (end > aligned + size_bytes) {
    ::munmap(reinterpret_cast<void*>(aligned + size_bytes), end - aligned - size_bytes);
  }
  void* place = reinterpret_cast<void*>(aligned);
  if (::mmap(place, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
      MAP_FAILED) {
    const int error = errno;
    ::munmap(place, size_bytes);
    return OutOfMemory("mmap", error);
  }
  wire::Mapping mapping(place, size_bytes);
  if (kind == PageKind::kTransparent) ::madvise(place, size_bytes, MADV_HUGEPAGE);
  return mapping;
}

absl::StatusOr<uint64_t> Populate(std::byte* data, uint64_t size_bytes, PageKind kind) {
  if (kind == PageKind::kTransparent) return TransparentPages(data, size_bytes);
  if (absl::Status status = SmallPages(data, size_bytes); !status.ok()) return status;
  return kind == PageKind::kHugetlb ? size_bytes : 0;
}

}  // namespace modeld::memory
