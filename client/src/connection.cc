#include "connection.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/support/channel_arguments.h>
#include <sys/socket.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "call_queue.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

// A full backlog of a modeld that is stopped must not hang a worker; a busy one accepts within
// milliseconds.
constexpr std::chrono::milliseconds kConnectTimeout{10'000};
constexpr std::chrono::seconds kWelcomeTimeout{10};
constexpr std::chrono::seconds kDisturbedTimeout{10};
// Refusals that name many holders travel in trailers, whose limit is 8 KiB by default.
constexpr int kMaxMetadataBytes = 256 << 10;
constexpr int kMaxMessageBytes = 16 << 20;

constexpr uint64_t kNotStarted = ~uint64_t{0};
std::atomic<uint64_t> g_grpc_generation{kNotStarted};

bool StartGrpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Never shut down: the last channel may go on one of gRPC's own threads, or while statics are
    // destroyed.
    grpc_init();
    g_grpc_generation.store(ForkGeneration());
  });
  return StartCallQueue();
}

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // What a socket on one machine has no use for.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CENSUS, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  return arguments;
}

absl::Status CannotConnect(const Endpoint& endpoint, const absl::Status& why) {
  const std::string_view message = wire::ToStd(why.message());
  wire::ErrorMetadata metadata = {{"endpoint", endpoint.text()}};
  if (absl::IsPermissionDenied(why)) {
    return wire::MakeError(wire::Reason::kPeerNotAllowed,
                           wire::StrCat(message, " (uid ", geteuid(), ")"), std::move(metadata),
                           "join the group that owns the socket, or run a modeld of your own");
  }
  if (absl::IsUnavailable(why)) {
    return ClientError(absl::StatusCode::kUnavailable, kDaemonUnreachable, message,
                       "is modeld running? Start it, or set MODELD_ENDPOINT to its modeld.sock",
                       std::move(metadata));
  }
  if (absl::IsInvalidArgument(why)) {
    return wire::MakeError(wire::Reason::kFieldInvalid, message, std::move(metadata),
                           "an endpoint is the path of modeld.sock");
  }
  return why;
}

}  // namespace

bool ForkedAfterGrpcStarted() {
  const uint64_t started = g_grpc_generation.load();
  return started != kNotStarted && started != ForkGeneration();
}

absl::StatusOr<std::shared_ptr<Connection>> Connection::Open(const Endpoint& endpoint,
                                                             bool* refused) {
  std::shared_ptr<Connection> connection(new Connection());
  wire::UniqueFd calls_fd;
  wire::UniqueFd attach_fd;
  const TimePoint give_up = Clock::now() + kDisturbedTimeout;
  for (;;) {
    const ForkWindow window;
    auto calls = wire::ConnectUnix(endpoint.calls_path, kConnectTimeout);
    if (!calls.ok()) return CannotConnect(endpoint, calls.status());
    auto attach = wire::ConnectUnix(endpoint.attach_path, kConnectTimeout);
    if (!attach.ok()) return CannotConnect(endpoint, attach.status());
    connection->guards_ = std::make_unique<Guards>(calls->get(), attach->get());
    calls_fd = *std::move(calls);
    attach_fd = *std::move(attach);
    if (window.undisturbed()) break;
    // A child may have copies of these that it will not close.
    shutdown(calls_fd.get(), SHUT_RDWR);
    shutdown(attach_fd.get(), SHUT_RDWR);
    if (Clock::now() >= give_up) {
      return ClientError(absl::StatusCode::kUnavailable, kDaemonUnreachable,
                         "this process forks without pause, so no connection can be kept from its "
                         "children");
    }
  }
  auto attach = AttachChannel::Introduce(endpoint, std::move(attach_fd),
                                         Clock::now() + kWelcomeTimeout, refused);
  if (!attach.ok()) return attach.status();
  connection->attach_ = *std::move(attach);

  if (!StartGrpc()) {
    return absl::ResourceExhaustedError("cannot start a thread for the calls to modeld");
  }
  auto grpc = std::make_unique<Grpc>();
  grpc->channel =
      grpc::CreateCustomInsecureChannelFromFd("modeld", calls_fd.release(), ChannelArguments());
  grpc->stub = v1::ResidencyService::NewStub(grpc->channel);
  connection->grpc_ = std::move(grpc);
  return connection;
}

Connection::~Connection() {
  if (ForkGeneration() != fork_generation_) (void)grpc_.release();
}

}  // namespace modeld::client
