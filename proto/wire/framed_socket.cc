#include "wire/framed_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <limits>

#include "wire/error.h"
#include "wire/text.h"

namespace modeld::wire {
namespace {

struct Header {
  uint32_t magic;
  uint32_t payload_bytes;
  uint32_t fd_count;
  uint32_t reserved;  // zero
};

constexpr uint32_t kMagic = 0x3146646d;  // "mdF1"
constexpr size_t kFirstPayloadStep = 64 << 10;

// Room for the descriptors of one message, aligned as the kernel's headers in it must be.
union Control {
  struct cmsghdr align;
  char bytes[CMSG_SPACE(kMaxFdsPerFrame * sizeof(int))];
};

absl::Status ReceiveFailed(int error) {
  const std::string text = StrCat("cannot receive: ", ErrnoText(error));
  switch (error) {
    case ECONNRESET:
    case ENOTCONN:
      return absl::UnavailableError(text);
    case ENOMEM:
    case ENOBUFS:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::Status SendFailed(int error) {
  switch (error) {
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return absl::UnavailableError("the peer has closed the connection");
    case ETOOMANYREFS:
      return absl::ResourceExhaustedError(
          "cannot send: too many descriptors are on their way to processes that do not take them");
    case ENOMEM:
    case ENOBUFS:
      return absl::ResourceExhaustedError(StrCat("cannot send: ", ErrnoText(error)));
    default:
      return absl::InternalError(StrCat("cannot send: ", ErrnoText(error)));
  }
}

// Returns false when interrupted.
bool WaitFor(int fd, short events) {
  struct pollfd entry = {.fd = fd, .events = events, .revents = 0};
  return poll(&entry, 1, -1) > 0;
}

// Takes every descriptor that came, also those that are not wanted: else they stay open.
void CollectFds(const struct msghdr& message, std::vector<UniqueFd>& fds) {
  auto* mutable_message = const_cast<struct msghdr*>(&message);
  for (struct cmsghdr* header = CMSG_FIRSTHDR(mutable_message); header != nullptr;
       header = CMSG_NXTHDR(mutable_message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

FramedSocket::FramedSocket(UniqueFd fd, size_t max_payload_bytes)
    : fd_(std::move(fd)), max_payload_bytes_(max_payload_bytes) {}

absl::Status FramedSocket::Send(std::string_view payload, std::span<const int> fds) {
  return SendAll(payload, fds, /*wait=*/true);
}

absl::Status FramedSocket::TrySend(std::string_view payload, std::span<const int> fds) {
  return SendAll(payload, fds, /*wait=*/false);
}

absl::Status FramedSocket::SendAll(std::string_view payload, std::span<const int> fds, bool wait) {
  if (!fd_.valid()) return absl::UnavailableError("the connection is closed");
  if (fds.size() > kMaxFdsPerFrame) {
    return absl::InvalidArgumentError(
        StrCat(fds.size(), " descriptors, a frame carries ", kMaxFdsPerFrame));
  }
  if (payload.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(StrCat("a payload of ", payload.size(), " bytes"));
  }
  if (send_broken_) return absl::UnavailableError("the connection broke off within a frame");

  const Header header = {.magic = kMagic,
                         .payload_bytes = static_cast<uint32_t>(payload.size()),
                         .fd_count = static_cast<uint32_t>(fds.size()),
                         .reserved = 0};
  std::string_view header_left(reinterpret_cast<const char*>(&header), sizeof(header));
  std::string_view payload_left = payload;
  Control control = {};
  while (!header_left.empty() || !payload_left.empty()) {
    struct iovec parts[2] = {
        {const_cast<char*>(header_left.data()), header_left.size()},
        {const_cast<char*>(payload_left.data()), payload_left.size()},
    };
    struct msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (!fds.empty() && header_left.size() == sizeof(header)) {
      message.msg_control = control.bytes;
      message.msg_controllen = CMSG_SPACE(fds.size_bytes());
      struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(fds.size_bytes());
      memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = sendmsg(fd_.get(), &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN && wait) {
        WaitFor(fd_.get(), POLLOUT);
        continue;
      }
      send_broken_ = header_left.size() + payload_left.size() < sizeof(header) + payload.size();
      if (error == EAGAIN) return absl::ResourceExhaustedError("the peer does not read");
      return SendFailed(error);
    }
    const size_t of_header = std::min(static_cast<size_t>(sent), header_left.size());
    header_left.remove_prefix(of_header);
    payload_left.remove_prefix(static_cast<size_t>(sent) - of_header);
  }
  return absl::OkStatus();
}

absl::StatusOr<Frame> FramedSocket::Receive() {
  for (;;) {
    auto frame = ReceiveSome(/*wait=*/true);
    if (!frame.ok()) return frame.status();
    if (*frame) return std::move(**frame);
  }
}

absl::StatusOr<std::optional<Frame>> FramedSocket::TryReceive() {
  return ReceiveSome(/*wait=*/false);
}

absl::StatusOr<std::optional<Frame>> FramedSocket::ReceiveSome(bool wait) {
  if (!fd_.valid()) return absl::UnavailableError("the connection is closed");
  if (!receive_error_.ok()) return receive_error_;
  for (;;) {
    const auto more = ReceiveBytes(wait);
    if (!more.ok()) {
      // What follows cannot be told apart from garbage.
      receive_error_ = more.status();
      arriving_ = {};
      return receive_error_;
    }
    if (!*more) return std::optional<Frame>();
    if (received_bytes_ == kHeaderBytes + payload_bytes_) {
      received_bytes_ = 0;
      return std::optional<Frame>(std::exchange(arriving_, {}));
    }
  }
}

absl::StatusOr<bool> FramedSocket::ReceiveBytes(bool wait) {
  const bool in_header = received_bytes_ < kHeaderBytes;
  struct iovec part;
  if (in_header) {
    part = {header_ + received_bytes_, kHeaderBytes - received_bytes_};
  } else {
    // Grows with what has come, not with what the peer announces.
    const size_t have = received_bytes_ - kHeaderBytes;
    if (have == arriving_.payload.size()) {
      arriving_.payload.resize(
          std::min<size_t>(payload_bytes_, std::max(kFirstPayloadStep, 2 * have)));
    }
    part = {arriving_.payload.data() + have, arriving_.payload.size() - have};
  }
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control;
  // Descriptors belong to a frame's first byte. Elsewhere the kernel drops them for want of room
  // and says so.
  if (received_bytes_ == 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
  }
  const ssize_t received =
      recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  if (received < 0) {
    const int error = errno;
    if (error == EINTR) return true;
    if (error != EAGAIN) return ReceiveFailed(error);
    if (!wait) return false;
    WaitFor(fd_.get(), POLLIN);
    return true;
  }
  if (received_bytes_ == 0) CollectFds(message, arriving_.fds);
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return absl::DataLossError(
        in_header && received_bytes_ == 0
            ? "descriptors were lost: this process may not open that many files (RLIMIT_NOFILE)"
            : "descriptors came in the middle of a frame");
  }
  if (received == 0) {
    return absl::UnavailableError(received_bytes_ == 0
                                      ? "the peer has closed the connection"
                                      : "the peer has closed the connection within a frame");
  }
  received_bytes_ += static_cast<size_t>(received);
  if (in_header && received_bytes_ == kHeaderBytes) {
    if (auto status = TakeHeader(); !status.ok()) return status;
  }
  return true;
}

absl::Status FramedSocket::TakeHeader() {
  Header header;
  static_assert(sizeof(header) == kHeaderBytes);
  memcpy(&header, header_, sizeof(header));
  if (header.magic != kMagic || header.reserved != 0) {
    return absl::DataLossError("what arrives is no frame");
  }
  if (header.payload_bytes > max_payload_bytes_) {
    return absl::DataLossError(
        StrCat("a frame of ", header.payload_bytes, " bytes, the limit is ", max_payload_bytes_));
  }
  if (header.fd_count != arriving_.fds.size()) {
    return absl::DataLossError(StrCat("a frame announces ", header.fd_count,
                                      " descriptors and carries ", arriving_.fds.size()));
  }
  payload_bytes_ = header.payload_bytes;
  return absl::OkStatus();
}

void FramedSocket::Shutdown() {
  if (fd_.valid()) shutdown(fd_.get(), SHUT_RDWR);
}

}  // namespace modeld::wire
