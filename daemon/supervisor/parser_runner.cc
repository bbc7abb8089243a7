#include "supervisor/parser_runner.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/child_process.h"
#include "modeld/v1/agent.pb.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/utf8.h"

namespace modeld::supervisor {
namespace {

// The number that modeld-parser expects its connection at.
constexpr int kParserConnection = 3;
// A reply is a few numbers, or one error with names from the file cut short.
constexpr size_t kMaxReplyBytes = 1 << 20;

std::string Name(const plan::OpenCheckpoint& checkpoint) {
  return wire::ToUtf8(checkpoint.files.front().path);
}

absl::Status Error(wire::Reason reason, const plan::OpenCheckpoint& checkpoint,
                   const std::string& what, const std::string& hint) {
  return wire::MakeError(reason, absl::StrCat(Name(checkpoint), ": ", what),
                         {{"file", Name(checkpoint)}}, hint);
}

// Nothing is wrong with the checkpoint, nor with modeld.
absl::Status Short(const plan::OpenCheckpoint& checkpoint, const absl::Status& why) {
  return Error(wire::Reason::kLimitReached, checkpoint,
               absl::StrCat("it cannot be looked at now: ", std::string(why.message())),
               "load it again when less goes on, or raise what modeld may have (LimitNOFILE, "
               "LimitNPROC, TasksMax, MemoryMax)");
}

v1::ParseRequest MakeRequest(const plan::OpenCheckpoint& checkpoint) {
  v1::ParseRequest request;
  for (const plan::OpenFile& file : checkpoint.files) {
    v1::SourceFile& source = *request.add_files();
    source.set_path(wire::ToUtf8(file.path));
    source.set_size_bytes(file.identity.size_bytes);
    source.set_device(file.identity.device);
    source.set_inode(file.identity.inode);
    source.set_mtime_ns(file.identity.mtime_ns);
    source.set_ctime_ns(file.identity.ctime_ns);
    source.set_name(wire::ToUtf8(file.name));
    source.set_companion(file.companion);
  }
  for (const std::string& name : checkpoint.components) {
    request.add_components(wire::ToUtf8(name));
  }
  const plan::LoadConfig& config = checkpoint.config;
  v1::LoadConfig& wanted = *request.mutable_config();
  if (config.cast) wanted.set_cast(std::string(wire::DTypeName(*config.cast)));
  wanted.mutable_include()->Add(config.include.begin(), config.include.end());
  wanted.mutable_exclude()->Add(config.exclude.begin(), config.exclude.end());
  wanted.set_key_prefix(config.key_prefix);
  return request;
}

// Why a parser that owed a reply gave none.
absl::Status NoReply(const plan::OpenCheckpoint& checkpoint, const base::ExitStatus& exit) {
  if (exit.signaled) {
    return Error(wire::Reason::kCheckpointMalformed, checkpoint,
                 absl::StrCat("the parser was ", exit.Text(), " while it read this file"),
                 "check where the file comes from, and report it: a file should never do this");
  }
  return Error(wire::Reason::kInternal, checkpoint,
               absl::StrCat("the parser ", exit.Text(), " without an answer"),
               "the daemon's log has what the parser said");
}

// Waits for a frame, the child's end or the deadline.
absl::StatusOr<wire::Frame> AwaitReply(const plan::OpenCheckpoint& checkpoint,
                                       wire::FramedSocket& connection, base::ChildProcess& child,
                                       base::TimePoint deadline) {
  while (true) {
    auto frame = connection.TryReceive();
    if (!frame.ok()) {
      // It ended, or it talks garbage: either way it has nothing more to say.
      child.Kill(SIGKILL);
      const base::ExitStatus exit = *child.Wait();
      if (absl::IsUnavailable(frame.status())) return NoReply(checkpoint, exit);
      return Error(wire::Reason::kCheckpointMalformed, checkpoint,
                   absl::StrCat("the parser answered with garbage while it read this file (",
                                std::string(frame.status().message()), ")"),
                   "check where the file comes from");
    }
    if (frame->has_value()) return **std::move(frame);
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - base::SystemClock().Now());
    if (left.count() <= 0) {
      return Error(wire::Reason::kReadFailed, checkpoint, "its header could not be read in time",
                   "check the disk or the file server, and load it again");
    }
    // The end of the child shows as the end of the stream.
    pollfd readable{.fd = connection.fd(), .events = POLLIN, .revents = 0};
    poll(&readable, 1, static_cast<int>(std::min<int64_t>(left.count(), 60'000)));
  }
}

// What the parser writes to.
struct Outputs {
  wire::UniqueFd table;
  wire::UniqueFd reference_table;
  wire::UniqueFd samples;
};

absl::StatusOr<Outputs> MakeOutputs(const plan::OpenCheckpoint& checkpoint) {
  Outputs outputs;
  for (auto [fd, name] : {std::pair(&outputs.table, "modeld-source-table"),
                          std::pair(&outputs.reference_table, "modeld-reference"),
                          std::pair(&outputs.samples, "modeld-samples")}) {
    *fd = wire::UniqueFd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd->valid()) {
      return Short(checkpoint, absl::ErrnoToStatus(errno, "memfd_create"));
    }
  }
  return outputs;
}

absl::Status Misbehaved(const plan::OpenCheckpoint& checkpoint, const std::string& what) {
  return Error(wire::Reason::kInternal, checkpoint, what,
               "report it: a parser should never do this");
}

// Its table does not hold: said as what it says of the file.
absl::Status NotValid(const plan::OpenCheckpoint& checkpoint, const absl::Status& why) {
  if (absl::IsResourceExhausted(why)) return Short(checkpoint, why);
  wire::ErrorInfo info = wire::GetErrorInfo(why);
  info.metadata["file"] = Name(checkpoint);
  return wire::MakeError(wire::Reason::kCheckpointMalformed,
                         absl::StrCat(Name(checkpoint), ": ", std::string(why.message())),
                         std::move(info.metadata),
                         "the file is damaged or incomplete: download or write it again");
}

absl::StatusOr<std::vector<plan::Sample>> ReadSamples(const plan::OpenCheckpoint& checkpoint,
                                                      int fd, uint64_t size_bytes, size_t count) {
  if (size_bytes != count * sizeof(plan::Sample) || !wire::CheckSealed(fd, size_bytes).ok()) {
    return Misbehaved(checkpoint, "the parser's samples are not those of its table");
  }
  std::vector<plan::Sample> samples(count);
  if (count == 0) return samples;
  auto mapping = wire::MapReadOnly(fd, size_bytes);
  if (!mapping.ok()) return Short(checkpoint, mapping.status());
  std::memcpy(samples.data(), mapping->data(), size_bytes);
  return samples;
}

absl::StatusOr<ParsedCheckpoint> CheckOutputs(const plan::OpenCheckpoint& checkpoint,
                                              const v1::ParseReply& reply, Outputs outputs) {
  // First of all: after this nobody can change what is checked next.
  for (const int fd : {outputs.table.get(), outputs.reference_table.get(), outputs.samples.get()}) {
    if (auto status = wire::SealMemfd(fd); !status.ok()) {
      return Misbehaved(checkpoint, absl::StrCat("what the parser wrote cannot be sealed: ",
                                                 std::string(status.message())));
    }
  }
  std::vector<uint64_t> file_sizes;
  for (const plan::OpenFile& file : checkpoint.files) {
    file_sizes.push_back(file.identity.size_bytes);
  }
  ParsedCheckpoint parsed;
  parsed.format = reply.format();
  auto source = plan::SealedTable::FromFd(std::move(outputs.table), reply.table_size_bytes(),
                                          {.region_sizes = file_sizes});
  if (!source.ok()) return NotValid(checkpoint, source.status());
  parsed.source = *std::move(source);
  if (parsed.source->view().region_count() != file_sizes.size()) {
    return Misbehaved(checkpoint, "the parser's table speaks of other files than it was given");
  }
  auto reference_table = plan::SealedReferenceTable::FromFd(std::move(outputs.reference_table),
                                                            reply.reference_table_size_bytes());
  if (!reference_table.ok()) return NotValid(checkpoint, reference_table.status());
  parsed.reference_table = *std::move(reference_table);
  auto samples = ReadSamples(checkpoint, outputs.samples.get(), reply.samples_size_bytes(),
                             parsed.source->view().size());
  if (!samples.ok()) return samples.status();
  parsed.samples = *std::move(samples);
  return parsed;
}

}  // namespace

absl::StatusOr<ParsedCheckpoint> ParserRunner::Parse(const plan::OpenCheckpoint& checkpoint) {
  const base::TimePoint deadline = base::SystemClock().Now() + options_.deadline;
  if (checkpoint.files.empty()) {
    return wire::MakeError(wire::Reason::kInternal, "a checkpoint without files");
  }
  if (checkpoint.files.size() > plan::kMaxFiles) {
    return Error(wire::Reason::kFormatUnsupported, checkpoint,
                 absl::StrCat("the checkpoint has ", checkpoint.files.size(), " files, more than ",
                              plan::kMaxFiles),
                 "write it in fewer, larger files");
  }
  auto outputs = MakeOutputs(checkpoint);
  if (!outputs.ok()) return outputs.status();
  auto pair = wire::UnixPair();
  if (!pair.ok()) return Short(checkpoint, pair.status());
  auto& [ours, theirs] = *pair;

  const auto program = base::FindProgram("modeld-parser", options_.program_directory);
  if (!program.ok()) {
    return Error(wire::Reason::kInternal, checkpoint, std::string(program.status().message()),
                 "install all of modeld's programs from one build");
  }
  auto child =
      base::ChildProcess::Spawn({.path = *program, .fds = {{theirs.get(), kParserConnection}}});
  if (absl::IsUnavailable(child.status())) return Short(checkpoint, child.status());
  if (!child.ok()) {
    return Error(wire::Reason::kInternal, checkpoint, std::string(child.status().message()),
                 "install all of modeld's programs from one build");
  }
  theirs.reset();  // so that the child's end is the end of the stream

  wire::FramedSocket connection(std::move(ours), kMaxReplyBytes);
  std::vector<int> fds;
  for (const plan::OpenFile& file : checkpoint.files) fds.push_back(file.fd.get());
  fds.insert(fds.end(),
             {outputs->table.get(), outputs->reference_table.get(), outputs->samples.get()});
  // A failure to send shows in what can be received; a request fits into the socket's buffer, so
  // this never waits.
  const auto sent = connection.TrySend(MakeRequest(checkpoint).SerializeAsString(), fds);
  if (absl::IsResourceExhausted(sent)) {
    return Error(wire::Reason::kFormatUnsupported, checkpoint,
                 "the paths of the checkpoint's files are too long together",
                 "move the checkpoint to a shorter path");
  }

  auto frame = AwaitReply(checkpoint, connection, *child, deadline);
  if (!frame.ok()) return frame.status();  // `child` kills what still runs
  v1::ParseReply reply;
  if (!reply.ParseFromString(frame->payload)) {
    return Error(wire::Reason::kCheckpointMalformed, checkpoint,
                 "the parser answered with garbage while it read this file",
                 "check where the file comes from");
  }
  {
    const wire::MutexLock lock(mutex_);
    last_sandbox_ =
        ParserSandbox{.landlock_abi = reply.sandbox().landlock_abi(),
                      .seccomp = reply.sandbox().seccomp(),
                      .address_space_limit_bytes = reply.sandbox().address_space_limit_bytes()};
  }
  if (reply.has_failure()) {
    return wire::StatusFromParts(reply.failure().code(), reply.failure().message(),
                                 reply.failure().detail().SerializeAsString());
  }
  return CheckOutputs(checkpoint, reply, *std::move(outputs));
}

std::optional<ParserSandbox> ParserRunner::last_sandbox() const {
  const wire::MutexLock lock(mutex_);
  return last_sandbox_;
}

}  // namespace modeld::supervisor
