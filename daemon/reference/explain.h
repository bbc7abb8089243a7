// Why a path that was not opened beneath a root was not: the slow path, taken only for errors.

#pragma once

#include <string>

#include "reference/roots.h"

namespace modeld::reference {

struct Explanation {
  enum class Kind {
    kOutside,     // `where` is the place outside every root to which the path leads
    kMissing,     // `where` would lie in a root, and nothing is there
    kNotAllowed,  // `where` is a directory in a root that this process may not search
    kLoop,        // more symlinks than the kernel follows
    kInside,      // it is there and in a root: it came while it was looked for
  };
  Kind kind;
  std::string where;
};

// Follows an absolute path through symlinks as long as it stays in a root, and says where it leaves
// or ends. What lies outside the roots is told neither from the kind nor from `where`: both are the
// same whether it exists or not.
Explanation Explain(Roots& roots, const std::string& path);

// `path` without `.`, `..`, and empty names, by the text alone. REQUIRES: absolute.
std::string Normalized(std::string_view path);

}  // namespace modeld::reference
