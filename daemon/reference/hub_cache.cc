#include "reference/hub_cache.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "reference/parse_reference.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

constexpr std::string_view kDefaultRevision = "main";
constexpr size_t kMostNameBytes = 96;  // the hub's, for organisation and name together

// As the hub allows for organisations and models.
bool IsHubWord(std::string_view word) {
  return !word.empty() && word.size() <= kMostNameBytes &&
         absl::ascii_isalnum(static_cast<unsigned char>(word.front())) &&
         std::ranges::all_of(word, [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

// No name that leads elsewhere.
bool IsPlainPath(std::string_view path) {
  for (const absl::string_view name : absl::StrSplit(wire::ToAbsl(path), '/')) {
    if (name.empty() || name == "." || name == "..") return false;
  }
  return true;
}

bool IsCommit(std::string_view text) {
  return text.size() == 40 && std::ranges::all_of(text, [](unsigned char c) {
           return absl::ascii_isxdigit(c) && !absl::ascii_isupper(c);
         });
}

// A directory that may not be there.
absl::StatusOr<std::optional<Opened>> Directory(Roots& roots, const Subject& subject) {
  auto opened = OpenChecked(roots, subject);
  if (!opened.ok()) {
    if (IsMissing(opened.status())) return std::nullopt;
    return opened.status();
  }
  if (!opened->is_directory()) return std::nullopt;
  return *std::move(opened);
}

// The names in `refs/`, for messages.
std::vector<std::string> Revisions(Roots& roots, const Subject& model) {
  constexpr size_t kMostNames = 8;
  std::vector<std::string> names;
  const auto refs = OpenChecked(roots, {model.reference, wire::StrCat(model.path, "/refs")});
  if (!refs.ok() || !refs->is_directory()) return names;
  const int fd = ::openat(refs->fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const entries = fd < 0 ? nullptr : ::fdopendir(fd);
  if (entries == nullptr) {
    if (fd >= 0) ::close(fd);
    return names;
  }
  while (names.size() < kMostNames) {
    const struct dirent* const entry = ::readdir(entries);
    if (entry == nullptr) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(entries);
  std::ranges::sort(names);
  return names;
}

absl::Status NoRevision(Roots& roots, const Subject& model, const HubName& name) {
  const auto revisions = Revisions(roots, model);
  return wire::MakeError(
      wire::Reason::kCheckpointNotFound,
      wire::StrCat(Quoted(model.reference), " was not found: ", Quoted(model.path),
                   " does not have revision ", Quoted(name.revision),
                   revisions.empty() ? std::string()
                                     : wire::StrCat("; it has ", absl::StrJoin(revisions, ", "))),
      {{"reference", model.reference}, {"path", model.path}, {"revision", name.revision}},
      "download that revision, or name one that is there: org/name@revision");
}

// The commit that a file in refs/ holds.
absl::StatusOr<std::optional<std::string>> ReadRef(Roots& roots, const Subject& ref) {
  auto opened = OpenChecked(roots, ref);
  if (!opened.ok()) {
    if (IsMissing(opened.status())) return std::nullopt;
    return opened.status();
  }
  if (opened->is_directory()) return std::nullopt;
  char text[256];
  ssize_t count = 0;
  do {
    count = ::pread(opened->fd.get(), text, sizeof(text), 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return ReadFailed(ref, opened->real_path, errno);
  const std::string commit(
      absl::StripAsciiWhitespace(absl::string_view(text, static_cast<size_t>(count))));
  if (!IsHubWord(commit)) {
    return wire::MakeError(wire::Reason::kCheckpointMalformed,
                           wire::StrCat(Quoted(opened->real_path), " does not hold a commit"),
                           {{"reference", ref.reference}, {"file", opened->real_path}},
                           "download the revision again: the cache is damaged");
  }
  return commit;
}

absl::StatusOr<std::optional<std::string>> Snapshot(Roots& roots, const Subject& model,
                                                    const HubName& name) {
  const auto snapshot = [&](const std::string& commit) {
    return wire::StrCat(model.path, "/snapshots/", commit);
  };
  if (IsCommit(name.revision)) {
    const std::string path = snapshot(name.revision);
    const auto there = Directory(roots, {model.reference, path});
    if (!there.ok()) return there.status();
    if (*there) return path;
  }
  const auto commit =
      ReadRef(roots, {model.reference, wire::StrCat(model.path, "/refs/", name.revision)});
  if (!commit.ok()) return commit.status();
  if (!*commit) return NoRevision(roots, model, name);
  const std::string path = snapshot(**commit);
  const auto there = Directory(roots, {model.reference, path});
  if (!there.ok()) return there.status();
  if (!*there) return NoRevision(roots, model, name);
  return path;
}

}  // namespace

std::optional<HubName> ParseHubName(std::string_view reference) {
  HubName name;
  const size_t at = reference.find('@');
  name.path = reference.substr(0, at);
  name.revision = at == std::string_view::npos ? kDefaultRevision : reference.substr(at + 1);
  if (!IsPlainPath(name.path) || !IsPlainPath(name.revision)) return std::nullopt;
  // At least its first word is one of the hub.
  if (!IsHubWord(std::string_view(name.path).substr(0, name.path.find('/')))) return std::nullopt;
  return name;
}

absl::StatusOr<std::optional<std::string>> FindInHubCaches(Roots& roots,
                                                           const std::string& reference,
                                                           const HubName& name) {
  const std::vector<std::string> words = absl::StrSplit(name.path, '/');
  for (const std::string& root : roots.configured()) {
    for (const std::string_view layout : {"", "/hub"}) {
      // `org/name` first; models of the hub's first years have no organisation.
      for (const size_t count : {size_t{2}, size_t{1}}) {
        if (words.size() < count) continue;
        const auto end = words.begin() + static_cast<ptrdiff_t>(count);
        if (!std::all_of(words.begin(), end, IsHubWord)) continue;
        const Subject model = {reference, wire::StrCat(root, layout, "/models--",
                                                       absl::StrJoin(words.begin(), end, "--"))};
        const auto there = Directory(roots, model);
        if (!there.ok()) return there.status();
        if (!*there) continue;
        auto path = Snapshot(roots, model, name);
        if (!path.ok()) return path.status();
        for (auto word = end; word != words.end(); ++word) {
          **path = wire::StrCat(**path, "/", *word);
        }
        return path;
      }
    }
  }
  return std::nullopt;
}

}  // namespace modeld::reference
