// What a verb works with: the daemon, the printer, the streams, Ctrl-C.

#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "modelctl/endpoint.h"
#include "modelctl/interrupt.h"
#include "modelctl/printer.h"

namespace modeld::modelctl {

// The options that every verb has.
struct GlobalOptions {
  std::string endpoint;  // as typed; empty: not given
  Format format = Format::kTable;
  std::optional<std::chrono::nanoseconds> timeout;
};

// How long a verb waits for a daemon that is there and does not answer, where --timeout says
// nothing else.
inline constexpr std::chrono::seconds kAnswerTimeout{30};

// Externally synchronised, but for the interrupt.
class Environment {
 public:
  enum class Socket { kModeld, kAdmin };

  Environment(GlobalOptions options, Interrupt& interrupt)
      : options_(std::move(options)), interrupt_(interrupt) {}

  const GlobalOptions& options() const { return options_; }
  Interrupt& interrupt() { return interrupt_; }

  // What prints to stdout, as it is now (terminals change their width).
  std::unique_ptr<Printer> MakePrinter() const;
  // Data, to stdout.
  absl::Status Write(std::string_view text) const;
  // Words, to stderr.
  void Say(std::string_view text) const;

  absl::StatusOr<Endpoint> GetEndpoint() const {
    return ResolveEndpoint(GetEndpointSources(options_.endpoint));
  }

  // The channel to that socket, connected once: a daemon that is not there is told at once,
  // UNAVAILABLE with the path and how to start one.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(Socket socket);

  // What a call that ended with `status` tells: an interrupt, a deadline of modelctl's own, a
  // connection that broke or was never admitted are named as such.
  absl::Status Explain(const grpc::Status& status) const;

 private:
  const GlobalOptions options_;
  Interrupt& interrupt_;
  std::map<Socket, std::shared_ptr<grpc::Channel>> channels_;
};

// Connects to one of the daemon's sockets; the error says how to come to a daemon.
absl::StatusOr<wire::UniqueFd> ConnectToDaemon(const std::string& path);

}  // namespace modeld::modelctl
