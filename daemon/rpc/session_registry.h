// Who is behind a call: the sessions that attach connections opened.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"

namespace modeld::rpc {

inline constexpr size_t kSessionIdBytes = 16;

// One attach connection. Immutable.
struct Session {
  uint64_t number = 0;  // never used twice
  std::string id;       // kSessionIdBytes random bytes: a secret of this client
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string program;  // /proc/PID/comm
};

// Thread-safe. A session that was closed is not found any more; leases that were granted to it live
// on with their streams.
class SessionRegistry {
 public:
  explicit SessionRegistry(size_t max_sessions) : max_sessions_(max_sessions) {}

  // RESOURCE_EXHAUSTED when there are `max_sessions` already.
  absl::StatusOr<std::shared_ptr<const Session>> Open(const wire::PeerCredentials& peer);
  // Idempotent.
  void Close(const Session& session);

  // nullptr for anything that Open did not give out, or that was closed.
  std::shared_ptr<const Session> Find(std::string_view id) const;

  size_t size() const;

 private:
  // The keys are random, so any part of one is a hash; looking up with a string_view copies
  // nothing.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view id) const { return std::hash<std::string_view>()(id); }
  };

  const size_t max_sessions_;
  mutable wire::Mutex mutex_;
  uint64_t last_number_ MODELD_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, std::shared_ptr<const Session>, Hash, std::equal_to<>> sessions_
      MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::rpc
