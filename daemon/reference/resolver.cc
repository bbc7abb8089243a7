#include "reference/resolver.h"

#include <optional>
#include <utility>

#include "reference/checked_open.h"
#include "reference/choose_files.h"
#include "reference/directory.h"
#include "reference/hub_cache.h"
#include "reference/refusals.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

using Result = absl::StatusOr<std::shared_ptr<plan::OpenCheckpoint>>;

std::string LastName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result MakeCheckpoint(const Subject& subject, DirectoryFiles found) {
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = subject.reference;
  checkpoint->files = std::move(found.files);
  checkpoint->components = std::move(found.components);
  return checkpoint;
}

// A file, a directory, or the shards of an index.
Result ResolvePath(Roots& roots, const Subject& subject) {
  auto opened = OpenChecked(roots, subject);
  if (!opened.ok()) return opened.status();
  if (opened->is_directory()) {
    auto files = OpenDirectory(roots, subject, *opened, {});
    if (!files.ok()) return files.status();
    return MakeCheckpoint(subject, *std::move(files));
  }
  const std::string name = LastName(subject.path);
  if (IsShardIndexName(name)) {
    // Its directory as the path says it: the index may be a symlink into a cache.
    const Subject parent = {subject.reference,
                            subject.path.substr(0, subject.path.size() - name.size())};
    const auto directory = OpenChecked(roots, parent);
    if (!directory.ok()) return directory.status();
    auto files = OpenDirectory(roots, parent, *directory, name);
    if (!files.ok()) return files.status();
    return MakeCheckpoint(subject, *std::move(files));
  }
  auto file = AsWeights(subject, *std::move(opened), name);
  if (!file.ok()) return file.status();
  DirectoryFiles files;
  files.files.push_back(*std::move(file));
  return MakeCheckpoint(subject, std::move(files));
}

}  // namespace

Resolver::Resolver(ResolverOptions options) : roots_(std::move(options.roots)) {}

absl::StatusOr<std::shared_ptr<plan::OpenCheckpoint>> Resolver::Resolve(
    const std::string& reference) {
  auto parsed = ParseReference(reference);
  if (!parsed.ok()) return parsed.status();
  if (parsed->digest) return DigestNotResident(reference);
  if (roots().empty()) return NoRoots(reference);
  if (parsed->absolute) return ResolvePath(roots_, {reference, parsed->path});

  absl::Status first;
  for (const std::string& root : roots()) {
    const Subject candidate = {reference, wire::StrCat(root, "/", parsed->path)};
    auto checkpoint = ResolvePath(roots_, candidate);
    if (checkpoint.ok() || !IsMissing(checkpoint.status())) return checkpoint;
    // Something is there, and a part of it is missing: no other root is meant.
    if (OpenChecked(roots_, candidate).ok()) return checkpoint;
    if (first.ok()) first = checkpoint.status();
  }
  const auto name = ParseHubName(parsed->path);
  if (name) {
    const auto path = FindInHubCaches(roots_, reference, *name);
    if (!path.ok()) return path.status();
    if (*path) return ResolvePath(roots_, {reference, **path});
  }
  const bool says_revision = parsed->path.find('@') != std::string::npos;
  // With one root there is more to say than that it was not found.
  if (roots().size() == 1 && !says_revision) return first;
  return NotFoundInRoots(reference, roots(), name.has_value());
}

}  // namespace modeld::reference
