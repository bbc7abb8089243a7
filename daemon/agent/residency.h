// A residency as its agent keeps it: bytes and a table, and a record that only modeld understands.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "memory/segment.h"
#include "plan/load_plan.h"
#include "wire/digest.h"
#include "wire/unique_fd.h"

namespace modeld::agent {

struct Digests {
  wire::Digest weights;
  wire::UniqueFd table_fd;  // 32 bytes per tensor, in table order; sealed
};

// What modeld wants to be told again by whoever adopts the residency.
struct Record {
  std::string bytes;
  std::vector<wire::UniqueFd> attachments;  // sealed memfds
  std::vector<uint64_t> attachment_sizes;   // in bytes
};

// A segment that residencies use; the last of them gives the agent's share of it back.
struct HeldSegment {
  std::string id;  // unique, and the same for all that use it
  memory::ExportedSegment exported;
};

// Immutable once shared.
struct Residency {
  std::string id;
  std::shared_ptr<const plan::SealedTable> table;
  // Region i of the table is segment i: its own, then those that it borrows.
  std::vector<std::shared_ptr<const HeldSegment>> segments;
};

}  // namespace modeld::agent
