// A residency as its agent keeps it: bytes and a table, and a record that only modeld understands.

#pragma once

#include <memory>
#include <optional>
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

// Immutable once shared; the last owner gives the agent's share of the memory back.
struct Residency {
  std::string id;
  std::string record;
  std::shared_ptr<const plan::SealedTable> table;
  std::vector<memory::ExportedSegment> segments;
};

}  // namespace modeld::agent
