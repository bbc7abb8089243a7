// Messages with file descriptors over a Unix stream socket.
//
// A frame is a 16-byte header (magic, payload length, descriptor count, little-endian u32 each, one
// reserved) followed by the payload; the descriptors travel with the header's first byte.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::wire {

// The kernel's limit for one SCM_RIGHTS message (SCM_MAX_FD).
inline constexpr size_t kMaxFdsPerFrame = 253;

struct Frame {
  std::string payload;
  std::vector<UniqueFd> fds;  // CLOEXEC
};

// One end of a connection. One thread may send while another receives; two senders or two receivers
// must be synchronised by the caller. Works on blocking and on non-blocking sockets.
class FramedSocket {
 public:
  FramedSocket() = default;
  // `max_payload_bytes` bounds what a peer can make this end allocate.
  explicit FramedSocket(UniqueFd fd, size_t max_payload_bytes = 64 << 20);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }

  // Sends all of it, waiting as long as the socket takes (never raises SIGPIPE). UNAVAILABLE when
  // the peer is gone, INVALID_ARGUMENT for more than kMaxFdsPerFrame descriptors.
  absl::Status Send(std::string_view payload, std::span<const int> fds = {});

  // Sends all of it or nothing but an error: RESOURCE_EXHAUSTED when the peer does not read (the
  // connection is then in the middle of a frame and must be closed). Never waits.
  absl::Status TrySend(std::string_view payload, std::span<const int> fds = {});

  // Waits for a whole frame. UNAVAILABLE at the end of the stream; DATA_LOSS for garbage, for a
  // payload over the limit and for descriptors that the kernel dropped (MSG_CTRUNC).
  absl::StatusOr<Frame> Receive();

  // What has arrived; nullopt while the frame is not complete. Never waits. Errors as in Receive.
  absl::StatusOr<std::optional<Frame>> TryReceive();

  // Ends both directions; a thread in Receive wakes with UNAVAILABLE. Thread-safe.
  void Shutdown();

  // Gives up the descriptor.
  UniqueFd Release() { return std::move(fd_); }

 private:
  static constexpr size_t kHeaderBytes = 16;

  absl::Status SendAll(std::string_view payload, std::span<const int> fds, bool wait);
  absl::StatusOr<std::optional<Frame>> ReceiveSome(bool wait);
  // One read of what is missing: false if nothing is there.
  absl::StatusOr<bool> ReceiveBytes(bool wait);
  absl::Status TakeHeader();

  UniqueFd fd_;
  size_t max_payload_bytes_ = 0;
  bool send_broken_ = false;    // in the middle of a frame
  absl::Status receive_error_;  // stays: what follows a broken frame means nothing
  // The frame that is arriving.
  std::byte header_[kHeaderBytes] = {};
  size_t received_bytes_ = 0;  // of header and payload
  size_t payload_bytes_ = 0;   // once the header is there
  Frame arriving_;
};

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

// SO_PEERCRED: who connected, as the kernel saw it then.
absl::StatusOr<PeerCredentials> GetPeerCredentials(int fd);

// Connects to a Unix stream socket; CLOEXEC. The message names the path. UNAVAILABLE when nobody
// listens, the path is not there or a full backlog does not move for `timeout` (absent: waits),
// PERMISSION_DENIED, INVALID_ARGUMENT for a path over 107 bytes.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path,
                                     std::optional<std::chrono::milliseconds> timeout = {});

// A connected pair, CLOEXEC.
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> UnixPair();

}  // namespace modeld::wire
