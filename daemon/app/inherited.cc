#include "app/inherited.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <optional>
#include <string>
#include <utility>

#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

// Where a Unix stream socket listens; nullopt for whatever else a descriptor is.
std::optional<std::string> ListensAt(int fd) {
  if (::sd_is_socket(fd, AF_UNIX, SOCK_STREAM, /*listening=*/1) <= 0) return std::nullopt;
  sockaddr_un address = {};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return std::nullopt;
  return std::string(address.sun_path);
}

}  // namespace

Inherited TakeInherited() {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  Inherited inherited;
  for (int i = 0; i < count; ++i) {
    wire::UniqueFd fd(SD_LISTEN_FDS_START + i);
    if (auto path = ListensAt(fd.get())) {
      inherited.sockets.push_back({.path = *std::move(path), .fd = std::move(fd)});
      continue;
    }
    supervisor::NamedFd& stored = inherited.stored.emplace_back();
    stored.fd = std::move(fd);
    if (names != nullptr && names[i] != nullptr) stored.name = names[i];
  }
  if (names != nullptr) {
    for (char** name = names; *name != nullptr; ++name) ::free(*name);
    ::free(names);
  }
  return inherited;
}

}  // namespace modeld::app
