// Which kinds of segments a conformance test is for.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "memory/segment.h"

namespace modeld::memory {

struct Kind {
  std::string name;
  std::function<std::unique_ptr<SegmentAllocator>()> make;
  wire::SegmentKind other;  // of memory that is not this one's
};

// Each program has its own.
std::vector<Kind> Kinds();

}  // namespace modeld::memory
