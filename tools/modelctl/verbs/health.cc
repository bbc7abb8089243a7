// modelctl health: does modeld serve?

#include "modelctl/call.h"
#include "modelctl/error.h"
#include "modelctl/health.grpc.pb.h"
#include "modelctl/text.h"
#include "modelctl/verbs.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

using grpc::health::v1::HealthCheckResponse;

// It is no failure: modeld serves all the same.
void SayWhatIsDegraded(Environment& environment) {
  const auto server =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::GetServerInfo, {});
  if (!server.ok()) return;
  for (const std::string& note : server->degraded()) {
    environment.Say(wire::StrCat("modelctl: degraded: ", Printable(note), "\n"));
  }
}

absl::Status Health(Environment& environment) {
  const auto reply =
      Call<grpc::health::v1::Health>(environment, &grpc::health::v1::Health::Stub::Check, {});
  if (!reply.ok()) return reply.status();
  const absl::Status written = environment.Write(environment.MakePrinter()->Health(*reply));
  if (written.ok()) SayWhatIsDegraded(environment);
  if (!written.ok() || reply->status() == HealthCheckResponse::SERVING) return written;
  return ErrorWithHint(
      absl::StatusCode::kUnknown,
      "modeld does not serve: " + HealthCheckResponse::ServingStatus_Name(reply->status()),
      "see what it lacks: modelctl devices");
}

}  // namespace

Verb HealthVerb() {
  return {.name = "health",
          .summary = "Ask whether modeld serves: exit 0 if so, 1 if not, 3 if it is not there",
          .example = "  until modelctl health; do sleep 0.1; done",
          .run = Health};
}

}  // namespace modeld::modelctl
