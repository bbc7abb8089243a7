#include "modelctl/environment.h"

#include <grpcpp/create_channel_posix.h>
#include <unistd.h>

#include "modelctl/attach.h"
#include "modelctl/duration.h"
#include "modelctl/error.h"
#include "modelctl/terminal.h"
#include "modeld/v1/attach.pb.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

// A daemon whose backlog is full for as long as this does not accept any more.
constexpr std::chrono::seconds kConnectTimeout{10};

std::string RuntimeDirOf(const std::string& path) {
  return Endpoint{.modeld = path, .admin = "", .attach = ""}.directory();
}

}  // namespace

absl::StatusOr<wire::UniqueFd> ConnectToDaemon(const std::string& path) {
  auto fd = wire::ConnectUnix(path, kConnectTimeout);
  if (fd.ok()) return fd;
  const std::string message = wire::StrCat("no modeld: ", wire::ToStd(fd.status().message()));
  switch (fd.status().code()) {
    case absl::StatusCode::kUnavailable:
      return ErrorWithHint(absl::StatusCode::kUnavailable, message,
                           wire::StrCat("start one with: modeld --runtime-dir ", RuntimeDirOf(path),
                                        ", or name another with -H"));
    case absl::StatusCode::kPermissionDenied:
      return ErrorWithHint(fd.status().code(), wire::ToStd(fd.status().message()),
                           path.ends_with("/admin.sock")
                               ? "operator verbs are for the user that runs modeld: try it as that "
                                 "user, or with sudo"
                               : "ask for a place in allow_uids or allow_gids of modeld's config");
    default:
      return WithHint(fd.status(), "name another with -H unix:///PATH/modeld.sock");
  }
}

std::unique_ptr<Printer> Environment::MakePrinter() const {
  const Terminal terminal = LookAt(STDOUT_FILENO);
  return modelctl::MakePrinter(options_.format, {.now = std::chrono::system_clock::now(),
                                                 .terminal = terminal.is_terminal,
                                                 .width = terminal.width,
                                                 .colour = terminal.colour});
}

absl::Status Environment::Write(std::string_view text) const {
  return WriteAll(STDOUT_FILENO, text, "stdout");
}

void Environment::Say(std::string_view text) const {
  // There is nowhere left to say that stderr is gone.
  WriteAll(STDERR_FILENO, text, "stderr").IgnoreError();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> Environment::Connect(Socket socket) {
  std::shared_ptr<grpc::Channel>& channel = channels_[socket];
  if (channel != nullptr) return channel;
  const auto endpoint = GetEndpoint();
  if (!endpoint.ok()) return endpoint.status();
  auto fd = ConnectToDaemon(socket == Socket::kAdmin ? endpoint->admin : endpoint->modeld);
  if (!fd.ok()) return fd.status();
  channel = grpc::CreateInsecureChannelFromFd("modeld", fd->release());
  return channel;
}

absl::Status Environment::Explain(const grpc::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  if (interrupt_.raised()) return interrupt_.Check();
  const absl::Status error = FromGrpc(status);
  if (!wire::GetErrorInfo(error).reason_name.empty()) return error;

  const auto endpoint = GetEndpoint();
  if (error.code() == absl::StatusCode::kDeadlineExceeded) {
    return ErrorWithHint(error.code(),
                         wire::StrCat("no answer from modeld within ",
                                      DurationText(options_.timeout.value_or(kAnswerTimeout))),
                         "allow more time: --timeout 5m");
  }
  // A channel made from a descriptor ends a call with CANCELLED when its peer has died before it.
  const bool broken = error.code() == absl::StatusCode::kUnavailable ||
                      error.code() == absl::StatusCode::kCancelled;
  if (!broken || !endpoint.ok()) return error;
  // A peer that is not admitted is hung up on before gRPC hears of it; attach.sock says why.
  const absl::Status refused = WhyRefused(*endpoint);
  if (!refused.ok()) return refused;
  return ErrorWithHint(absl::StatusCode::kUnavailable,
                       wire::StrCat("the connection to modeld at ", endpoint->modeld,
                                    " broke: ", wire::ToStd(error.message())),
                       "see whether it runs: modelctl health");
}

}  // namespace modeld::modelctl
