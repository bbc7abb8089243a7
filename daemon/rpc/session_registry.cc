#include "rpc/session_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/unique_fd.h"
#include "wire/utf8.h"

namespace modeld::rpc {
namespace {

// Empty when the process is gone already, or when /proc does not show it (hidepid). A process names
// itself, so what is not printable is replaced: this ends up on terminals.
std::string ReadProgram(pid_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/comm");
  const wire::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[64];
  ssize_t size = file.valid() ? ::read(file.get(), text, sizeof(text)) : 0;
  if (size > 0 && text[size - 1] == '\n') --size;
  std::string program(text, size > 0 ? static_cast<size_t>(size) : 0);
  for (char& c : program) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return wire::ToUtf8(program);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Session>> SessionRegistry::Open(
    const wire::PeerCredentials& peer) {
  auto session = std::make_shared<Session>();
  session->id.resize(kSessionIdBytes);
  if (::getentropy(session->id.data(), session->id.size()) != 0) {
    return absl::ErrnoToStatus(errno, "cannot draw a session id");
  }
  session->pid = peer.pid;
  session->uid = peer.uid;
  session->gid = peer.gid;
  session->program = ReadProgram(peer.pid);

  wire::MutexLock lock(mutex_);
  if (sessions_.size() >= max_sessions_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("modeld serves ", sessions_.size(),
                     " processes already, which is its limit (max_sessions)"));
  }
  session->number = ++last_number_;
  sessions_.emplace(session->id, session);
  return session;
}

void SessionRegistry::Close(const Session& session) {
  wire::MutexLock lock(mutex_);
  sessions_.erase(session.id);
}

std::shared_ptr<const Session> SessionRegistry::Find(std::string_view id) const {
  wire::MutexLock lock(mutex_);
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second;
}

size_t SessionRegistry::size() const {
  wire::MutexLock lock(mutex_);
  return sessions_.size();
}

}  // namespace modeld::rpc
