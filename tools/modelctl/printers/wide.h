// -o wide: for people who need to know exactly.

#pragma once

#include <string>

#include "modelctl/printers/table.h"

namespace modeld::modelctl {

// The table with whole ids and digests, bytes as bytes, times in RFC 3339, and columns for the
// rest.
class WidePrinter : public TablePrinter {
 public:
  // Nothing is shortened, also on a terminal.
  explicit WidePrinter(PrintOptions options) : TablePrinter(WithoutWidth(options)) {}

  std::string Residencies(const v1::ListResidenciesResponse& reply) const override;
  std::string Leases(const v1::ListLeasesResponse& reply) const override;
  std::string Devices(const v1::ListDevicesResponse& reply) const override;
  std::string EventTitle() const override;
  std::string Event(const v1::WatchEventsResponse& reply) const override;
  std::string Version(const VersionReport& report) const override;

 protected:
  bool in_full() const override { return true; }
  std::string Bytes(uint64_t bytes) const override;
  std::string Id(const std::string& id, size_t length) const override;
  std::string Digest(const std::string& digest) const override;

 private:
  static PrintOptions WithoutWidth(PrintOptions options) {
    options.width = 0;
    return options;
  }
};

}  // namespace modeld::modelctl
