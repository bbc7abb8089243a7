// Formats of checkpoints behind one interface, and the table of those that there are.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "checkpoint/collector.h"
#include "plan/load_config.h"

namespace modeld::checkpoint {

// A file to read. The caller keeps `fd` open; it is read with pread, never mapped: a mapping of a
// file that shrinks ends its reader with SIGBUS.
struct InputFile {
  std::string path;  // real path, for messages
  // As the reference calls it: the file's own name, or its path within the directory that the
  // reference names. Tells the format where `path` is the hash that a cache knows the file by.
  std::string name;
  int fd = -1;
  uint64_t size_bytes = 0;
};

// How a checkpoint's files say which tensors they hold. Stateless, so thread-safe.
class Format {
 public:
  virtual ~Format() = default;

  // `safetensors`
  virtual const char* name() const = 0;

  // Is the file meant to be of this format? `start` holds its first bytes, up to kSniffBytes. A yes
  // may still be malformed.
  virtual bool Sniff(const InputFile& file, std::span<const std::byte> start) const = 0;

  // Collects the tensors of all files, in the order of their bytes, with file offsets; metadata and
  // small files that are inside of them. `key_prefix` is the load config's: it chooses where a
  // checkpoint holds several state dicts; the collector takes it off. kCheckpointMalformed (see
  // malformed.h), kFormatUnsupported for what is well formed and not read, kCheckpointChanged for a
  // file that ends before `size_bytes`, kReadFailed; what the collector says passes through.
  virtual absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                             Collector& out) const = 0;
};

inline constexpr size_t kSniffBytes = 512;

struct ParsedCheckpoint {
  const char* format = "";
  std::string table;            // source table (wire/tensor_table.h): region i is file i
  std::string reference_table;  // wire/reference_table.h
  std::string samples;          // checkpoint/samples.h
};

// Finds the format of `weights` and parses them; takes `companions` (small files that go with
// them) into the reference table. Regions are the weights and then the companions.
// kFormatUnsupported where no format knows the first of the weights, kFieldInvalid where the
// configuration leaves nothing, besides what Parse returns. Either may be empty, not both.
// `components` are a pipeline's: they become the metadata `components`, separated by commas.
absl::StatusOr<ParsedCheckpoint> ParseCheckpoint(std::span<const InputFile> weights,
                                                 std::span<const InputFile> companions = {},
                                                 const plan::LoadConfig& config = {},
                                                 std::span<const std::string> components = {});

}  // namespace modeld::checkpoint
