#include "attach_channel.h"

#include <errno.h>
#include <poll.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "fork_guard.h"
#include "modeld/v1/attach.pb.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kSessionBytes = 16;
// modeld's answers are a few dozen bytes; a refusal has words.
constexpr size_t kMaxPayloadBytes = 64 << 10;

int PollMillis(const Deadline& deadline) {
  if (!deadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, std::numeric_limits<int>::max()));
}

// One frame; nothing when the deadline passes first.
absl::StatusOr<std::optional<wire::Frame>> ReceiveFrame(wire::FramedSocket& socket,
                                                        const Deadline& deadline) {
  for (;;) {
    auto frame = socket.TryReceive();
    if (!frame.ok() || frame->has_value()) return frame;
    struct pollfd entry = {.fd = socket.fd(), .events = POLLIN, .revents = 0};
    const int ready = poll(&entry, 1, PollMillis(deadline));
    if (ready == 0 && HasPassed(deadline)) return std::optional<wire::Frame>();
    if (ready < 0 && errno != EINTR) {
      return absl::InternalError(wire::StrCat("cannot poll: ", wire::ErrnoText(errno)));
    }
  }
}

absl::Status Refusal(const v1::Refused& refused) {
  absl::Status status = wire::StatusFromParts(refused.code(), refused.message(),
                                              refused.detail().SerializeAsString());
  return status.ok() ? ProtocolViolation("a refusal without an error") : status;
}

absl::Status Unreachable(const Endpoint& endpoint, std::string_view why) {
  return ClientError(absl::StatusCode::kUnavailable, kDaemonUnreachable,
                     wire::StrCat("modeld at ", endpoint.calls_path, " ", why),
                     "see `modelctl health`", {{"endpoint", endpoint.text()}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<AttachChannel>> AttachChannel::Introduce(const Endpoint& endpoint,
                                                                        wire::UniqueFd fd,
                                                                        Deadline deadline,
                                                                        bool* refused) {
  wire::FramedSocket socket(std::move(fd), kMaxPayloadBytes);
  const auto frame = ReceiveFrame(socket, deadline);
  // modeld refuses in words; without any it has ended between accepting and answering.
  if (absl::IsUnavailable(frame.status())) {
    return Unreachable(endpoint, "closed the connection at once: it has ended, or is stopping");
  }
  if (absl::IsDataLoss(frame.status())) {
    return ProtocolViolation(wire::StrCat(endpoint.attach_path, ": ", frame.status().message()));
  }
  if (!frame.ok()) return frame.status();
  if (!frame->has_value()) return Unreachable(endpoint, "does not answer: is it stopped?");

  v1::AttachServerMessage message;
  if (!(*frame)->fds.empty() || !message.ParseFromString((*frame)->payload)) {
    return ProtocolViolation(wire::StrCat(endpoint.attach_path, ": the first message is garbage"));
  }
  if (message.has_refused()) {
    *refused = true;
    return Refusal(message.refused());
  }
  if (!message.has_welcome() || message.welcome().session_id().size() != kSessionBytes) {
    return ProtocolViolation(
        wire::StrCat(endpoint.attach_path, ": the first message is no welcome"));
  }
  if (message.welcome().protocol_version() != kProtocolVersion) {
    return ClientError(
        absl::StatusCode::kFailedPrecondition, kProtocolViolation,
        wire::StrCat("modeld ", message.welcome().server_version(), " at ", endpoint.calls_path,
                     " speaks protocol ", message.welcome().protocol_version(),
                     ", this libmodeld speaks ", kProtocolVersion),
        "install the same release of both");
  }
  return std::unique_ptr<AttachChannel>(
      new AttachChannel(std::move(socket), message.welcome().session_id()));
}

AttachChannel::AttachChannel(wire::FramedSocket socket, std::string session_id)
    : session_id_(std::move(session_id)),
      fork_generation_(ForkGeneration()),
      socket_(std::move(socket)) {}

AttachChannel::~AttachChannel() {
  // In a forked child the descriptor has been closed, and its number may be another's by now.
  if (ForkGeneration() != fork_generation_) {
    (void)socket_.Release().release();
    return;
  }
  // A fork copies descriptors first and memory later: a child may get this socket and no guard of
  // it.
  socket_.Shutdown();
}

absl::StatusOr<uint64_t> AttachChannel::Ask(const std::string& lease_id) {
  uint64_t request;
  {
    wire::MutexLock lock(mutex_);
    if (!broken_.ok()) return broken_;
    request = ++last_request_;
    pending_.emplace(request, Pending{});
  }
  v1::AttachClientMessage message;
  message.mutable_get_lease_fds()->set_request_id(request);
  message.mutable_get_lease_fds()->set_lease_id(lease_id);
  absl::Status sent;
  {
    wire::MutexLock lock(send_mutex_);
    sent = socket_.TrySend(message.SerializeAsString());
  }
  if (sent.ok()) return request;
  wire::MutexLock lock(mutex_);
  pending_.erase(request);
  // Maybe in the middle of a frame: nothing can follow.
  Break(absl::UnavailableError(sent.message()));
  return broken_;
}

absl::StatusOr<std::vector<wire::UniqueFd>> AttachChannel::Answer(uint64_t request, size_t fd_count,
                                                                  Deadline deadline) {
  wire::MutexLock lock(mutex_);
  Pending& mine = pending_[request];
  absl::Status failure;
  while (!mine.done) {
    if (!broken_.ok()) {
      failure = broken_;
      break;
    }
    if (mine.fds.size() > fd_count) break;
    if (receiving_) {
      if (!deadline) {
        changed_.Wait(mutex_);
      } else if (!changed_.WaitUntil(mutex_, *deadline) && !mine.done) {
        failure = absl::DeadlineExceededError("modeld sent no descriptors in time");
        break;
      }
      continue;
    }
    receiving_ = true;
    mutex_.Unlock();
    auto frame = ReceiveUntil(deadline);
    mutex_.Lock();
    receiving_ = false;
    if (!frame.ok()) {
      Break(absl::IsUnavailable(frame.status())
                ? frame.status()
                : ProtocolViolation(wire::ToStd(frame.status().message())));
    } else if (frame->has_value()) {
      if (absl::Status taken = Take(*std::move(*frame)); !taken.ok()) Break(std::move(taken));
    } else {
      failure = absl::DeadlineExceededError("modeld sent no descriptors in time");
    }
    changed_.NotifyAll();
    if (!failure.ok()) break;
  }
  if (failure.ok()) failure = mine.refusal;
  std::vector<wire::UniqueFd> fds = std::move(mine.fds);
  pending_.erase(request);
  if (!failure.ok()) return failure;
  if (fds.size() != fd_count) {
    return ProtocolViolation(
        wire::StrCat("a lease of ", fd_count, " descriptors came with ", fds.size()));
  }
  return fds;
}

void AttachChannel::Abandon(uint64_t request) {
  wire::MutexLock lock(mutex_);
  pending_.erase(request);
}

// Ends the socket too: IsBroken sees it, and modeld the end of the session.
void AttachChannel::Break(absl::Status why) {
  if (broken_.ok()) broken_ = std::move(why);
  socket_.Shutdown();
  changed_.NotifyAll();
}

bool AttachChannel::IsBroken() const {
  struct pollfd entry = {.fd = socket_.fd(), .events = POLLRDHUP, .revents = 0};
  return poll(&entry, 1, 0) > 0 && entry.revents != 0;
}

absl::StatusOr<std::optional<wire::Frame>> AttachChannel::ReceiveUntil(Deadline deadline) {
  return ReceiveFrame(socket_, deadline);
}

absl::Status AttachChannel::Take(wire::Frame frame) {
  v1::AttachServerMessage message;
  if (!message.ParseFromString(frame.payload)) return ProtocolViolation("attach.sock: garbage");
  if (!message.has_lease_fds()) return ProtocolViolation("attach.sock: an answer to no question");
  const v1::LeaseFds& answer = message.lease_fds();
  if (answer.request_id() > last_request_ || answer.request_id() == 0) {
    return ProtocolViolation("attach.sock: an answer to no question");
  }
  if (answer.fd_count() != frame.fds.size()) {
    return ProtocolViolation(wire::StrCat("attach.sock: ", frame.fds.size(), " descriptors where ",
                                          answer.fd_count(), " were announced"));
  }
  const auto found = pending_.find(answer.request_id());
  if (found == pending_.end()) return absl::OkStatus();  // abandoned: the frame closes them
  Pending& pending = found->second;
  if (answer.has_refused()) {
    pending.refusal = Refusal(answer.refused());
    pending.done = true;
    return absl::OkStatus();
  }
  for (wire::UniqueFd& fd : frame.fds) pending.fds.push_back(std::move(fd));
  pending.done = !answer.more();
  return absl::OkStatus();
}

}  // namespace modeld::client
