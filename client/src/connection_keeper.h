// Keeps a connection to one modeld, and makes a new one when it breaks.

#pragma once

#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "wire/mutex.h"

namespace modeld::client {

// Thread-safe. Reconnects only while somebody waits for it: on one thread, at once, then with
// pauses of 1 to 250 ms.
class ConnectionKeeper : public std::enable_shared_from_this<ConnectionKeeper> {
 public:
  // Somebody who waits for a connection. Called from the keeper's thread; must not block.
  class User {
   public:
    virtual ~User() = default;
    // Ends the waiting.
    virtual void OnConnected(std::shared_ptr<Connection> connection) = 0;
    // modeld answers and says no. The waiting goes on unless it returns false.
    virtual bool OnRefused(const absl::Status& why) = 0;
  };

  explicit ConnectionKeeper(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

  const Endpoint& endpoint() const { return endpoint_; }

  // The connection there is, or one attempt to make one, on this thread.
  absl::StatusOr<std::shared_ptr<Connection>> Connect();
  // The connection there is; null while modeld is away.
  std::shared_ptr<Connection> current();

  enum class Because {
    kNoConnection,  // current() was null, or the connection broke
    kTurnedAway,    // the connection works, but modeld asks to come again later
  };
  // Has `user` called when there is a connection other than `broken` (null: any). Kept weakly.
  void Await(const std::shared_ptr<User>& user, Because why, const Connection* broken);
  void Forget(const User* user);

  // A message has come on it: should it break, reconnecting begins at once again.
  void Confirm(const Connection* connection);

  // Why the last attempt failed; OK if it did not.
  absl::Status last_failure();

 private:
  void Run();
  // The connection of a cycle, or nothing if this attempt failed.
  std::shared_ptr<Connection> Reconnect();
  void TellRefused(const absl::Status& why);

  const Endpoint endpoint_;
  wire::Mutex mutex_;
  std::shared_ptr<Connection> connection_ MODELD_GUARDED_BY(mutex_);
  std::map<const User*, std::weak_ptr<User>> users_ MODELD_GUARDED_BY(mutex_);
  bool running_ MODELD_GUARDED_BY(mutex_) = false;
  bool confirmed_ MODELD_GUARDED_BY(mutex_) = true;
  bool pause_ MODELD_GUARDED_BY(mutex_) = false;
  int pauses_ MODELD_GUARDED_BY(mutex_) = 0;  // since the last confirmation
  absl::Status last_failure_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::client
