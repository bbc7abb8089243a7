// Who uses what: leases sorted into the world, stage, pipeline, graph and node that their scope
// labels name.

#pragma once

#include "modelctl/report.pb.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::modelctl {

// A scope is split at its slashes, empty parts dropped; it may have any depth. Holders without one
// come last, under a node with an empty name. The lists need not be of one moment: a lease of a
// residency that is not listed shows with a size of 0, a residency that has ended is left out.
ScopeTree MakeScopeTree(const v1::ListResidenciesResponse& residencies,
                        const v1::ListLeasesResponse& leases);

}  // namespace modeld::modelctl
