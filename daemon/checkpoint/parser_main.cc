// modeld-parser: understands one checkpoint for modeld, and then ends.
//
// Descriptor 3 is a connection to modeld. It locks itself in before it receives anything: from then
// on a hostile file can cost this process and nothing else.

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "checkpoint/parse_service.h"
#include "checkpoint/sandbox.h"
#include "wire/framed_socket.h"

namespace {

constexpr int kConnection = 3;

int Fail(const absl::Status& status) {
  const std::string text(status.message());
  std::fprintf(stderr, "modeld-parser: %s\n", text.c_str());
  return 1;
}

int Run() {
  const auto sandbox = modeld::checkpoint::EnterSandbox({.last_fd = kConnection});
  if (!sandbox.ok()) return Fail(sandbox.status());
  modeld::wire::FramedSocket connection{modeld::wire::UniqueFd(kConnection)};
  auto frame = connection.Receive();
  if (!frame.ok()) return Fail(frame.status());
  modeld::v1::ParseRequest request;
  if (!request.ParseFromString(frame->payload)) {
    return Fail(absl::InvalidArgumentError("a request that is none"));
  }
  const auto reply = modeld::checkpoint::Serve(request, frame->fds, *sandbox);
  const auto sent = connection.Send(reply.SerializeAsString());
  return sent.ok() ? 0 : Fail(sent);
}

}  // namespace

int main() {
  struct stat connection = {};
  if (fstat(kConnection, &connection) != 0 || !S_ISSOCK(connection.st_mode)) {
    std::fputs("modeld-parser is started by modeld, with a connection as descriptor 3.\n", stderr);
    return 2;
  }
  // Nothing is left to flush or to free, and exit handlers of sanitizers would need what the
  // sandbox forbids.
  _exit(Run());
}
