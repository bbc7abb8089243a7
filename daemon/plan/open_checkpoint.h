// A checkpoint that has been found and opened: descriptors, and what the file system says they are.

#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "plan/load_config.h"
#include "wire/unique_fd.h"

namespace modeld::plan {

// What tells one state of one file from another without reading it. A writer through an existing
// mmap can change bytes and none of these: unsupported.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;  // since the epoch
  int64_t ctime_ns = 0;

  bool operator==(const FileIdentity&) const = default;
};

FileIdentity IdentityOf(const struct stat& status);

// Most files of a checkpoint: with what a parser writes to they must fit into one message.
inline constexpr size_t kMaxFiles = 248;

// Small files of a checkpoint, inside of it or beside it: each, and all together.
inline constexpr uint64_t kMaxSmallFileBytes = 64 << 20;
inline constexpr uint64_t kMaxSmallFilesBytes = 128 << 20;

struct OpenFile {
  std::string path;   // real path: for messages, never opened again
  wire::UniqueFd fd;  // O_RDONLY, CLOEXEC
  FileIdentity identity;
  // As the reference calls it: its own name, or its path within the directory that the reference
  // names. Its ending counts, where `path` may be the hash that a cache knows it by.
  std::string name;
  // Goes with the weights and is none: a configuration, a tokenizer.
  bool companion = false;
};

// Immutable after it is made, so shared freely between threads; the last owner closes the files.
struct OpenCheckpoint {
  std::string reference;        // as the caller said it
  std::vector<OpenFile> files;  // weights, then companions
  LoadConfig config;            // what of them is wanted
  // Nothing was modified within the seconds before it was opened, so that what is modified later
  // has another identity for certain.
  bool settled = false;
  // Of a pipeline: the names of its parts, each a checkpoint by itself.
  std::vector<std::string> components;

  // The stat identity of the file set, the components and the configuration as text: equal keys are
  // equal content as far as the file system tells.
  std::string Key() const;
};

}  // namespace modeld::plan
