// A file descriptor with one owner.

#pragma once

#include <unistd.h>

#include <utility>

namespace modeld::wire {

// Owns a descriptor and closes it. Move-only; externally synchronised. Descriptors are opened with
// CLOEXEC by whoever creates them: this class does not set it.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  // Gives up ownership.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  // Closes what it owns and takes `fd`.
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace modeld::wire
