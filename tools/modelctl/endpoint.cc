#include "modelctl/endpoint.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "modelctl/error.h"

namespace modeld::modelctl {
namespace {

std::string FromEnvironment(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

bool IsDirectory(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// As libmodeld looks: one's own daemon and the machine's, whichever is there; root asks for the
// machine's first.
absl::StatusOr<std::string> DefaultPath(const EndpointSources& sources) {
  const std::string system = "/run/modeld/modeld.sock";
  const std::string own = absl::StrCat(sources.xdg_runtime_dir, "/modeld/modeld.sock");
  const bool has_own = !sources.xdg_runtime_dir.empty();
  if (sources.root) return !Exists(system) && has_own && Exists(own) ? own : system;
  if (has_own) return !Exists(own) && Exists(system) ? system : own;
  if (Exists(system)) return system;
  return ErrorWithHint(
      absl::StatusCode::kInvalidArgument,
      "XDG_RUNTIME_DIR is not set, so there is no usual place for a modeld of your own",
      "name its socket: modelctl -H unix:///PATH/modeld.sock, or set MODELD_ENDPOINT");
}

}  // namespace

std::string Endpoint::directory() const {
  const size_t slash = modeld.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : modeld.substr(0, slash);
}

EndpointSources GetEndpointSources(const std::string& flag) {
  return {.flag = flag,
          .environment = FromEnvironment("MODELD_ENDPOINT"),
          .xdg_runtime_dir = FromEnvironment("XDG_RUNTIME_DIR"),
          .root = geteuid() == 0};
}

absl::StatusOr<Endpoint> ResolveEndpoint(const EndpointSources& sources) {
  std::string named = sources.flag.empty() ? sources.environment : sources.flag;
  if (named.empty()) {
    auto usual = DefaultPath(sources);
    if (!usual.ok()) return usual.status();
    named = *std::move(usual);
  }

  absl::string_view path = named;
  if (!absl::ConsumePrefix(&path, "unix://")) absl::ConsumePrefix(&path, "unix:");
  if (path.empty() || absl::StrContains(path, "://")) {
    return ErrorWithHint(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("\"", named, "\" is no endpoint of modeld: it listens on Unix sockets only"),
        "write it as unix:///PATH/modeld.sock");
  }
  Endpoint endpoint{.modeld = std::string(path), .admin = "", .attach = ""};
  if (IsDirectory(endpoint.modeld)) {
    return ErrorWithHint(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat(endpoint.modeld, " is a directory, not modeld's socket"),
        absl::StrCat("name the socket in it: -H unix://", endpoint.modeld, "/modeld.sock"));
  }
  endpoint.admin = absl::StrCat(endpoint.directory(), "/admin.sock");
  endpoint.attach = absl::StrCat(endpoint.directory(), "/attach.sock");
  return endpoint;
}

}  // namespace modeld::modelctl
