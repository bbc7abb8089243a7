#include "reference/roots.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

namespace modeld::reference {
namespace {

std::shared_ptr<const OpenRoot> Open(const std::string& path) {
  auto root = std::make_shared<OpenRoot>();
  root->configured = path;
  root->fd.reset(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat status;
  if (!root->fd.valid() || ::fstat(root->fd.get(), &status) != 0) return nullptr;
  auto real_path = RealPath(root->fd.get());
  if (!real_path) return nullptr;
  root->real_path = *std::move(real_path);
  root->device = status.st_dev;
  root->inode = status.st_ino;
  return root;
}

// The part of `path` below `directory`; nullopt if it does not lie there. Both without symlinks and
// `..`.
std::optional<std::string> Below(std::string_view directory, std::string_view path) {
  if (path == directory) return ".";
  if (directory == "/") directory = "";
  if (!path.starts_with(directory) || path.size() <= directory.size() + 1 ||
      path[directory.size()] != '/') {
    return std::nullopt;
  }
  return std::string(path.substr(directory.size() + 1));
}

}  // namespace

std::optional<std::string> RealPath(int fd) {
  char link[64];
  ::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  char path[PATH_MAX];
  const ssize_t length = ::readlink(link, path, sizeof(path));
  if (length <= 0 || length == static_cast<ssize_t>(sizeof(path)) || path[0] != '/') {
    return std::nullopt;
  }
  return std::string(path, length);
}

Roots::Roots(std::vector<std::string> configured)
    : configured_(std::move(configured)), open_(configured_.size()) {}

std::optional<PlaceInRoot> Roots::Find(std::string_view real_path) {
  // First by what is known, without a word to the file systems of the other roots: one that hangs
  // holds up nobody else.
  for (const bool refresh : {false, true}) {
    for (size_t i = 0; i < configured_.size(); ++i) {
      auto root = refresh ? Refreshed(i) : Current(i);
      if (root == nullptr || !Below(root->real_path, real_path)) continue;
      root = refresh ? root : Refreshed(i);
      if (root == nullptr) continue;
      if (auto relative = Below(root->real_path, real_path)) {
        return PlaceInRoot{std::move(root), *std::move(relative)};
      }
    }
  }
  return std::nullopt;
}

std::shared_ptr<const OpenRoot> Roots::Current(size_t index) {
  wire::MutexLock lock(mutex_);
  return open_[index];
}

std::shared_ptr<const OpenRoot> Roots::Refreshed(size_t index) {
  auto root = Current(index);
  struct stat status;
  if (root != nullptr && ::stat(configured_[index].c_str(), &status) == 0 &&
      status.st_dev == root->device && status.st_ino == root->inode) {
    // The same directory may have been moved, root and all.
    auto real_path = RealPath(root->fd.get());
    if (real_path && *real_path == root->real_path) return root;
  }
  root = Open(configured_[index]);
  wire::MutexLock lock(mutex_);
  open_[index] = root;
  return root;
}

}  // namespace modeld::reference
