#include "supervisor/gpu_list.h"

#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/child_process.h"
#include "wire/error.h"
#include "wire/unique_fd.h"

namespace modeld::supervisor {
namespace {

constexpr char kProgram[] = "modeld-agent-cuda";
constexpr size_t kMostBytes = 1 << 20;

// All of it, until the other end is closed.
absl::StatusOr<std::string> ReadAll(int fd, base::TimePoint deadline) {
  std::string text;
  while (text.size() < kMostBytes) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - base::SystemClock().Now());
    pollfd poll_fd = {fd, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&poll_fd, 1, static_cast<int>(left.count())) == 0) {
      return absl::UnavailableError(absl::StrCat(kProgram, " --list does not answer"));
    }
    char buffer[4096];
    const ssize_t count = ::read(fd, buffer, sizeof(buffer));
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
    } else if (errno != EINTR) {
      return absl::UnavailableError(
          absl::StrCat("reading from ", kProgram, ": ", wire::ErrnoText(errno)));
    }
  }
  return absl::UnavailableError(absl::StrCat(kProgram, " --list says too much"));
}

}  // namespace

absl::StatusOr<v1::GpuList> ListGpus(const std::string& program_directory, base::Duration timeout) {
  auto program = base::FindProgram(kProgram, program_directory);
  if (!program.ok()) return program.status();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return absl::UnavailableError(absl::StrCat("no pipe: ", wire::ErrnoText(errno)));
  }
  const wire::UniqueFd ours(ends[0]);
  wire::UniqueFd theirs(ends[1]);

  base::ChildProcess::Options options;
  options.path = *std::move(program);
  options.args = {"--list"};
  options.env = {"CUDA_DEVICE_ORDER=PCI_BUS_ID"};
  options.fds = {{theirs.get(), STDOUT_FILENO}};
  const base::TimePoint deadline = base::SystemClock().Now() + timeout;
  auto child = base::ChildProcess::Spawn(options);
  if (!child.ok()) return absl::UnavailableError(child.status().message());
  theirs.reset();
  const auto text = ReadAll(ours.get(), deadline);
  if (!text.ok()) return text.status();
  const auto exit = child->Wait(deadline);
  if (!exit || !exit->ok()) {
    return absl::UnavailableError(
        absl::StrCat(kProgram, " --list ", exit ? exit->Text() : "does not end"));
  }
  v1::GpuList list;
  google::protobuf::util::JsonParseOptions lenient;
  lenient.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(*text, &list, lenient).ok()) {
    return absl::UnavailableError(absl::StrCat(kProgram, " --list says what is no list of GPUs"));
  }
  return list;
}

}  // namespace modeld::supervisor
