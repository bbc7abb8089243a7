// What a cast makes of bytes, for tests that compare loads with it; tests/unit/plan and
// tests/unit/torch say that it is right.

#pragma once

#include <span>
#include <string>

#include "plan/cast.h"

namespace modeld::test {

// REQUIRES: `bytes` holds whole elements
inline std::string CastOf(const plan::Cast& cast, const std::string& bytes) {
  std::string out(bytes.size() / cast.from_bytes() * cast.to_bytes(), '\0');
  plan::CastElementsPortably(cast, std::as_bytes(std::span(bytes)),
                             std::as_writable_bytes(std::span(out)));
  return out;
}

}  // namespace modeld::test
