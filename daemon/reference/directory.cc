#include "reference/directory.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "reference/choose_files.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

constexpr size_t kMostEntries = 65'536;
constexpr size_t kMostComponents = 64;

// What a directory holds, by name.
struct Listing {
  std::vector<std::string> files;        // what may be files: symlinks, too
  std::vector<std::string> directories;  // what may be directories: symlinks, too
};

absl::StatusOr<Listing> List(const Subject& subject, const Opened& directory) {
  // A descriptor of its own: reading moves it.
  const int fd = ::openat(directory.fd.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ReadFailed(subject, directory.real_path, errno);
  DIR* const entries = ::fdopendir(fd);
  if (entries == nullptr) {
    const int error = errno;
    ::close(fd);
    return ReadFailed(subject, directory.real_path, error);
  }
  Listing listing;
  int error = 0;
  size_t count = 0;
  for (; count <= kMostEntries; ++count) {
    errno = 0;
    const struct dirent* const entry = ::readdir(entries);
    if (entry == nullptr) {
      error = errno;
      break;
    }
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const bool either = entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN;
    if (either || entry->d_type == DT_REG) listing.files.push_back(name);
    if (either || entry->d_type == DT_DIR) listing.directories.push_back(name);
  }
  ::closedir(entries);
  if (error != 0) return ReadFailed(subject, directory.real_path, error);
  if (count > kMostEntries) return TooManyEntries(subject, directory.real_path, kMostEntries);
  std::ranges::sort(listing.files);
  std::ranges::sort(listing.directories);
  return listing;
}

Subject Within(const Subject& subject, const std::string& name) {
  const bool ends = subject.path.ends_with('/');
  return {subject.reference, wire::StrCat(subject.path, ends ? "" : "/", name)};
}

absl::StatusOr<Opened> OpenIn(Roots& roots, const Subject& subject, const Opened& directory,
                              const std::string& name) {
  return OpenChecked(roots, Within(subject, name), directory.fd.get(), name);
}

// Subdirectories that would be checkpoints by themselves. What cannot be opened is none.
std::vector<std::string> Components(Roots& roots, const Subject& subject, const Opened& directory,
                                    const Listing& listing) {
  std::vector<std::string> components;
  for (const std::string& name : listing.directories) {
    if (components.size() == kMostComponents) break;
    if (name.front() == '.') continue;
    const auto opened = OpenIn(roots, subject, directory, name);
    if (!opened.ok() || !opened->is_directory()) continue;
    const auto within = List(Within(subject, name), *opened);
    if (!within.ok()) continue;
    // One that is not clear or not complete is one all the same: naming it says why.
    const auto choice = ChooseFiles(within->files, Within(subject, name).path);
    if (!choice.ok() || !choice->empty()) components.push_back(name);
  }
  return components;
}

plan::OpenFile AsFile(Opened opened, std::string name) {
  return {.path = std::move(opened.real_path),
          .fd = std::move(opened.fd),
          .identity = plan::IdentityOf(opened.status),
          .name = std::move(name)};
}

bool SameState(const struct stat& a, const struct stat& b) {
  const auto same = [](const timespec& x, const timespec& y) {
    return x.tv_sec == y.tv_sec && x.tv_nsec == y.tv_nsec;
  };
  return same(a.st_mtim, b.st_mtim) && same(a.st_ctim, b.st_ctim);
}

absl::StatusOr<DirectoryFiles> OpenOnce(Roots& roots, const Subject& subject,
                                        const Opened& directory, const std::string& index) {
  const auto listing = List(subject, directory);
  if (!listing.ok()) return listing.status();
  const auto choice = ChooseFiles(listing->files, directory.real_path, index);
  if (!choice.ok()) return choice.status();

  DirectoryFiles result;
  if (choice->pipeline || choice->empty()) {
    result.components = Components(roots, subject, directory, *listing);
  }
  if (choice->empty()) return NothingThere(subject, directory.real_path, result.components);

  for (const std::string& name : choice->weights) {
    auto opened = OpenIn(roots, subject, directory, name);
    if (!opened.ok()) return opened.status();
    auto file = AsWeights(Within(subject, name), *std::move(opened), name);
    if (!file.ok()) return file.status();
    result.files.push_back(*std::move(file));
  }
  uint64_t bytes = 0;
  for (const std::string& name : choice->companions) {
    if (result.files.size() == plan::kMaxFiles) break;
    auto opened = OpenIn(roots, subject, directory, name);
    if (!opened.ok()) return opened.status();
    const auto size_bytes = static_cast<uint64_t>(opened->status.st_size);
    if (opened->is_directory() || size_bytes > plan::kMaxSmallFileBytes ||
        bytes + size_bytes > plan::kMaxSmallFilesBytes) {
      continue;
    }
    bytes += size_bytes;
    result.files.push_back(AsFile(*std::move(opened), name));
    result.files.back().companion = true;
  }
  return result;
}

}  // namespace

absl::StatusOr<plan::OpenFile> AsWeights(const Subject& subject, Opened opened, std::string name) {
  if (opened.is_directory()) return NotAFile(subject, opened.real_path, opened.status.st_mode);
  if (opened.status.st_size == 0) return EmptyFile(subject, opened.real_path);
  return AsFile(std::move(opened), std::move(name));
}

absl::StatusOr<DirectoryFiles> OpenDirectory(Roots& roots, const Subject& subject,
                                             const Opened& directory, const std::string& index) {
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    struct stat before;
    struct stat after;
    if (::fstat(directory.fd.get(), &before) != 0) {
      return ReadFailed(subject, directory.real_path, errno);
    }
    auto result = OpenOnce(roots, subject, directory, index);
    if (::fstat(directory.fd.get(), &after) != 0) {
      return ReadFailed(subject, directory.real_path, errno);
    }
    // What was there and what was not may have been different things at different times.
    if (SameState(before, after)) return result;
  }
  return KeptMoving(subject, kMostAttempts);
}

}  // namespace modeld::reference
