#include "rpc/peer_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rpc/process_limits.h"
#include "wire/error.h"

namespace modeld::rpc {
namespace {

constexpr int kRestMilliseconds = 100;
// Between two looks at whether to stop.
constexpr int kBatch = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<PeerListener>> PeerListener::Start(
    base::UnixListener listener, PeerPolicy policy, uint64_t kept_fds, const base::Clock& clock,
    Handler admitted, Refusal refused) {
  wire::UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return absl::ErrnoToStatus(errno, "cannot create an eventfd");
  std::unique_ptr<PeerListener> result(new PeerListener(std::move(listener), std::move(policy),
                                                        kept_fds, clock, std::move(admitted),
                                                        std::move(refused), std::move(wake)));
  result->thread_ = std::thread([listener = result.get()] { listener->Run(); });
  return result;
}

PeerListener::PeerListener(base::UnixListener listener, PeerPolicy policy, uint64_t kept_fds,
                           const base::Clock& clock, Handler admitted, Refusal refused,
                           wire::UniqueFd wake)
    : listener_(std::move(listener)),
      admitted_(std::move(admitted)),
      refused_(std::move(refused)),
      kept_fds_(kept_fds),
      wake_(std::move(wake)),
      refusal_log_(clock),
      error_log_(clock),
      policy_(std::move(policy)) {}

PeerListener::~PeerListener() { Stop(); }

void PeerListener::SetPolicy(PeerPolicy policy) {
  wire::MutexLock lock(mutex_);
  policy_ = std::move(policy);
}

PeerPolicy PeerListener::policy() const {
  wire::MutexLock lock(mutex_);
  return policy_;
}

void PeerListener::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  // An eventfd takes far more than one before it would block.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  thread_.join();
  listener_.TurnAway();
}

void PeerListener::Run() {
  bool resting = false;
  while (true) {
    pollfd polled[] = {{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                       {.fd = resting ? -1 : listener_.fd(), .events = POLLIN, .revents = 0}};
    const int ready = ::poll(polled, std::size(polled), resting ? kRestMilliseconds : -1);
    if (ready < 0 && errno != EINTR) {
      // Nothing but a shortage of kernel memory is left here.
      resting = true;
      continue;
    }
    if (polled[0].revents != 0) return;
    resting = false;
    if (polled[1].revents != 0) resting = !AcceptSome();
  }
}

bool PeerListener::AcceptSome() {
  for (int i = 0; i < kBatch; ++i) {
    absl::StatusOr<std::optional<wire::UniqueFd>> connection = listener_.Accept();
    if (!connection.ok()) {
      if (error_log_.Allows(0)) {
        spdlog::warn("{}; resting", std::string(connection.status().message()));
      }
      return false;
    }
    if (!connection->has_value()) return true;
    Serve(**std::move(connection));
  }
  return true;
}

void PeerListener::Serve(wire::UniqueFd connection) {
  const int flags = ::fcntl(connection.get(), F_GETFL);
  if (flags < 0 || ::fcntl(connection.get(), F_SETFL, flags | O_NONBLOCK) != 0) return;
  const absl::StatusOr<wire::PeerCredentials> peer = wire::GetPeerCredentials(connection.get());
  if (!peer.ok()) return;
  const absl::Status admitted = Check(connection.get(), *peer);
  if (admitted.ok()) {
    admitted_(std::move(connection), *peer);
    return;
  }
  if (refusal_log_.Allows(peer->uid)) {
    spdlog::warn("refused process {} of uid {} gid {} on {}: {}", peer->pid, peer->uid, peer->gid,
                 listener_.path(), std::string(admitted.message()));
  }
  if (refused_) refused_(std::move(connection), admitted);
}

absl::Status PeerListener::Check(int connection, const wire::PeerCredentials& peer) const {
  const PeerPolicy policy = this->policy();
  const std::vector<gid_t> groups =
      policy.allow_gids.empty() ? std::vector<gid_t>() : PeerGroups(connection);
  if (!policy.Admits(peer, groups)) {
    return wire::MakeError(
        wire::Reason::kPeerNotAllowed, absl::StrCat("uid ", peer.uid, " may not use this modeld"),
        {{"uid", absl::StrCat(peer.uid)}, {"gid", absl::StrCat(peer.gid)}},
        "ask its operator to add the uid or a group to allow_uids or allow_gids");
  }
  // The kernel gives the lowest number that is free: so many are open at least.
  const auto open = static_cast<uint64_t>(connection);
  const uint64_t limit = FdLimit();
  const uint64_t kept = std::min(kept_fds_, limit / 4);
  if (open + kept < limit) return absl::OkStatus();
  return wire::MakeError(
      wire::Reason::kLimitReached,
      absl::StrCat("modeld may have ", limit,
                   " files open, and the few that are left are not for connections"),
      {{"limit", absl::StrCat(limit)}},
      "connect again when others have left, or raise LimitNOFILE of modeld");
}

}  // namespace modeld::rpc
