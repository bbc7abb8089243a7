// modelctl evict: frees residencies.

#include <memory>
#include <vector>

#include "modelctl/call.h"
#include "modelctl/error.h"
#include "modelctl/progress_bar.h"
#include "modelctl/verbs.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

struct EvictOptions {
  std::vector<std::string> selectors;
  bool drain = false;
  bool dry_run = false;
};

// Waits for the holders: --timeout is for them, and without it there is none.
absl::StatusOr<v1::EvictResponse> Drain(v1::EvictRequest request, Environment& environment) {
  grpc::ClientContext context;
  if (const auto wait = SetWaitDeadline(environment, context)) {
    *request.mutable_drain_timeout() = *wait;
  }
  ProgressDisplay display(request.selector());
  display.ShowText("waits until its holders have let go");
  const auto reply =
      Call<v1::AdminService>(environment, context, &v1::AdminService::Stub::Evict, request);
  if (reply.ok() || !environment.interrupt().raised()) return reply;
  return absl::CancelledError(wire::StrCat(
      "interrupted: ", request.selector(),
      " goes on draining, and is freed when its holders have let go; see whether it is still "
      "there: modelctl ps"));
}

absl::Status EvictOne(const EvictOptions& options, const std::string& selector,
                      Environment& environment) {
  v1::EvictRequest request;
  request.set_selector(selector);
  request.set_drain(options.drain);
  request.set_dry_run(options.dry_run);
  const auto reply =
      options.drain && !options.dry_run
          ? Drain(request, environment)
          : Call<v1::AdminService>(environment, &v1::AdminService::Stub::Evict, request);
  if (!reply.ok()) return reply.status();
  const auto printer = environment.MakePrinter();
  return environment.Write(options.dry_run ? printer->WouldEvict(*reply)
                                           : printer->Evicted(*reply));
}

// One that cannot be evicted does not keep the others; the last failure is the verb's.
absl::Status Evict(const EvictOptions& options, Environment& environment) {
  absl::Status failed;
  for (const std::string& selector : options.selectors) {
    const absl::Status done = EvictOne(options, selector, environment);
    if (done.ok()) continue;
    if (!failed.ok()) environment.Say(ErrorText(failed));
    failed = done;
    if (environment.interrupt().raised() || ToExitCode(done) == kUnreachable) break;
  }
  return failed;
}

}  // namespace

Verb EvictVerb() {
  const auto options = std::make_shared<EvictOptions>();
  return {.name = "evict",
          .summary = "Free residencies that nobody holds",
          .example =
              "  modelctl evict 3f2a models/old.safetensors\n"
              "  modelctl evict --drain --timeout 5m 3f2a",
          .arguments = {Operands("SELECTOR", options->selectors, "which residencies"),
                        Flag("--drain", options->drain,
                             "hand them out no more, ask the holders to let go, and wait for "
                             "that, at most --timeout for each"),
                        Flag("--dry-run", options->dry_run,
                             "change nothing, and say what would be freed")},
          .run = [options](Environment& environment) { return Evict(*options, environment); }};
}

}  // namespace modeld::modelctl
