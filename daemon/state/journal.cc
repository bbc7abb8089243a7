#include "state/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "state/aside.h"
#include "state/read_journal.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::state {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr std::chrono::seconds kLockPatience{2};
constexpr std::chrono::milliseconds kLockInterval{10};

absl::Status CannotUse(const std::string& path, std::string_view why) {
  return absl::FailedPreconditionError(
      wire::StrCat(path, " ", why, "; repair that, or choose another directory with --state-dir"));
}

absl::Status CannotUse(const std::string& path, std::string_view doing, int error) {
  return CannotUse(path, wire::StrCat("cannot be ", doing, ": ", wire::ErrnoText(error)));
}

absl::Status OfAnother(const std::string& directory, const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat("another process keeps its state in ", directory, " and holds ", path,
                   ": stop it first, or choose another directory with --state-dir"));
}

absl::StatusOr<wire::UniqueFd> TakeStateLock(const std::string& path,
                                             const std::string& directory) {
  // Never removed: whoever opened it before would lock another file than who comes after.
  wire::UniqueFd lock(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kFileMode));
  if (!lock.valid()) return CannotUse(path, "opened", errno);
  // A modeld that was killed a moment ago may still be on its way out.
  const auto patience = std::chrono::steady_clock::now() + kLockPatience;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return CannotUse(path, "locked", errno);
    if (std::chrono::steady_clock::now() >= patience) return OfAnother(directory, path);
    std::this_thread::sleep_for(kLockInterval);
  }
  return lock;
}

// Not valid: there is none.
absl::StatusOr<wire::UniqueFd> OpenStateFile(const std::string& path) {
  // O_NONBLOCK: a FIFO would wait for whoever writes to it.
  wire::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) {
    if (errno == ENOENT) return wire::UniqueFd();
    if (errno == ELOOP) return CannotUse(path, "is a symlink, and modeld follows none there");
    return CannotUse(path, "opened", errno);
  }
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return CannotUse(path, "looked at", errno);
  if (!S_ISREG(status.st_mode)) return CannotUse(path, "is no regular file");
  if ((status.st_mode & 07777) != kFileMode && ::fchmod(fd.get(), kFileMode) != 0) {
    return CannotUse(path, "kept from others", errno);
  }
  return fd;
}

int WriteAt(int fd, std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return EIO;
    bytes.remove_prefix(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return 0;
}

// What the operator is told; empty: nothing is wrong.
std::string DescribeDamage(const std::string& path, const JournalContents& contents) {
  if (contents.newer_version) {
    return absl::StrCat(path, " is of version ", *contents.newer_version,
                        ", and this modeld knows ", kFormatVersion,
                        ": it starts without aliases, pins and history");
  }
  if (contents.too_large) {
    return absl::StrCat(path, " has more than ", kMaxFileBytes,
                        " bytes: what lies beyond them is not read; ", contents.damaged_lines,
                        " of the lines before are damaged");
  }
  if (contents.damaged_lines > 0) {
    return absl::StrCat(path, " has ", contents.damaged_lines,
                        " damaged lines: what they changed is lost, all others are kept");
  }
  if (!contents.has_header) {
    return absl::StrCat(path, " does not start with its version: what stood there is lost");
  }
  return {};
}

}  // namespace

Journal::Journal(std::string directory, wire::UniqueFd directory_fd, wire::UniqueFd lock)
    : directory_(std::move(directory)),
      path_(wire::StrCat(directory_, "/", kFileName)),
      directory_fd_(std::move(directory_fd)),
      lock_(std::move(lock)) {}

absl::StatusOr<Journal::Opened> Journal::Open(const std::string& directory) {
  wire::UniqueFd directory_fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_fd.valid()) return CannotUse(directory, "opened", errno);
  absl::StatusOr<wire::UniqueFd> lock =
      TakeStateLock(wire::StrCat(directory, "/", kLockName), directory);
  if (!lock.ok()) return lock.status();

  Opened opened;
  opened.journal.reset(new Journal(directory, std::move(directory_fd), *std::move(lock)));
  Journal& journal = *opened.journal;
  absl::StatusOr<wire::UniqueFd> fd = OpenStateFile(journal.path_);
  if (!fd.ok()) return fd.status();
  if (fd->valid()) {
    absl::StatusOr<JournalContents> contents = ReadJournal(fd->get());
    if (!contents.ok()) {
      return CannotUse(journal.path_,
                       wire::StrCat("cannot be read: ", wire::ToStd(contents.status().message())));
    }
    if (std::string note = DescribeDamage(journal.path_, *contents); !note.empty()) {
      opened.notes.push_back(std::move(note));
    }
    if (contents->torn_tail) {
      spdlog::info("msg=\"the last change was not complete\" file=\"{}\"", journal.path_);
    }
    journal.fd_ = *std::move(fd);
    journal.size_bytes_ = contents->read_bytes;
    journal.must_replace_ = !contents->IsWhole();
    journal.must_put_aside_ = contents->IsDamaged();
    journal.image_ = std::move(contents->image);
    opened.state = std::move(contents->state);
  }
  if (journal.must_replace_) {
    const bool damaged = journal.must_put_aside_;
    if (absl::Status status = journal.Replace(); !status.ok()) {
      opened.notes.emplace_back(status.message());
    } else if (damaged) {
      opened.notes.push_back(
          absl::StrCat("the damaged file is kept as ", AsidePath(journal.path_, 1)));
    }
  }
  return opened;
}

absl::Status Journal::Append(std::span<const Entry> entries) {
  if (entries.empty()) return absl::OkStatus();
  if (!IsAtPath()) must_replace_ = true;
  if (must_replace_) {
    if (absl::Status status = Replace(); !status.ok()) return status;
  }
  std::string bytes;
  for (const Entry& entry : entries) bytes += entry.line;
  if (const int error = Write(bytes); error != 0) {
    TakeBack();
    return NotSaved(error);
  }
  size_bytes_ += bytes.size();
  for (const Entry& entry : entries) image_.Apply(entry);
  return absl::OkStatus();
}

int Journal::Write(const std::string& bytes) {
  if (size_bytes_ + bytes.size() > kMaxFileBytes) return EFBIG;
  if (const int error = WriteAt(fd_.get(), bytes, size_bytes_); error != 0) return error;
  return ::fdatasync(fd_.get()) == 0 ? 0 : errno;
}

// Durably: what was refused must not be there after a loss of power.
void Journal::TakeBack() {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) == 0 && ::fdatasync(fd_.get()) == 0) {
    return;
  }
  must_replace_ = true;
  Replace().IgnoreError();  // otherwise with the next Append
}

void Journal::CompactIfGrown() {
  const uint64_t limit = 2 * uint64_t{image_.size_bytes()} + kSlackBytes;
  if (size_bytes_ <= std::max(limit, compact_at_bytes_)) return;
  // On a full disk not again with every append.
  compact_at_bytes_ = size_bytes_ + kSlackBytes;
  if (Replace().ok()) compact_at_bytes_ = 0;
}

absl::Status Journal::Replace() {
  const std::string beside = path_ + ".new";
  const std::string text = image_.Text();
  if (const int error = WriteReplacement(beside, text); error != 0) {
    ::unlink(beside.c_str());
    return NotSaved(error);
  }
  // From here on the file at the path is the new one.
  size_bytes_ = text.size();
  must_put_aside_ = false;
  // Until this is done a loss of power brings the old file back.
  must_replace_ = ::fsync(directory_fd_.get()) != 0;
  return must_replace_ ? NotSaved(errno) : absl::OkStatus();
}

int Journal::WriteReplacement(const std::string& path, const std::string& text) {
  if (text.size() > kMaxFileBytes) return EFBIG;
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno;
  wire::UniqueFd fd(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!fd.valid()) return errno;
  if (const int error = WriteAt(fd.get(), text, 0); error != 0) return error;
  if (::fsync(fd.get()) != 0) return errno;
  if (must_put_aside_) {
    if (const int error = PutAside(path_); error != 0) return error;
  }
  if (::rename(path.c_str(), path_.c_str()) != 0) return errno;
  fd_ = std::move(fd);
  return 0;
}

// It may have been removed or moved away under a running modeld.
bool Journal::IsAtPath() const {
  struct stat by_fd, by_path;
  return fd_.valid() && ::fstat(fd_.get(), &by_fd) == 0 && ::lstat(path_.c_str(), &by_path) == 0 &&
         by_fd.st_ino == by_path.st_ino && by_fd.st_dev == by_path.st_dev;
}

absl::Status Journal::NotSaved(int error) const {
  return wire::MakeError(wire::Reason::kStateNotSaved,
                         wire::StrCat("cannot save to ", path_, ": ", wire::ErrnoText(error)),
                         {{"file", path_}},
                         wire::StrCat("make room or repair it, and repeat: df -h ", directory_));
}

}  // namespace modeld::state
