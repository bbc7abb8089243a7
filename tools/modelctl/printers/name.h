// -o name: what other commands take as an argument, one a line.

#pragma once

#include <string>

#include "modelctl/printer.h"

namespace modeld::modelctl {

// Ids of residencies, leases and devices, names of aliases and tensors, paths, digests: whole, and
// nothing else.
class NamePrinter : public Printer {
 public:
  std::string Residencies(const v1::ListResidenciesResponse& reply) const override;
  std::string Residency(const v1::GetResidencyResponse& reply) const override;
  std::string Tree(const ScopeTree& tree) const override;
  std::string Leases(const v1::ListLeasesResponse& reply) const override;
  std::string Devices(const v1::ListDevicesResponse& reply) const override;
  std::string EventTitle() const override;
  std::string Event(const v1::WatchEventsResponse& reply) const override;
  std::string Checkpoint(const v1::InspectCheckpointResponse& reply,
                         bool with_tensors) const override;
  std::string Loaded(const v1::Residency& residency) const override;
  std::string Evicted(const v1::EvictResponse& reply) const override;
  std::string WouldEvict(const v1::EvictResponse& reply) const override;
  std::string Explained(const v1::ExplainResidencyResponse& reply) const override;
  std::string Aliases(const v1::ListAliasesResponse& reply) const override;
  std::string AliasSet(const v1::SetAliasResult& result) const override;
  std::string AliasRemoved(const v1::RemoveAliasResponse& reply) const override;
  std::string Pins(const v1::ListPinsResponse& reply) const override;
  std::string Pinned(const v1::PinResponse& reply) const override;
  std::string Unpinned(const v1::UnpinResponse& reply) const override;
  std::string Verified(const VerifyReport& report) const override;
  std::string Digested(const DigestReport& report) const override;
  std::string Exported(const ExportReport& report) const override;
  std::string Health(const grpc::health::v1::HealthCheckResponse& reply) const override;
  std::string Doctor(const DoctorReport& report) const override;
  std::string Version(const VersionReport& report) const override;
};

}  // namespace modeld::modelctl
