// modelctl evict: frees residencies.

#include <memory>
#include <vector>

#include "modelctl/call.h"
#include "modelctl/error.h"
#include "modelctl/verbs.h"

namespace modeld::modelctl {
namespace {

absl::Status EvictOne(const std::string& selector, Environment& environment) {
  v1::EvictRequest request;
  request.set_selector(selector);
  const auto reply = Call<v1::AdminService>(environment, &v1::AdminService::Stub::Evict, request);
  if (!reply.ok()) return reply.status();
  return environment.Write(environment.MakePrinter()->Evicted(*reply));
}

// One that cannot be evicted does not keep the others; the last failure is the verb's.
absl::Status Evict(const std::vector<std::string>& selectors, Environment& environment) {
  absl::Status failed;
  for (const std::string& selector : selectors) {
    const absl::Status done = EvictOne(selector, environment);
    if (done.ok()) continue;
    if (!failed.ok()) environment.Say(ErrorText(failed));
    failed = done;
    if (environment.interrupt().raised() || ToExitCode(done) == kUnreachable) break;
  }
  return failed;
}

}  // namespace

void AddEvict(CLI::App& app, Verb& chosen) {
  const auto selectors = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = app.add_subcommand("evict", "Free residencies that nobody holds");
  verb->add_option("SELECTOR", *selectors, "which residencies")->required();
  verb->footer(Example("  modelctl evict 3f2a models/old.safetensors"));
  verb->callback([selectors, &chosen] {
    chosen = [selectors](Environment& environment) { return Evict(*selectors, environment); };
  });
}

}  // namespace modeld::modelctl
