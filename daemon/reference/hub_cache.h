// Models by the names that they have on the Hugging Face hub, in caches that its clients left on
// this machine.
//
//   models--ORG--NAME/refs/REVISION        a text file: the commit that the revision is
//   models--ORG--NAME/snapshots/COMMIT/    the files, symlinks into blobs/
//
// Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "reference/checked_open.h"
#include "reference/roots.h"

namespace modeld::reference {

// `org/name/path@revision`: what may stand before the revision, and the revision.
struct HubName {
  std::string path;      // `org/name`, `name`, or with a path within the model behind it
  std::string revision;  // `main`, a tag, `refs/pr/1`, a commit

  bool operator==(const HubName&) const = default;
};

// What a relative reference says if it is a name on the hub; nullopt if it can be none. Pure.
std::optional<HubName> ParseHubName(std::string_view reference);

// The path of the snapshot, or of what the name names in it. Looks in each root, and in `hub/` of
// each, in their order. nullopt: no cache has a model of that name. kCheckpointNotFound: one has
// it, and not this revision. What OpenChecked says otherwise.
absl::StatusOr<std::optional<std::string>> FindInHubCaches(Roots& roots,
                                                           const std::string& reference,
                                                           const HubName& name);

}  // namespace modeld::reference
