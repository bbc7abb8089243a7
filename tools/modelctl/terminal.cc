#include "modelctl/terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "modelctl/error.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

constexpr size_t kUsualWidth = 80;

bool IsSet(const char* name) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0';
}

}  // namespace

Terminal LookAt(int fd) {
  Terminal terminal;
  terminal.is_terminal = isatty(fd) == 1;
  if (!terminal.is_terminal) return terminal;
  struct winsize size = {};
  const bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  terminal.width = known ? size.ws_col : kUsualWidth;
  const char* term = getenv("TERM");
  terminal.colour = !IsSet("NO_COLOR") && term != nullptr && std::string_view(term) != "dumb";
  return terminal;
}

absl::Status WriteAll(int fd, std::string_view bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {  // somebody else's non-blocking pipe
      struct pollfd wait = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&wait, 1, -1);
      continue;
    }
    const int error = errno;
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return ErrorWithHint(
        absl::StatusCode::kUnknown,
        wire::StrCat("cannot write to ", name, ": ", wire::ErrnoText(error)),
        full ? "make room there, or write somewhere else" : "write somewhere else");
  }
  return absl::OkStatus();
}

}  // namespace modeld::modelctl
