#include "modelctl/attach.h"

#include <errno.h>
#include <poll.h>

#include <algorithm>

#include "modelctl/environment.h"
#include "modelctl/error.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

// modeld's answers are a few bytes; the descriptors travel beside them.
constexpr size_t kMaxAnswerBytes = 64 << 10;

absl::Status FromRefused(const v1::Refused& refused) {
  return wire::StatusFromParts(refused.code(), refused.message(),
                               refused.detail().SerializeAsString());
}

absl::Status Nonsense(std::string_view what) {
  return ErrorWithHint(absl::StatusCode::kDataLoss,
                       wire::StrCat("modeld answered nonsense on attach.sock: ", what),
                       "compare the versions: modelctl version");
}

// A frame from a non-waiting socket. `interrupt` may be null.
absl::StatusOr<wire::Frame> ReceiveFrame(wire::FramedSocket& socket, const Interrupt* interrupt,
                                         Deadline deadline) {
  while (true) {
    auto frame = socket.TryReceive();
    if (!frame.ok()) return frame.status();
    if (frame->has_value()) return *std::move(*frame);
    if (interrupt != nullptr && interrupt->raised()) return interrupt->Check();

    int wait_ms = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(
          *deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) {
        return ErrorWithHint(absl::StatusCode::kDeadlineExceeded,
                             "no answer from modeld on attach.sock",
                             "allow more time: --timeout 5m");
      }
      wait_ms = static_cast<int>(std::min<int64_t>(left.count(), 1 << 30));
    }
    struct pollfd wait[2] = {
        {.fd = socket.fd(), .events = POLLIN, .revents = 0},
        {.fd = interrupt != nullptr ? interrupt->fd() : -1, .events = POLLIN, .revents = 0}};
    if (poll(wait, 2, wait_ms) < 0 && errno != EINTR) {
      return absl::InternalError(
          wire::StrCat("cannot wait for attach.sock: ", wire::ErrnoText(errno)));
    }
  }
}

}  // namespace

absl::StatusOr<v1::AttachServerMessage> AttachSession::Receive(Deadline deadline,
                                                               std::vector<wire::UniqueFd>* fds) {
  auto frame = ReceiveFrame(socket_, &interrupt_, deadline);
  if (!frame.ok()) return frame.status();
  v1::AttachServerMessage message;
  if (!message.ParseFromString(frame->payload)) return Nonsense("a message that does not parse");
  if (message.has_refused()) return FromRefused(message.refused());
  *fds = std::move(frame->fds);
  return message;
}

absl::StatusOr<std::unique_ptr<AttachSession>> AttachSession::Open(const std::string& path,
                                                                   Interrupt& interrupt,
                                                                   Deadline deadline) {
  auto fd = ConnectToDaemon(path);
  if (!fd.ok()) return fd.status();
  std::unique_ptr<AttachSession> session(
      new AttachSession(wire::FramedSocket(*std::move(fd), kMaxAnswerBytes), interrupt));
  std::vector<wire::UniqueFd> fds;
  const auto message = session->Receive(deadline, &fds);
  if (!message.ok()) return message.status();
  if (!message->has_welcome()) return Nonsense("it did not begin with a welcome");
  session->session_id_ = message->welcome().session_id();
  return session;
}

absl::StatusOr<LeaseDescriptors> AttachSession::GetDescriptors(const std::string& lease_id,
                                                               bool has_reference_table,
                                                               bool want_digests,
                                                               Deadline deadline) {
  v1::AttachClientMessage ask;
  v1::GetLeaseFds& request = *ask.mutable_get_lease_fds();
  request.set_request_id(++last_request_);
  request.set_lease_id(lease_id);
  request.set_want_digests(want_digests);
  if (const absl::Status sent = socket_.Send(ask.SerializeAsString()); !sent.ok()) return sent;

  std::vector<wire::UniqueFd> all;
  bool has_digests = false;
  for (bool more = true; more;) {
    std::vector<wire::UniqueFd> fds;
    const auto message = Receive(deadline, &fds);
    if (!message.ok()) return message.status();
    const v1::LeaseFds& answer = message->lease_fds();
    if (!message->has_lease_fds() || answer.request_id() != request.request_id()) {
      return Nonsense("an answer to what was not asked");
    }
    if (answer.has_refused()) return FromRefused(answer.refused());
    if (answer.fd_count() != fds.size()) return Nonsense("descriptors are missing");
    std::move(fds.begin(), fds.end(), std::back_inserter(all));
    has_digests = answer.has_digests();
    more = answer.more();
  }
  const size_t least = 1 + (has_digests ? 1 : 0) + (has_reference_table ? 1 : 0);
  if (all.size() < least) return Nonsense("a lease without its tables");

  LeaseDescriptors descriptors;
  if (has_digests) {
    descriptors.digests = std::move(all.back());
    all.pop_back();
  }
  auto next = all.begin();
  descriptors.table = std::move(*next++);
  if (has_reference_table) descriptors.reference_table = std::move(*next++);
  std::move(next, all.end(), std::back_inserter(descriptors.segments));
  return descriptors;
}

absl::Status WhyRefused(const Endpoint& endpoint) {
  constexpr std::chrono::seconds kPatience{1};
  auto fd = wire::ConnectUnix(endpoint.attach, kPatience);
  if (!fd.ok()) return absl::OkStatus();
  wire::FramedSocket socket(*std::move(fd), kMaxAnswerBytes);
  const auto frame = ReceiveFrame(socket, nullptr, std::chrono::steady_clock::now() + kPatience);
  v1::AttachServerMessage message;
  if (!frame.ok() || !message.ParseFromString(frame->payload) || !message.has_refused())
    return absl::OkStatus();
  return WithHint(FromRefused(message.refused()),
                  "ask for a place in allow_uids or allow_gids of modeld's config");
}

}  // namespace modeld::modelctl
