#include "checkpoint/parse_service.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "checkpoint/format.h"
#include "wire/error.h"

namespace modeld::checkpoint {
namespace {

// The source table, the reference table and the samples.
constexpr size_t kOutputs = 3;

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// The bare call: the C library's fstat may be newfstatat, which takes a path and is therefore not
// allowed here. On 64-bit machines the kernel's struct is the library's.
int BareFstat(int fd, struct stat* out) { return static_cast<int>(syscall(SYS_fstat, fd, out)); }

// Is the file still the one that modeld opened and looked at?
absl::Status CheckUnchanged(const v1::SourceFile& file, int fd) {
  struct stat now = {};
  const auto metadata = wire::ErrorMetadata{{"file", file.path()}};
  if (BareFstat(fd, &now) != 0) {
    return wire::MakeError(wire::Reason::kReadFailed,
                           absl::StrCat(file.path(), ": fstat: ", wire::ErrnoText(errno)), metadata,
                           "check the disk or the file server");
  }
  if (static_cast<uint64_t>(now.st_size) == file.size_bytes() && now.st_dev == file.device() &&
      now.st_ino == file.inode() && Nanoseconds(now.st_mtim) == file.mtime_ns() &&
      Nanoseconds(now.st_ctim) == file.ctime_ns()) {
    return absl::OkStatus();
  }
  return wire::MakeError(wire::Reason::kCheckpointChanged,
                         absl::StrCat(file.path(), " changed after it was opened (", now.st_size,
                                      " bytes now, ", file.size_bytes(), " then)"),
                         metadata, "load it again when its writer has finished");
}

absl::Status CheckAllUnchanged(const v1::ParseRequest& request,
                               const std::vector<wire::UniqueFd>& fds) {
  for (int i = 0; i < request.files_size(); ++i) {
    if (auto status = CheckUnchanged(request.files(i), fds[static_cast<size_t>(i)].get());
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

plan::LoadConfig ConfigOf(const v1::LoadConfig& message) {
  plan::LoadConfig config;
  config.cast = wire::DTypeFromName(message.cast());
  config.include.assign(message.include().begin(), message.include().end());
  config.exclude.assign(message.exclude().begin(), message.exclude().end());
  config.key_prefix = message.key_prefix();
  return config;
}

absl::Status WriteAll(int fd, std::string_view bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t wrote =
        pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      return wire::MakeError(wire::Reason::kInternal,
                             absl::StrCat("writing the parser's answer: ", wire::ErrnoText(errno)),
                             {}, "free memory on the machine and load it again");
    }
    done += static_cast<size_t>(wrote);
  }
  return absl::OkStatus();
}

absl::Status Parse(const v1::ParseRequest& request, const std::vector<wire::UniqueFd>& fds,
                   v1::ParseReply* reply) {
  const auto file_count = static_cast<size_t>(request.files_size());
  if (file_count < 1 || fds.size() != file_count + kOutputs) {
    return wire::MakeError(
        wire::Reason::kInternal,
        absl::StrCat("the parser got ", fds.size(), " descriptors for ", file_count, " files"));
  }
  if (auto status = CheckAllUnchanged(request, fds); !status.ok()) return status;
  std::vector<InputFile> files;
  size_t weight_count = 0;
  for (size_t i = 0; i < file_count; ++i) {
    const v1::SourceFile& file = request.files(static_cast<int>(i));
    files.push_back({.path = file.path(),
                     .name = file.name(),
                     .fd = fds[i].get(),
                     .size_bytes = file.size_bytes()});
    if (!file.companion()) weight_count = i + 1;
  }
  const auto weights = std::span(files).first(weight_count);
  const std::vector<std::string> components(request.components().begin(),
                                            request.components().end());
  const auto parsed = ParseCheckpoint(weights, std::span(files).subspan(weight_count),
                                      ConfigOf(request.config()), components);
  // A file that is being rewritten looks malformed: what it is comes first.
  if (auto status = CheckAllUnchanged(request, fds); !status.ok()) return status;
  if (!parsed.ok()) return parsed.status();
  const std::string* const outputs[kOutputs] = {&parsed->table, &parsed->reference_table,
                                                &parsed->samples};
  for (size_t i = 0; i < kOutputs; ++i) {
    if (auto status = WriteAll(fds[file_count + i].get(), *outputs[i]); !status.ok()) return status;
  }
  reply->set_format(parsed->format);
  reply->set_table_size_bytes(parsed->table.size());
  reply->set_reference_table_size_bytes(parsed->reference_table.size());
  reply->set_samples_size_bytes(parsed->samples.size());
  return absl::OkStatus();
}

void SetFailure(const absl::Status& status, v1::ParseReply* reply) {
  reply->clear_format();
  reply->clear_table_size_bytes();
  reply->clear_reference_table_size_bytes();
  reply->clear_samples_size_bytes();
  v1::Failure& failure = *reply->mutable_failure();
  failure.set_code(static_cast<int32_t>(status.code()));
  failure.set_message(std::string(status.message()));
  failure.mutable_detail()->ParseFromString(wire::SerializeDetail(status));
}

}  // namespace

v1::ParseReply Serve(const v1::ParseRequest& request, const std::vector<wire::UniqueFd>& fds,
                     const SandboxReport& sandbox) {
  v1::ParseReply reply;
  reply.mutable_sandbox()->set_landlock_abi(sandbox.landlock_abi);
  reply.mutable_sandbox()->set_seccomp(sandbox.seccomp);
  reply.mutable_sandbox()->set_address_space_limit_bytes(sandbox.address_space_limit_bytes);
  try {
    if (auto status = Parse(request, fds, &reply); !status.ok()) SetFailure(status, &reply);
  } catch (const std::bad_alloc&) {
    const std::string& path = request.files(0).path();
    SetFailure(
        wire::MakeError(wire::Reason::kCheckpointMalformed,
                        absl::StrCat(path, ": its header takes more memory to read than the ",
                                     "parser may use"),
                        {{"file", path}, {"byte", "0"}},
                        "no writer is known to make this: check where the file comes from"),
        &reply);
  }
  return reply;
}

}  // namespace modeld::checkpoint
