// Which tensors of a checkpoint lie in memory already, as parts of something else. Pure.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/fingerprint.h"
#include "plan/layout.h"
#include "plan/load_plan.h"
#include "wire/tensor_table.h"

namespace modeld::plan {

// Something resident from which tensors might be borrowed.
struct Lender {
  const wire::TableView* table = nullptr;
  const Fingerprint* fingerprint = nullptr;
  const ContentDigests* content = nullptr;  // null: not known yet
  std::vector<uint64_t> segment_sizes;      // by region of its table, in bytes
};

// A segment is freed and mapped only as a whole, so it is borrowed only if at least a quarter of it
// is of use.
inline constexpr uint64_t kBorrowedShare = 4;

// Those (by index) that seem to have enough in common with the checkpoint, by names, dtypes, shapes
// and samples; most first. O(tensors of all).
std::vector<size_t> PromisingLenders(const wire::TableView& table, const Fingerprint& fingerprint,
                                     std::span<const Lender> lenders);

// Bytes of the tensors in each region of a table; of those that share bytes, once.
std::vector<uint64_t> UsedBytes(const wire::TableView& table);

// A segment of a lender that the plan makes use of.
struct Borrowed {
  size_t lender = 0;   // index
  size_t segment = 0;  // region of its table
  uint64_t used_bytes = 0;
};

struct SharedPlan {
  LoadPlan plan;                   // of its own segment (region 0 of its table) alone
  std::vector<Borrowed> borrowed;  // regions 1 and on; empty: nothing is worth it
};

// Lays the tensors that no lender has out for a segment of their own, and leaves the others where
// they are. Tensors are the same if their digests, dtypes and shapes are and neither has strides.
// `source` is the source table (region i = file i), `content` what its tensors hold. The statuses
// of MakeLayout. REQUIRES: the lenders' contents are known
absl::StatusOr<SharedPlan> MakeSharedPlan(const LoadPlan& whole, const ContentDigests& content,
                                          std::span<const Lender> lenders);

}  // namespace modeld::plan
