// What a hostile peer writes ends as frames within the limits or as an error, and leaves no
// descriptor open.
//
// The input is a script: a byte for the number of descriptors (mod 8), a byte for the number of
// bytes, those bytes.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "wire/framed_socket.h"

namespace {

using modeld::wire::FramedSocket;

constexpr size_t kMaxPayloadBytes = 4096;

void Require(bool ok) {
  if (!ok) abort();
}

// The lowest free descriptor: what is open below it does not change unless something leaks.
int LowestFreeFd() {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  Require(fd >= 0);
  close(fd);
  return fd;
}

bool SendRaw(int socket, std::span<const uint8_t> bytes, size_t fd_count) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(8 * sizeof(int))];
  } control = {};
  struct iovec part = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
    static const int kPassed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < fd_count; ++i) {
      memcpy(CMSG_DATA(rights) + i * sizeof(int), &kPassed, sizeof(kPassed));
    }
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

// Returns false once the stream has failed.
bool Drain(FramedSocket& socket) {
  for (;;) {
    auto frame = socket.TryReceive();
    if (!frame.ok()) {
      Require(!socket.TryReceive().ok());
      return false;
    }
    if (!*frame) return true;
    Require((*frame)->payload.size() <= kMaxPayloadBytes);
    Require((*frame)->fds.size() <= modeld::wire::kMaxFdsPerFrame);
    for (const auto& fd : (*frame)->fds) Require((fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

void Run(std::span<const uint8_t> script) {
  auto pair = modeld::wire::UnixPair();
  Require(pair.ok());
  const modeld::wire::UniqueFd peer = std::move(pair->first);
  FramedSocket socket(std::move(pair->second), kMaxPayloadBytes);
  while (script.size() > 2) {
    const size_t fd_count = script[0] % 8;
    const size_t bytes = std::min<size_t>(std::max<size_t>(script[1], 1), script.size() - 2);
    if (!SendRaw(peer.get(), script.subspan(2, bytes), fd_count)) return;
    script = script.subspan(2 + bytes);
    if (!Drain(socket)) return;
  }
  shutdown(peer.get(), SHUT_WR);
  const bool at_end = !Drain(socket);
  Require(at_end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int before = LowestFreeFd();
  Run({data, size});
  Require(LowestFreeFd() == before);
  return 0;
}
