#include "memory/source_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "wire/checked.h"
#include "wire/error.h"

namespace modeld::memory {
namespace {

// Between two of these a cancelled load is noticed: 20 ms for a disk that gives 100 MB/s.
constexpr uint64_t kReadStepBytes = 2 << 20;
// Places of a chunk that must all be in the page cache for the chunk to count as cached.
constexpr int kCacheProbes = 3;

wire::UniqueFd Reopen(int fd, int flags) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  return wire::UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
}

// Memory has no disk to go to directly. On a network one direct stream is far slower than reads
// with read-ahead.
bool BufferedIsFaster(int fd) {
  struct statfs info;
  if (::fstatfs(fd, &info) != 0) return true;
  switch (static_cast<uint32_t>(info.f_type)) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case HUGETLBFS_MAGIC:
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
    case V9FS_MAGIC:
    case CEPH_SUPER_MAGIC:
    case AFS_FS_MAGIC:
    case AFS_SUPER_MAGIC:
    case 0x0BD00BD0:  // Lustre
    case 0x47504653:  // GPFS
    case 0x19830326:  // BeeGFS
      return true;
    default:
      return false;
  }
}

// One byte, without waiting for any disk. mincore and cachestat lie to, or refuse, whoever does not
// own the file.
bool IsCached(int fd, uint64_t offset) {
  char byte;
  iovec vector = {&byte, 1};
  return ::preadv2(fd, &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT) == 1;
}

// Does the file system know how to say that it would have to wait?
bool CanTellCached(int fd) {
  char byte;
  iovec vector = {&byte, 1};
  return ::preadv2(fd, &vector, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

}  // namespace

absl::StatusOr<plan::FileIdentity> IdentityOf(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, "fstat");
  return plan::IdentityOf(info);
}

SourceFile::SourceFile(const plan::OpenFile& file)
    : file_(file), buffered_fd_(Reopen(file.fd.get(), 0)) {
  if (!buffered_fd_.valid() || BufferedIsFaster(file.fd.get())) return;
  if (!CanTellCached(buffered_fd_.get())) return;
  // Without it the question whether a byte is cached would start to read ahead what is about to be
  // read directly.
  ::posix_fadvise(buffered_fd_.get(), 0, 0, POSIX_FADV_RANDOM);
  direct_fd_ = Reopen(file.fd.get(), O_DIRECT);
  direct_ok_ = direct_fd_.valid();
}

bool SourceFile::PreferDirect(uint64_t offset, uint64_t size_bytes) const {
  if (!direct_ok_.load(std::memory_order_relaxed) || size_bytes == 0) return false;
  // Asking makes the kernel fetch that page, so the same places would look cached to the next load.
  thread_local std::minstd_rand random(std::random_device{}());
  std::uniform_int_distribution<uint64_t> place(offset, offset + size_bytes - 1);
  for (int i = 0; i < kCacheProbes; ++i) {
    if (!IsCached(buffered_fd_.get(), place(random))) return true;
  }
  return false;
}

absl::Status SourceFile::ReadBuffered(uint64_t offset, std::span<std::byte> out,
                                      const KeepGoing& keep_going) const {
  bool refused = false;
  // The descriptor that came with the request reads ahead; the own one is told not to.
  return Read(file_.fd.get(), offset, out, out.size(), 1, keep_going, refused);
}

absl::Status SourceFile::ReadDirect(uint64_t offset, std::span<std::byte> out,
                                    uint64_t needed_bytes, const KeepGoing& keep_going) const {
  if (direct_ok_.load(std::memory_order_relaxed)) {
    bool refused = false;
    absl::Status status = Read(direct_fd_.get(), offset, out, needed_bytes, kDirectAlignmentBytes,
                               keep_going, refused);
    if (!refused) return status;
    direct_ok_.store(false, std::memory_order_relaxed);
  }
  return ReadBuffered(offset, out.first(needed_bytes), keep_going);
}

absl::Status SourceFile::Read(int fd, uint64_t offset, std::span<std::byte> out,
                              uint64_t needed_bytes, uint64_t alignment,
                              const KeepGoing& keep_going, bool& refused) const {
  uint64_t done = 0;
  while (done < needed_bytes) {
    if (!keep_going()) return absl::CancelledError("the load was cancelled");
    const uint64_t step = std::min<uint64_t>(out.size() - done, kReadStepBytes);
    const ssize_t got = ::pread(fd, out.data() + done, step, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EINVAL && alignment > 1) {
        refused = true;
        return absl::OkStatus();
      }
      return wire::MakeError(wire::Reason::kReadFailed,
                             absl::StrCat("cannot read ", file_.path, " at byte ", offset + done,
                                          ": ", wire::ErrnoText(errno)),
                             {{"file", file_.path}, {"byte", absl::StrCat(offset + done)}},
                             "look at the disk or the file server (dmesg), then load it again");
    }
    const uint64_t end = done + static_cast<uint64_t>(got);
    if (got == 0) return EndsTooEarly(offset + done);
    if (end >= needed_bytes) break;
    // A direct read can only go on from an aligned byte; one that stopped short of the first is at
    // the end of the file, unless the file system has its own ways.
    const uint64_t next = wire::AlignDown(end, alignment);
    if (next == done) {
      refused = true;
      return absl::OkStatus();
    }
    done = next;
  }
  return absl::OkStatus();
}

absl::Status SourceFile::EndsTooEarly(uint64_t offset) const {
  return wire::MakeError(
      wire::Reason::kCheckpointChanged,
      absl::StrCat(file_.path, " ends at byte ", offset, ", but had ", file_.identity.size_bytes,
                   " bytes when it was opened"),
      {{"file", file_.path}, {"byte", absl::StrCat(offset)}},
      "load it again once nothing writes to it any more; replace checkpoints by rename");
}

absl::Status SourceFile::CheckUnchanged() const {
  const auto now = IdentityOf(file_.fd.get());
  if (now.ok() && *now == file_.identity) return absl::OkStatus();
  std::string what = "cannot be looked at any more";
  if (now.ok() && now->size_bytes != file_.identity.size_bytes) {
    what = absl::StrCat("had ", file_.identity.size_bytes, " bytes and now has ", now->size_bytes);
  } else if (now.ok()) {
    what = "was written to or had its attributes changed";
  }
  return wire::MakeError(
      wire::Reason::kCheckpointChanged,
      absl::StrCat(file_.path, " changed while it was loaded: it ", what), {{"file", file_.path}},
      "load it again once nothing writes to it any more; replace checkpoints by rename");
}

}  // namespace modeld::memory
