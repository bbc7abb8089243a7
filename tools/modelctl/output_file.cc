#include "modelctl/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modelctl/error.h"
#include "modelctl/terminal.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

bool IsFull(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

absl::Status CannotWrite(const std::string& name, const char* what, int error) {
  return ErrorWithHint(absl::StatusCode::kUnknown,
                       wire::StrCat("cannot ", what, " ", name, ": ", wire::ErrnoText(error)),
                       IsFull(error) ? "make room there, or name a file somewhere else"
                                     : "name a file somewhere else");
}

// Through symbolic links, so that the link stays and what it points to is replaced.
std::string RealPath(const std::string& path) {
  char real[PATH_MAX];
  return realpath(path.c_str(), real) != nullptr ? real : path;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

mode_t CurrentUmask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path,
                                                               uint64_t size_bytes) {
  struct stat info = {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return CannotWrite(path, "write", EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    wire::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.valid()) return CannotWrite(path, "open", errno);
    return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(fd)));
  }

  const std::string real = RealPath(path);
  const size_t name_at = real.rfind('/') == std::string::npos ? 0 : real.rfind('/') + 1;
  std::string temporary = wire::StrCat(DirectoryOf(real), "/.", real.substr(name_at), ".XXXXXX");
  wire::UniqueFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return CannotWrite(path, "write", errno);
  std::unique_ptr<OutputFile> file(new OutputFile(path, std::move(fd)));
  file->path_ = real;
  file->temporary_path_ = temporary;
  // What it replaces keeps its mode; a new file gets the usual one.
  const mode_t mode = exists ? info.st_mode & 07777 : 0666 & ~CurrentUmask();
  if (fchmod(file->fd_.get(), mode) != 0) return file->Failed("write", errno);
  if (size_bytes > 0 && fallocate(file->fd_.get(), 0, 0, static_cast<off_t>(size_bytes)) != 0 &&
      IsFull(errno)) {
    return ErrorWithHint(absl::StatusCode::kUnknown,
                         wire::StrCat("cannot write ", path, ": ", size_bytes,
                                      " bytes are needed: ", wire::ErrnoText(errno)),
                         "make room there, or name a file somewhere else");
  }
  return file;
}

std::unique_ptr<OutputFile> OutputFile::Stdout() {
  return std::unique_ptr<OutputFile>(
      new OutputFile("stdout", wire::UniqueFd(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3))));
}

OutputFile::~OutputFile() {
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
}

absl::Status OutputFile::Failed(const char* what, int error) const {
  return CannotWrite(name_, what, error);
}

absl::Status OutputFile::Write(std::span<const std::byte> bytes) {
  return WriteAll(fd_.get(), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name_);
}

absl::Status OutputFile::Commit() {
  if (path_.empty()) return absl::OkStatus();
  if (fsync(fd_.get()) != 0) return Failed("write", errno);
  if (rename(temporary_path_.c_str(), path_.c_str()) != 0) return Failed("replace", errno);
  temporary_path_.clear();
  const wire::UniqueFd directory(
      open(DirectoryOf(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a directory; the file is whole all the same.
  if (directory.valid() && fsync(directory.get()) != 0 && errno != EINVAL)
    return Failed("write", errno);
  return absl::OkStatus();
}

}  // namespace modeld::modelctl
