#include "modelctl/printers/json.h"

#include <google/protobuf/util/json_util.h>

namespace modeld::modelctl {

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = pretty;
  std::string json;
  // Fails only for an Any whose type is not known: there is none in the contract.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!json.ends_with('\n')) json += '\n';
  return json;
}

std::string JsonPrinter::Document(const google::protobuf::Message& message) const {
  return ToJson(message, pretty_);
}

std::string JsonPrinter::Residencies(const v1::ListResidenciesResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Residency(const v1::GetResidencyResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Tree(const ScopeTree& tree) const { return Document(tree); }
std::string JsonPrinter::Leases(const v1::ListLeasesResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Devices(const v1::ListDevicesResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::EventTitle() const { return ""; }
// A stream: one line each, whoever reads.
std::string JsonPrinter::Event(const v1::WatchEventsResponse& reply) const {
  return ToJson(reply, false);
}
std::string JsonPrinter::Loaded(const v1::Residency& residency) const {
  return Document(residency);
}
std::string JsonPrinter::Evicted(const v1::EvictResponse& reply) const { return Document(reply); }
std::string JsonPrinter::WouldEvict(const v1::EvictResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Explained(const v1::ExplainResidencyResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Aliases(const v1::ListAliasesResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::AliasSet(const v1::SetAliasResult& result) const {
  return Document(result);
}
std::string JsonPrinter::AliasRemoved(const v1::RemoveAliasResponse& reply) const {
  return Document(reply);
}
std::string JsonPrinter::Pins(const v1::ListPinsResponse& reply) const { return Document(reply); }
std::string JsonPrinter::Pinned(const v1::PinResponse& reply) const { return Document(reply); }
std::string JsonPrinter::Unpinned(const v1::UnpinResponse& reply) const { return Document(reply); }
std::string JsonPrinter::Verified(const VerifyReport& report) const { return Document(report); }
std::string JsonPrinter::Digested(const DigestReport& report) const { return Document(report); }
std::string JsonPrinter::Exported(const ExportReport& report) const { return Document(report); }
std::string JsonPrinter::Doctor(const DoctorReport& report) const { return Document(report); }
std::string JsonPrinter::Version(const VersionReport& report) const { return Document(report); }

std::string JsonPrinter::Checkpoint(const v1::InspectCheckpointResponse& reply,
                                    bool with_tensors) const {
  if (with_tensors) return Document(reply);
  v1::InspectCheckpointResponse summary;
  *summary.mutable_checkpoint() = reply.checkpoint();
  return Document(summary);
}

std::string JsonPrinter::Health(const grpc::health::v1::HealthCheckResponse& reply) const {
  return Document(reply);
}

}  // namespace modeld::modelctl
