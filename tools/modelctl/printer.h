// How what a verb found looks on stdout: one implementation for each value of -o.

#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "modelctl/health.pb.h"
#include "modelctl/report.pb.h"
#include "modeld/v1/admin_service.pb.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::modelctl {

enum class Format { kTable, kWide, kJson, kName };

struct PrintOptions {
  // What ages are counted from.
  std::chrono::system_clock::time_point now;
  bool terminal = false;
  // Of the terminal, in columns; 0: nothing is shortened.
  size_t width = 0;
  bool colour = false;
};

// Pure: text from messages, each line ended. Thread-safe.
class Printer {
 public:
  virtual ~Printer() = default;

  virtual std::string Residencies(const v1::ListResidenciesResponse& reply) const = 0;
  // One of them with its leases, in detail.
  virtual std::string Residency(const v1::GetResidencyResponse& reply) const = 0;
  virtual std::string Tree(const ScopeTree& tree) const = 0;
  virtual std::string Leases(const v1::ListLeasesResponse& reply) const = 0;
  virtual std::string Devices(const v1::ListDevicesResponse& reply) const = 0;
  // Once, before the events.
  virtual std::string EventTitle() const = 0;
  virtual std::string Event(const v1::WatchEventsResponse& reply) const = 0;
  virtual std::string Checkpoint(const v1::InspectCheckpointResponse& reply,
                                 bool with_tensors) const = 0;
  virtual std::string Loaded(const v1::Residency& residency) const = 0;
  virtual std::string Evicted(const v1::EvictResponse& reply) const = 0;
  // What a dry run would have done.
  virtual std::string WouldEvict(const v1::EvictResponse& reply) const = 0;
  virtual std::string Explained(const v1::ExplainResidencyResponse& reply) const = 0;
  virtual std::string Aliases(const v1::ListAliasesResponse& reply) const = 0;
  virtual std::string AliasSet(const v1::SetAliasResult& result) const = 0;
  virtual std::string AliasRemoved(const v1::RemoveAliasResponse& reply) const = 0;
  virtual std::string Pins(const v1::ListPinsResponse& reply) const = 0;
  virtual std::string Pinned(const v1::PinResponse& reply) const = 0;
  virtual std::string Unpinned(const v1::UnpinResponse& reply) const = 0;
  virtual std::string Verified(const VerifyReport& report) const = 0;
  virtual std::string Digested(const DigestReport& report) const = 0;
  virtual std::string Exported(const ExportReport& report) const = 0;
  virtual std::string Health(const grpc::health::v1::HealthCheckResponse& reply) const = 0;
  virtual std::string Doctor(const DoctorReport& report) const = 0;
  virtual std::string Version(const VersionReport& report) const = 0;
};

std::unique_ptr<Printer> MakePrinter(Format format, const PrintOptions& options);

}  // namespace modeld::modelctl
