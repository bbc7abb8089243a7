#include "rpc/listings.h"

#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "rpc/convert.h"
#include "rpc/process_limits.h"
#include "rpc/protocol.h"
#include "rpc/validate.h"

namespace modeld::rpc {
namespace {

using residency::ResidencyInfo;
using residency::Snapshot;

// Fills in the response and finishes the call with OK, unless its client is gone.
template <class Filler>
void Answer(UnaryCall& call, Filler fill) {
  if (!call.Claim()) return;
  fill();
  call.Finish(grpc::Status::OK);
}

// Answers with what `fill` makes of the residency and of its leases, or with why there is none.
template <class Filler>
void FindThenAnswer(const ServiceDeps& deps, const std::string& selector, const UnaryCallPtr& call,
                    Filler fill) {
  if (const absl::Status status = CheckSelector(selector); !status.ok()) {
    call->Refuse(status);
    return;
  }
  deps.manager.Find(selector, [&manager = deps.manager, call,
                               fill](absl::StatusOr<ResidencyInfo> found) {
    if (!found.ok()) {
      call->Refuse(found.status());
      return;
    }
    const residency::SnapshotParts parts = {.leases_of = found->id};
    manager.GetSnapshot(parts, [found = *std::move(found), call, fill](const Snapshot& snapshot) {
      Answer(*call, [&] { fill(found, snapshot.leases); });
    });
  });
}

void AddLeases(const std::vector<residency::LeaseInfo>& leases,
               google::protobuf::RepeatedPtrField<v1::Lease>& to) {
  for (const residency::LeaseInfo& lease : leases) Fill(lease, *to.Add());
}

}  // namespace

void List(const ServiceDeps& deps, const v1::ListResidenciesRequest& request,
          v1::ListResidenciesResponse* response, const UnaryCallPtr& call) {
  const residency::SnapshotParts parts = {.residencies = true, .ended = request.include_ended()};
  deps.manager.GetSnapshot(parts, [response, call](const Snapshot& snapshot) {
    Answer(*call, [&] {
      for (const ResidencyInfo& residency : snapshot.residencies) {
        Fill(residency, *response->add_residencies());
      }
    });
  });
}

void List(const ServiceDeps& deps, const v1::ListLeasesRequest& request,
          v1::ListLeasesResponse* response, const UnaryCallPtr& call) {
  if (!request.selector().empty()) {
    FindThenAnswer(deps, request.selector(), call,
                   [response](const ResidencyInfo& residency, const auto& leases) {
                     AddLeases(leases, *response->mutable_leases());
                   });
    return;
  }
  deps.manager.GetSnapshot({.leases = true}, [response, call](const Snapshot& snapshot) {
    Answer(*call, [&] { AddLeases(snapshot.leases, *response->mutable_leases()); });
  });
}

void List(const ServiceDeps& deps, const v1::ListAliasesRequest& request,
          v1::ListAliasesResponse* response, const UnaryCallPtr& call) {
  deps.manager.GetSnapshot({.aliases = true}, [response, call](const Snapshot& snapshot) {
    Answer(*call, [&] {
      for (const residency::Alias& alias : snapshot.aliases) {
        Fill(alias, *response->add_aliases());
      }
    });
  });
}

void List(const ServiceDeps& deps, const v1::ListPinsRequest& request,
          v1::ListPinsResponse* response, const UnaryCallPtr& call) {
  deps.manager.GetSnapshot({.pins = true}, [response, call](const Snapshot& snapshot) {
    Answer(*call, [&] {
      for (const residency::PinInfo& pin : snapshot.pins) Fill(pin, *response->add_pins());
    });
  });
}

void Explain(const ServiceDeps& deps, const v1::ExplainResidencyRequest& request,
             v1::ExplainResidencyResponse* response, const UnaryCallPtr& call) {
  if (const absl::Status status = CheckSelector(request.selector()); !status.ok()) {
    call->Refuse(status);
    return;
  }
  deps.manager.Explain(request.selector(),
                       [response, call](const absl::StatusOr<residency::Explanation>& explanation) {
                         if (!explanation.ok()) {
                           call->Refuse(explanation.status());
                         } else {
                           Answer(*call, [&] { Fill(*explanation, *response); });
                         }
                       });
}

void List(const ServiceDeps& deps, const v1::ListDevicesRequest& request,
          v1::ListDevicesResponse* response, const UnaryCallPtr& call) {
  deps.manager.GetSnapshot({.devices = true}, [response, call, sandbox = deps.sandbox(),
                                               &notes = deps.gpu_notes](const Snapshot& snapshot) {
    Answer(*call, [&] {
      if (sandbox) *response->mutable_parser_sandbox() = *sandbox;
      for (const std::string& note : notes) response->add_gpu_notes(note);
      for (const residency::DeviceInfo& device : snapshot.devices) {
        Fill(device, *response->add_devices());
      }
    });
  });
}

void Get(const ServiceDeps& deps, const v1::GetResidencyRequest& request,
         v1::GetResidencyResponse* response, const UnaryCallPtr& call) {
  FindThenAnswer(deps, request.selector(), call,
                 [response](const ResidencyInfo& residency, const auto& leases) {
                   Fill(residency, *response->mutable_residency());
                   AddLeases(leases, *response->mutable_leases());
                 });
}

void Get(const ServiceDeps& deps, const v1::GetServerInfoRequest& request,
         v1::GetServerInfoResponse* response, const UnaryCallPtr& call) {
  const std::vector<std::string> degraded =
      deps.degraded ? deps.degraded() : std::vector<std::string>();
  deps.manager.GetSnapshot({}, [&facts = deps.facts, &sessions = deps.sessions, degraded, response,
                                call](const Snapshot& snapshot) {
    Answer(*call, [&] {
      response->set_version(facts.version);
      response->set_protocol_version(kProtocolVersion);
      response->set_pid(::getpid());
      Fill(facts.start_time, *response->mutable_start_time());
      response->set_runtime_dir(facts.runtime_dir);
      for (const std::string& root : facts.roots) response->add_roots(root);
      response->set_residency_count(static_cast<uint32_t>(snapshot.residency_count));
      response->set_lease_count(static_cast<uint32_t>(snapshot.lease_count));
      response->set_session_count(static_cast<uint32_t>(sessions.size()));
      response->set_open_fds(CountOpenFds());
      response->set_fd_limit(FdLimit());
      for (const std::string& note : degraded) response->add_degraded(note);
    });
  });
}

}  // namespace modeld::rpc
