#include "checkpoint/mistaken.h"

#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace modeld::checkpoint {

const char* MistakenForModel(std::span<const std::byte> start) {
  const absl::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  if (absl::StartsWith(text, "version https://git-lfs")) {
    return "this is a Git LFS pointer and not the weights: run `git lfs pull`";
  }
  const absl::string_view trimmed =
      absl::StripLeadingAsciiWhitespace(absl::StripPrefix(text, "\xEF\xBB\xBF"));
  if (absl::StartsWithIgnoreCase(trimmed, "<!doctype html") ||
      absl::StartsWithIgnoreCase(trimmed, "<html")) {
    return "this is a web page: the download was answered with an error or a login";
  }
  // The answers of a model hub, saved as the file that was asked for.
  for (const absl::string_view answer :
       {"Entry not found", "Repository not found", "Invalid username or password",
        "Access to model", "Invalid credentials"}) {
    if (absl::StartsWith(trimmed, answer)) {
      return "this is the text of an error: the download was refused, and its answer saved";
    }
  }
  return "";
}

}  // namespace modeld::checkpoint
