// What a reference says, before any file system is asked. Pure.

#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace modeld::reference {

inline constexpr size_t kMaxReferenceBytes = 4096;

// A path as a reference names it, not yet looked up: absolute, or relative to the roots.
struct ReferencePath {
  std::string path;
  bool absolute = false;
  bool digest = false;  // `sha256:` and 64 hex digits: no path, but what is resident

  bool operator==(const ReferencePath&) const = default;
};

// Takes a digest of something resident, an absolute path, a relative path, or a `file://` URI (RFC
// 8089: percent-encoded, host empty or `localhost`). kFieldInvalid for what can name no file:
// empty, longer than kMaxReferenceBytes, a NUL byte, a name of more than 255 bytes, another scheme
// or host, a broken percent escape, a query or a fragment.
absl::StatusOr<ReferencePath> ParseReference(std::string_view reference);

// A reference or path for a message: quoted, with control bytes escaped.
std::string Quoted(std::string_view path);

}  // namespace modeld::reference
