#include "reference/explain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

constexpr int kMostSymlinks = 40;  // as path_resolution(7)

using Kind = Explanation::Kind;

// The longest leading part of a path that leads into a root.
struct Inside {
  std::string real_path;
  std::string next;  // the name after it; empty if all of the path was there
  std::string rest;  // what follows that name
};

std::optional<Inside> LongestInside(Roots& roots, const std::string& path) {
  const std::vector<absl::string_view> names = absl::StrSplit(path, '/', absl::SkipEmpty());
  for (size_t count = names.size();; --count) {
    const std::string lead = wire::StrCat(
        "/", absl::StrJoin(names.begin(), names.begin() + static_cast<ptrdiff_t>(count), "/"));
    const wire::UniqueFd fd(::open(lead.c_str(), O_PATH | O_CLOEXEC));
    const auto real_path = fd.valid() ? RealPath(fd.get()) : std::nullopt;
    if (real_path && roots.Find(*real_path)) {
      Inside inside{.real_path = *real_path, .next = {}, .rest = {}};
      if (count < names.size()) {
        inside.next = std::string(names[count]);
        inside.rest =
            absl::StrJoin(names.begin() + static_cast<ptrdiff_t>(count) + 1, names.end(), "/");
      }
      return inside;
    }
    if (count == 0) return std::nullopt;
  }
}

// Does the place lie in a root, by the text?
bool IsInside(Roots& roots, const std::string& place) { return roots.Find(place).has_value(); }

}  // namespace

std::string Normalized(std::string_view path) {
  std::vector<absl::string_view> names;
  for (const absl::string_view name : absl::StrSplit(wire::ToAbsl(path), '/', absl::SkipEmpty())) {
    if (name == ".") continue;
    if (name != "..") {
      names.push_back(name);
    } else if (!names.empty()) {
      names.pop_back();
    }
  }
  return wire::StrCat("/", absl::StrJoin(names, "/"));
}

Explanation Explain(Roots& roots, const std::string& path) {
  std::string at = path;
  for (int followed = 0; followed <= kMostSymlinks; ++followed) {
    const auto inside = LongestInside(roots, at);
    if (!inside) return {Kind::kOutside, Normalized(at)};
    if (inside->next.empty()) return {Kind::kInside, inside->real_path};

    const std::string place = wire::StrCat(inside->real_path, "/", inside->next);
    const std::string whole = Normalized(wire::StrCat(place, "/", inside->rest));
    if (inside->next == "..") return {Kind::kOutside, whole};

    struct stat status;
    if (::lstat(place.c_str(), &status) != 0) {
      if (errno == EACCES) return {Kind::kNotAllowed, inside->real_path};
      // Nothing there: but a path that would lead out again is told to be outside, not to be
      // missing.
      if (!IsInside(roots, whole)) return {Kind::kOutside, whole};
      return {Kind::kMissing, place};
    }
    if (!S_ISLNK(status.st_mode)) {
      if (inside->rest.empty()) return {Kind::kInside, place};
      return {Kind::kMissing, whole};
    }
    char target[PATH_MAX];
    const ssize_t length = ::readlink(place.c_str(), target, sizeof(target));
    if (length <= 0 || length == static_cast<ssize_t>(sizeof(target)))
      return {Kind::kMissing, place};
    const std::string_view text(target, length);
    at = text.front() == '/' ? wire::StrCat(text, "/", inside->rest)
                             : wire::StrCat(inside->real_path, "/", text, "/", inside->rest);
  }
  return {Kind::kLoop, Normalized(path)};
}

}  // namespace modeld::reference
