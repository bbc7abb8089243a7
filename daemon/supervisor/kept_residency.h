// A residency as named descriptors, and back.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "residency/device_backend.h"
#include "supervisor/agent_messages.h"
#include "supervisor/descriptor_store.h"

namespace modeld::supervisor {

// Names: `residency-<id>-record` is a sealed memfd with a modeld.v1.InventoryItem; the descriptors
// that belong to one follow as `residency-<id>-<n>`; `residency-<id>-digest-<hex>` is the table of
// digests, once they are known, with the weights digest in its name.

// Everything but the digests. `record` and `memory` have to live as long as the items are used, and
// so do `own_fds`: the record's, and those of memory that another residency stores too. A service
// manager takes one open file once, so what several have is opened anew for each. What
// MakeSealedMemfd says, RESOURCE_EXHAUSTED.
struct KeptItems {
  std::vector<DescriptorStore::Item> items;
  std::vector<wire::UniqueFd> own_fds;
};
absl::StatusOr<KeptItems> ItemsOf(const residency::ResidencyRecord& record,
                                  const residency::ResidentMemory& memory);
DescriptorStore::Item DigestItem(const std::string& residency_id,
                                 const residency::ResidentDigests& digests);

// Can it be kept? A CUDA IPC handle is no descriptor, and dies with its agent; CUDA memory that is
// borrowed from another residency cannot be opened anew.
bool IsKeepable(const residency::ResidencyRecord& record, const residency::ResidentMemory& memory);

struct FoundResidency {
  InventoryEntry entry;
  std::vector<std::string> names;  // of its descriptors
};

struct Found {
  std::vector<FoundResidency> residencies;
  // Names that belong to no whole, valid residency, and why, one text for each residency.
  std::vector<std::string> unusable_names;
  std::vector<std::string> unusable_because;
};

// Puts together what an earlier modeld took apart. Seals and sizes are checked as those of an
// agent's inventory are.
Found Assemble(std::vector<NamedFd> descriptors);

}  // namespace modeld::supervisor
