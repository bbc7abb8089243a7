// -o json: for programs.

#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "modelctl/printer.h"

namespace modeld::modelctl {

// The Protobuf JSON of a message with the field names of the .proto, fields that are zero included,
// 64-bit numbers as strings (https://protobuf.dev/programming-guides/json).
std::string ToJson(const google::protobuf::Message& message, bool pretty);

// One document for a reply: on one line, so that a stream of them can be read line by line, or
// spread out where a person reads, on a terminal.
class JsonPrinter : public Printer {
 public:
  explicit JsonPrinter(const PrintOptions& options) : pretty_(options.terminal) {}

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

 private:
  std::string Document(const google::protobuf::Message& message) const;

  const bool pretty_;
};

}  // namespace modeld::modelctl
