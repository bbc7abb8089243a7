#include "wire/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "wire/error.h"
#include "wire/text.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3
#endif

namespace modeld::wire {
namespace {

constexpr int kAgainstChange = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
constexpr size_t kMaxNameBytes = 249;  // the kernel's limit
constexpr std::chrono::milliseconds kSealPause{10};

absl::Status Failed(std::string_view what, int error) {
  const std::string text = StrCat(what, ": ", ErrnoText(error));
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

int CreateMemfd(const std::string& name) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create(name.c_str(), flags | MFD_NOEXEC_SEAL);
  return fd < 0 && errno == EINVAL ? memfd_create(name.c_str(), flags) : fd;
}

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("cannot fill a memfd", errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    Unmap();
    address_ = std::exchange(other.address_, nullptr);
    size_bytes_ = std::exchange(other.size_bytes_, 0);
  }
  return *this;
}

void Mapping::Unmap() {
  if (address_ != nullptr) munmap(address_, size_bytes_);
  address_ = nullptr;
  size_bytes_ = 0;
}

absl::StatusOr<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes) {
  UniqueFd fd(CreateMemfd(name.substr(0, kMaxNameBytes)));
  if (!fd.valid()) return Failed("cannot create a memfd", errno);
  if (auto status = WriteAll(fd.get(), bytes); !status.ok()) return status;
  if (auto status = SealMemfd(fd.get()); !status.ok()) return status;
  return fd;
}

absl::Status SealMemfd(int fd, std::chrono::milliseconds patience) {
  constexpr int kAll = kAgainstChange | F_SEAL_SEAL;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  int error = 0;
  while (true) {
    if (fcntl(fd, F_ADD_SEALS, kAll) == 0) return absl::OkStatus();
    error = errno;
    if (error != EBUSY || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(kSealPause);
  }
  if (error == EBUSY) {
    return absl::FailedPreconditionError(
        "cannot seal a memfd: somebody has it mapped writable, or is writing to it");
  }
  const int seals = fcntl(fd, F_GET_SEALS);
  if (error == EPERM && seals >= 0 && (seals & kAll) == kAll) return absl::OkStatus();
  return Failed("cannot seal a memfd", error);
}

absl::Status CheckSealed(int fd, uint64_t size_bytes) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) {
    return absl::DataLossError(StrCat("the descriptor is no memfd: ", ErrnoText(errno)));
  }
  std::string missing;
  if ((seals & F_SEAL_WRITE) == 0) missing += " WRITE";
  if ((seals & F_SEAL_GROW) == 0) missing += " GROW";
  if ((seals & F_SEAL_SHRINK) == 0) missing += " SHRINK";
  if (!missing.empty()) {
    return absl::DataLossError(StrCat("the memfd is not sealed against:", missing));
  }
  struct stat status;
  if (fstat(fd, &status) != 0) {
    return absl::DataLossError(StrCat("cannot stat the memfd: ", ErrnoText(errno)));
  }
  if (static_cast<uint64_t>(status.st_size) != size_bytes) {
    return absl::DataLossError(
        StrCat("the memfd has ", status.st_size, " bytes, it should have ", size_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<Mapping> MapReadOnly(int fd, uint64_t size_bytes) {
  if (size_bytes == 0) return Mapping();
  void* address = mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) {
    return Failed(StrCat("cannot map ", size_bytes, " bytes"), errno);
  }
  return Mapping(address, size_bytes);
}

}  // namespace modeld::wire
