// Memory files with a chosen kind of pages behind them, and how to get those pages.

#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "memory/page_choice.h"
#include "wire/memfd.h"
#include "wire/unique_fd.h"

namespace modeld::memory {

inline constexpr uint64_t kHugePageBytes = 2 << 20;

uint32_t SmallPageBytes();

// A memfd of that size, unsealed, without any page yet. kBudgetExceeded, also where the hugetlb
// pool is too small. kLimitReached: no descriptor.
absl::StatusOr<wire::UniqueFd> CreateMemfd(const std::string& name, uint64_t size_bytes,
                                           PageKind kind);

// Maps all of it writable and shared, at a multiple of 2 MiB: otherwise no 2 MiB page could be
// mapped as one.
absl::StatusOr<wire::Mapping> MapWritable(int fd, uint64_t size_bytes, PageKind kind);

// Faults in zeroed pages behind [data, data + size_bytes) of such a mapping; both are multiples of
// 2 MiB. Returns how many bytes are backed by 2 MiB pages. kBudgetExceeded when memory is short:
// unlike a store, which would be answered by a signal. Thread-safe for different places.
absl::StatusOr<uint64_t> Populate(std::byte* data, uint64_t size_bytes, PageKind kind);

}  // namespace modeld::memory
