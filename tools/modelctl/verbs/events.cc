// modelctl events: what happened, and what happens.

#include <memory>
#include <optional>

#include "modelctl/call.h"
#include "modelctl/error.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

constexpr uint32_t kDefaultHistory = 100;
constexpr uint32_t kDefaultHistoryBeforeFollowing = 10;

struct EventsOptions {
  std::optional<uint32_t> history;
  bool follow = false;
};

absl::Status Events(const EventsOptions& options, Environment& environment) {
  const auto channel = environment.Connect(SocketOf<v1::ResidencyService>());
  if (!channel.ok()) return channel.status();
  v1::WatchEventsRequest request;
  request.set_history(
      options.history.value_or(options.follow ? kDefaultHistoryBeforeFollowing : kDefaultHistory));
  request.set_history_only(!options.follow);

  grpc::ClientContext context;
  if (!options.follow || environment.options().timeout) SetAnswerDeadline(environment, context);
  const Interrupt::Guard guard(environment.interrupt(), context);
  const auto stub = v1::ResidencyService::NewStub(*channel);
  const auto printer = environment.MakePrinter();
  if (absl::Status written = environment.Write(printer->EventTitle()); !written.ok())
    return written;
  const auto reader = stub->WatchEvents(&context, request);
  return ReadAll<v1::WatchEventsResponse>(environment, context, *reader,
                                          [&](const v1::WatchEventsResponse& reply) {
                                            return environment.Write(printer->Event(reply));
                                          });
}

}  // namespace

Verb EventsVerb() {
  const auto options = std::make_shared<EventsOptions>();
  return {.name = "events",
          .summary = "Show what happened to residencies, leases and agents",
          .example = "  modelctl events --history 20 --follow",
          .arguments = {Option("--history", "N", options->history,
                               "how many past events [100, or 10 with --follow]"),
                        Flag("-f,--follow", options->follow,
                             "go on with those that happen, until Ctrl-C")},
          .run = [options](Environment& environment) { return Events(*options, environment); }};
}

}  // namespace modeld::modelctl
