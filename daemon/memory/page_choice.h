// Which pages back host segments on this machine: tried out, not read from settings.

#pragma once

#include <cstdint>
#include <string>

namespace modeld::memory {

enum class PageKind {
  kHugetlb,      // 2 MiB pages that the administrator reserved
  kTransparent,  // 2 MiB pages that the kernel puts together for shared memory
  kSmall,        // the machine's base pages
};

struct PageChoice {
  PageKind kind = PageKind::kSmall;
  // What to take where `kind` is kHugetlb and the pool is too small for a segment.
  PageKind fallback = PageKind::kSmall;
  uint32_t page_size_bytes = 4096;  // of `kind`
  // For operators: why, and what would be faster.
  std::string note;
};

// Allocates a few MiB of each kind, looks at what came, and gives it back. About a millisecond.
PageChoice ProbePages();

}  // namespace modeld::memory
