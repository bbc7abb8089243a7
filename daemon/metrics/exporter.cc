#include "metrics/exporter.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace modeld::metrics {
namespace {

constexpr size_t kThreads = 2;

}  // namespace

absl::StatusOr<std::unique_ptr<Exporter>> Exporter::Start(
    const std::string& address, std::vector<std::shared_ptr<prometheus::Collectable>> collected) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, kThreads);
    return std::unique_ptr<Exporter>(new Exporter(std::move(exposer), std::move(collected)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", address, " (",
                                               error.what(),
                                               "): is the port taken? set metrics_listen"));
  }
}

Exporter::Exporter(std::unique_ptr<prometheus::Exposer> exposer,
                   std::vector<std::shared_ptr<prometheus::Collectable>> collected)
    : collected_(std::move(collected)), exposer_(std::move(exposer)) {
  for (const auto& collectable : collected_) exposer_->RegisterCollectable(collectable);
}

Exporter::~Exporter() = default;

int Exporter::port() const { return exposer_->GetListeningPorts().front(); }

}  // namespace modeld::metrics
