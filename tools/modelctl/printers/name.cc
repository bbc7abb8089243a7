#include "modelctl/printers/name.h"

#include <algorithm>
#include <vector>

#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

std::string Line(const std::string& text) { return Printable(text) + "\n"; }

// A node's uses, then those below it, each residency once.
void Collect(const ScopeNode& node, std::vector<std::string>& ids) {
  for (const ScopeUse& use : node.uses()) {
    if (std::find(ids.begin(), ids.end(), use.residency_id()) == ids.end())
      ids.push_back(use.residency_id());
  }
  for (const ScopeNode& child : node.children()) Collect(child, ids);
}

}  // namespace

std::string NamePrinter::Residencies(const v1::ListResidenciesResponse& reply) const {
  std::string out;
  for (const v1::Residency& residency : reply.residencies()) out += Line(residency.id());
  return out;
}

std::string NamePrinter::Tree(const ScopeTree& tree) const {
  std::vector<std::string> ids;
  for (const ScopeNode& root : tree.roots()) Collect(root, ids);
  std::string out;
  for (const std::string& id : ids) out += Line(id);
  return out;
}

std::string NamePrinter::Leases(const v1::ListLeasesResponse& reply) const {
  std::string out;
  for (const v1::Lease& lease : reply.leases()) out += Line(lease.id());
  return out;
}

std::string NamePrinter::Devices(const v1::ListDevicesResponse& reply) const {
  std::string out;
  for (const v1::Device& device : reply.devices()) out += Line(device.id());
  return out;
}

std::string NamePrinter::Checkpoint(const v1::InspectCheckpointResponse& reply,
                                    bool with_tensors) const {
  std::string out;
  if (with_tensors) {
    for (const v1::TensorInfo& tensor : reply.tensors()) out += Line(tensor.name());
  } else {
    for (const std::string& file : reply.checkpoint().files()) out += Line(file);
  }
  return out;
}

// Where only events are left they have the id.
std::string NamePrinter::Explained(const v1::ExplainResidencyResponse& reply) const {
  if (reply.has_residency() || reply.events().empty()) return Line(reply.residency().id());
  return Line(reply.events(0).residency_id());
}

std::string NamePrinter::Aliases(const v1::ListAliasesResponse& reply) const {
  std::string out;
  for (const v1::Alias& alias : reply.aliases()) out += Line(alias.name());
  return out;
}

std::string NamePrinter::Pins(const v1::ListPinsResponse& reply) const {
  std::string out;
  for (const v1::Pin& pin : reply.pins()) out += Line(pin.reference());
  return out;
}

std::string NamePrinter::Event(const v1::WatchEventsResponse& reply) const {
  return Line(v1::Event::Type_Name(reply.event().type()));
}

std::string NamePrinter::Verified(const VerifyReport& report) const {
  std::string out;
  for (const TensorMismatch& mismatch : report.mismatches()) out += Line(mismatch.name());
  return report.mismatches().empty() ? Line(report.found_digest()) : out;
}

std::string NamePrinter::Health(const grpc::health::v1::HealthCheckResponse& reply) const {
  return Line(grpc::health::v1::HealthCheckResponse::ServingStatus_Name(reply.status()));
}

// What has a problem.
std::string NamePrinter::Doctor(const DoctorReport& report) const {
  std::string out;
  for (const Finding& finding : report.findings()) {
    if (finding.level() == Finding::PROBLEM) out += Line(finding.check());
  }
  return out;
}

std::string NamePrinter::Residency(const v1::GetResidencyResponse& reply) const {
  return Line(reply.residency().id());
}
std::string NamePrinter::EventTitle() const { return ""; }
std::string NamePrinter::Loaded(const v1::Residency& residency) const {
  return Line(residency.id());
}
std::string NamePrinter::Evicted(const v1::EvictResponse& reply) const {
  return Line(reply.residency().id());
}
std::string NamePrinter::WouldEvict(const v1::EvictResponse& reply) const {
  return Line(reply.residency().id());
}
std::string NamePrinter::AliasSet(const v1::SetAliasResult& result) const {
  return Line(result.alias().name());
}
std::string NamePrinter::AliasRemoved(const v1::RemoveAliasResponse& reply) const {
  return Line(reply.alias().name());
}
std::string NamePrinter::Pinned(const v1::PinResponse& reply) const {
  return Line(reply.residency().id());
}
std::string NamePrinter::Unpinned(const v1::UnpinResponse& reply) const {
  const v1::Residency& residency = reply.residency();
  return Line(residency.id().empty() ? residency.reference() : residency.id());
}
std::string NamePrinter::Digested(const DigestReport& report) const {
  return Line(report.digest());
}
std::string NamePrinter::Exported(const ExportReport& report) const { return Line(report.file()); }
std::string NamePrinter::Version(const VersionReport& report) const {
  return Line(report.client_version());
}

}  // namespace modeld::modelctl
