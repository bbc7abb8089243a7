#include "connection_keeper.h"

#include <algorithm>

#include "background_threads.h"

namespace modeld::client {
namespace {

constexpr std::chrono::milliseconds kLongestPause{250};

Duration PauseAfter(int pauses) {
  return std::min(std::chrono::milliseconds(1) * (1 << std::min(pauses, 10)), kLongestPause);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Connection>> ConnectionKeeper::Connect() {
  if (auto connection = current()) return connection;
  bool refused = false;
  auto opened = Connection::Open(endpoint_, &refused);
  if (!opened.ok()) return opened;
  wire::MutexLock lock(mutex_);
  if (connection_ == nullptr || connection_->IsBroken()) {
    connection_.swap(*opened);
    confirmed_ = false;
  }
  return connection_;
}

std::shared_ptr<Connection> ConnectionKeeper::current() {
  std::shared_ptr<Connection> connection;
  {
    wire::MutexLock lock(mutex_);
    connection = connection_;
  }
  // Nobody notices that modeld has died as long as no call is open.
  if (connection != nullptr && connection->IsBroken()) return nullptr;
  return connection;
}

void ConnectionKeeper::Await(const std::shared_ptr<User>& user, Because why,
                             const Connection* broken) {
  std::shared_ptr<Connection> dropped;
  {
    wire::MutexLock lock(mutex_);
    users_[user.get()] = user;
    if (why == Because::kTurnedAway) pause_ = true;
    if (broken != nullptr && broken == connection_.get()) {
      // A connection that broke before anything came on it is as bad as none.
      pause_ = pause_ || !confirmed_;
      dropped = std::move(connection_);
      connection_ = nullptr;
    }
    if (running_) return;
    running_ = true;
  }
  if (background::Start([self = shared_from_this()] { self->Run(); })) return;
  {
    wire::MutexLock lock(mutex_);
    running_ = false;
  }
  TellRefused(absl::ResourceExhaustedError("cannot start a thread to connect to modeld again"));
}

void ConnectionKeeper::Forget(const User* user) {
  wire::MutexLock lock(mutex_);
  users_.erase(user);
}

void ConnectionKeeper::Confirm(const Connection* connection) {
  wire::MutexLock lock(mutex_);
  if (connection_.get() != connection) return;
  confirmed_ = true;
  pauses_ = 0;
}

absl::Status ConnectionKeeper::last_failure() {
  wire::MutexLock lock(mutex_);
  return last_failure_;
}

void ConnectionKeeper::Run() {
  for (;;) {
    Duration pause = Duration::zero();
    {
      wire::MutexLock lock(mutex_);
      std::erase_if(users_, [](const auto& user) { return user.second.expired(); });
      if (users_.empty()) {
        running_ = false;
        return;
      }
      if (pause_) pause = PauseAfter(pauses_++);
      pause_ = false;
    }
    if (pause > Duration::zero() && !background::Pause(pause)) return;

    const std::shared_ptr<Connection> connection = Reconnect();
    if (connection == nullptr) continue;
    std::map<const User*, std::weak_ptr<User>> users;
    {
      wire::MutexLock lock(mutex_);
      users.swap(users_);
    }
    for (const auto& [key, weak] : users) {
      if (const auto user = weak.lock()) user->OnConnected(connection);
    }
  }
}

std::shared_ptr<Connection> ConnectionKeeper::Reconnect() {
  if (auto connection = current()) return connection;
  bool refused = false;
  auto opened = Connection::Open(endpoint_, &refused);
  std::shared_ptr<Connection> replaced;
  {
    wire::MutexLock lock(mutex_);
    last_failure_ = opened.status();
    if (opened.ok()) {
      replaced = std::move(connection_);
      connection_ = *opened;
      confirmed_ = false;
      return *std::move(opened);
    }
    pause_ = true;
  }
  if (refused) TellRefused(opened.status());
  return nullptr;
}

void ConnectionKeeper::TellRefused(const absl::Status& why) {
  std::map<const User*, std::weak_ptr<User>> users;
  {
    wire::MutexLock lock(mutex_);
    users = users_;
  }
  for (const auto& [key, weak] : users) {
    const auto user = weak.lock();
    if (user != nullptr && !user->OnRefused(why)) Forget(key);
  }
}

}  // namespace modeld::client
