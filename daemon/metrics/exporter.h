// Serves metrics to whoever collects them: http://127.0.0.1:9464/metrics

#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prometheus {
class Exposer;
}

namespace modeld::metrics {

// Owns the socket and two threads.
class Exporter {
 public:
  // `address`: `127.0.0.1:9464`, `[::1]:9464`; port 0 takes a free one. UNAVAILABLE when it cannot
  // be had. What is collected is owned by it.
  static absl::StatusOr<std::unique_ptr<Exporter>> Start(
      const std::string& address, std::vector<std::shared_ptr<prometheus::Collectable>> collected);
  // Answers those that are being served, then closes.
  ~Exporter();

  int port() const;

 private:
  Exporter(std::unique_ptr<prometheus::Exposer> exposer,
           std::vector<std::shared_ptr<prometheus::Collectable>> collected);

  std::vector<std::shared_ptr<prometheus::Collectable>> collected_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace modeld::metrics
