// What a resolver answers when it does not open a file: one place for the words.

#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "reference/explain.h"

namespace modeld::reference {

// What is being resolved.
struct Subject {
  std::string reference;  // as the caller said it
  std::string path;       // absolute: where it is looked for
};

// Is it kCheckpointNotFound?
bool IsMissing(const absl::Status& status);

absl::Status NoRoots(const std::string& reference);
// `hub`: nor was it in the caches of the Hugging Face hub that lie there.
absl::Status NotFoundInRoots(const std::string& reference, const std::vector<std::string>& roots,
                             bool hub);
// `sha256:...` names what is resident.
absl::Status DigestNotResident(const std::string& reference);
// `error` is the errno of the lookup, used only for what lies inside the roots.
absl::Status Refusal(const Subject& subject, const std::vector<std::string>& roots,
                     const Explanation& why, int error);
// A directory where a file is wanted, a fifo, socket or device.
absl::Status NotAFile(const Subject& subject, const std::string& real_path, mode_t mode);
// A directory that is no checkpoint. `components`: its subdirectories that are.
absl::Status NothingThere(const Subject& subject, const std::string& real_path,
                          const std::vector<std::string>& components);
absl::Status TooManyEntries(const Subject& subject, const std::string& real_path, size_t most);
absl::Status MayNotRead(const Subject& subject, const std::string& real_path,
                        const struct stat& status, int error);
absl::Status ReadFailed(const Subject& subject, const std::string& real_path, int error);
absl::Status EmptyFile(const Subject& subject, const std::string& real_path);
absl::Status KeptMoving(const Subject& subject, int attempts);

}  // namespace modeld::reference
