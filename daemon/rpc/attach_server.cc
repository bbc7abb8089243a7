#include "rpc/attach_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "rpc/lease_fds.h"
#include "rpc/protocol.h"
#include "wire/text.h"

namespace modeld::rpc {
namespace {

constexpr size_t kMaxRequestBytes = 4096;
// Then others get their turn; what is left in the socket is reported again.
constexpr int kRequestsPerTurn = 16;
// Descriptors in flight are counted against the daemon, whoever does not read them: a small buffer
// means few.
constexpr int kSendBufferBytes = 16 << 10;
constexpr uint32_t kReadable = EPOLLIN | EPOLLRDHUP;

// Protobuf keeps what it does not know; here nothing unknown is expected.
std::optional<v1::GetLeaseFds> ParseRequest(const wire::Frame& frame) {
  v1::AttachClientMessage message;
  if (!frame.fds.empty() || !message.ParseFromString(frame.payload) ||
      !message.has_get_lease_fds()) {
    return std::nullopt;
  }
  return std::move(*message.mutable_get_lease_fds());
}

}  // namespace

absl::StatusOr<std::unique_ptr<AttachServer>> AttachServer::Start(residency::Manager& manager,
                                                                  SessionRegistry& sessions,
                                                                  const base::Clock& clock,
                                                                  std::string version) {
  absl::StatusOr<std::shared_ptr<EpollLoop>> loop = EpollLoop::Start("modeld-attach");
  if (!loop.ok()) return loop.status();
  return std::unique_ptr<AttachServer>(
      new AttachServer(manager, sessions, clock, std::move(version), *std::move(loop)));
}

AttachServer::~AttachServer() { Stop(); }

void AttachServer::Stop() {
  loop_->Stop();
  for (const auto& [number, connection] : connections_) sessions_.Close(*connection.session);
  connections_.clear();
}

void AttachServer::Admit(wire::UniqueFd fd, const wire::PeerCredentials& peer) {
  // A task must be copyable.
  auto shared = std::make_shared<wire::UniqueFd>(std::move(fd));
  loop_->Post([this, shared = std::move(shared), peer] { Open(std::move(*shared), peer); });
}

void AttachServer::Refuse(wire::UniqueFd fd, const absl::Status& why) {
  wire::FramedSocket socket(std::move(fd), kMaxRequestBytes);
  v1::AttachServerMessage message;
  *message.mutable_refused() = ToRefused(why);
  // Best effort: the peer finds the connection closed in any case.
  SendMessage(socket, message).IgnoreError();
}

void AttachServer::Open(wire::UniqueFd fd, const wire::PeerCredentials& peer) {
  const int raw_fd = fd.get();
  ::setsockopt(raw_fd, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof(kSendBufferBytes));
  absl::StatusOr<std::shared_ptr<const Session>> session = sessions_.Open(peer);
  if (!session.ok()) {
    Refuse(std::move(fd), session.status());
    return;
  }
  const uint64_t number = (*session)->number;
  Connection& connection = connections_[number];
  connection.session = *std::move(session);
  connection.socket = wire::FramedSocket(std::move(fd), kMaxRequestBytes);

  v1::AttachServerMessage message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_session_id(connection.session->id);
  welcome.set_protocol_version(kProtocolVersion);
  welcome.set_server_version(version_);
  absl::Status status = loop_->Watch(number, raw_fd, kReadable,
                                     [this, number](uint32_t events) { OnEvents(number, events); });
  if (status.ok()) status = SendMessage(connection.socket, message);
  if (!status.ok()) Close(number);
}

void AttachServer::Close(uint64_t number) {
  const auto found = connections_.find(number);
  loop_->Remove(number, found->second.socket.fd());
  sessions_.Close(*found->second.session);
  connections_.erase(found);
}

void AttachServer::OnEvents(uint64_t number, uint32_t events) {
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    Close(number);
    return;
  }
  ReadRequests(number);
}

void AttachServer::CloseAndLog(uint64_t number, std::string_view why) {
  const Session& session = *connections_.at(number).session;
  if (log_.Allows(session.uid)) {
    spdlog::warn("closed the attach connection of process {} ({}) of uid {}: {}", session.pid,
                 session.program, session.uid, why);
  }
  Close(number);
}

void AttachServer::ReadRequests(uint64_t number) {
  for (int i = 0; i < kRequestsPerTurn; ++i) {
    const auto found = connections_.find(number);
    if (found == connections_.end() || found->second.answering) return;
    absl::StatusOr<std::optional<wire::Frame>> frame = found->second.socket.TryReceive();
    if (absl::IsUnavailable(frame.status())) {
      Close(number);
      return;
    }
    if (!frame.ok()) {
      CloseAndLog(number, wire::ToStd(frame.status().message()));
      return;
    }
    if (!frame->has_value()) return;
    const std::optional<v1::GetLeaseFds> request = ParseRequest(**frame);
    if (!request) {
      CloseAndLog(number, "it sent something that is no request");
      return;
    }
    Ask(number, found->second, *request);
  }
}

void AttachServer::Ask(uint64_t number, Connection& connection, const v1::GetLeaseFds& request) {
  uint64_t lease_id = 0;
  // What is no number names no lease, and 0 is never given out.
  if (!absl::SimpleAtoi(request.lease_id(), &lease_id)) lease_id = 0;
  connection.answering = true;
  manager_.GetLeaseMemory(
      connection.session->number, lease_id,
      [this, loop = loop_, number, request](absl::StatusOr<residency::LeaseMemory> memory) {
        // The usual way: nobody else was on the manager's strand, and the answer goes out at once.
        if (loop->InLoopThread()) {
          Answer(number, request, memory);
          return;
        }
        loop->Post([this, number, request, memory = std::move(memory)] {
          Answer(number, request, memory);
          Listen(number, kReadable);
          ReadRequests(number);
        });
      });
  const auto found = connections_.find(number);
  if (found != connections_.end() && found->second.answering) Listen(number, 0);
}

void AttachServer::Answer(uint64_t number, const v1::GetLeaseFds& request,
                          const absl::StatusOr<residency::LeaseMemory>& memory) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) return;
  wire::FramedSocket& socket = found->second.socket;
  const absl::Status sent = memory.ok() ? SendLeaseFds(socket, request, *memory)
                                        : SendRefusal(socket, request, memory.status());
  if (absl::IsUnavailable(sent)) {
    Close(number);
  } else if (!sent.ok()) {
    CloseAndLog(number, wire::ToStd(sent.message()));
  } else {
    found->second.answering = false;
  }
}

void AttachServer::Listen(uint64_t number, uint32_t events) {
  const auto found = connections_.find(number);
  if (found != connections_.end()) loop_->Change(number, found->second.socket.fd(), events);
}

}  // namespace modeld::rpc
