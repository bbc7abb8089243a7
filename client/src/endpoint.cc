#include "endpoint.h"

#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

constexpr std::string_view kScheme = "unix:";
constexpr std::string_view kAttachName = "attach.sock";
constexpr std::string_view kHint =
    "an endpoint is a path to modeld.sock or unix:///path/to/modeld.sock";

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// In the order in which they are tried.
std::vector<std::string> DefaultPaths() {
  const std::string system = "/run/modeld/modeld.sock";
  const std::string runtime_dir = FromEnvironment("XDG_RUNTIME_DIR");
  std::vector<std::string> paths;
  if (!runtime_dir.empty()) paths.push_back(runtime_dir + "/modeld/modeld.sock");
  paths.insert(geteuid() == 0 ? paths.begin() : paths.end(), system);
  return paths;
}

absl::StatusOr<std::string> DefaultPath() {
  std::string tried;
  for (const std::string& path : DefaultPaths()) {
    if (access(path.c_str(), F_OK) == 0) return path;
    tried += (tried.empty() ? "" : " and ") + path;
  }
  return ClientError(absl::StatusCode::kUnavailable, kDaemonUnreachable,
                     wire::StrCat("no modeld found: tried ", tried),
                     "start modeld, or set MODELD_ENDPOINT to its modeld.sock");
}

absl::Status NoEndpoint(std::string_view text, std::string_view why) {
  return wire::MakeError(wire::Reason::kFieldInvalid,
                         wire::StrCat("\"", text, "\" is no endpoint: ", why),
                         {{"endpoint", std::string(text)}}, kHint);
}

}  // namespace

absl::StatusOr<Endpoint> ResolveEndpoint(const std::string& text) {
  std::string given = text.empty() ? FromEnvironment("MODELD_ENDPOINT") : text;
  if (given.empty()) {
    auto found = DefaultPath();
    if (!found.ok()) return found.status();
    given = *std::move(found);
  }
  std::string path = given;
  if (path.starts_with(kScheme)) {
    path.erase(0, kScheme.size());
    if (path.starts_with("//")) path.erase(0, 2);
    if (!path.starts_with('/')) return NoEndpoint(given, "its path is not absolute");
  } else if (path.find("://") != std::string::npos) {
    return NoEndpoint(given, "modeld listens on Unix sockets only");
  }
  if (path.find('\0') != std::string::npos) return NoEndpoint(given, "it contains a zero byte");

  // Absolute, because the process may change its directory before it has to connect again.
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return NoEndpoint(given, error.message());
  absolute = absolute.lexically_normal();
  if (!absolute.has_filename()) return NoEndpoint(given, "it names no file");

  Endpoint endpoint{.calls_path = absolute.string(),
                    .attach_path = (absolute.parent_path() / kAttachName).string()};
  constexpr size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;
  if (std::max(endpoint.calls_path.size(), endpoint.attach_path.size()) > kMaxBytes) {
    return NoEndpoint(given, wire::StrCat("a socket's path has at most ", kMaxBytes, " bytes"));
  }
  return endpoint;
}

}  // namespace modeld::client
