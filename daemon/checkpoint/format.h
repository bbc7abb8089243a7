// Formats of checkpoints behind one interface, and the table of those that there are.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace modeld::checkpoint {

// A file to read. The caller keeps `fd` open; it is read with pread, never mapped: a mapping of a
// file that shrinks ends its reader with SIGBUS.
struct InputFile {
  std::string path;  // for messages
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

  // The bytes of the source table (wire/tensor_table.h): region i is file i, offsets are file
  // offsets, tensors in the order of their bytes. kCheckpointMalformed (see malformed.h),
  // kCheckpointChanged for a file that ends before `size_bytes`, kReadFailed.
  virtual absl::StatusOr<std::string> Parse(std::span<const InputFile> files) const = 0;
};

inline constexpr size_t kSniffBytes = 64;

struct ParsedCheckpoint {
  const char* format = "";
  std::string table;
};

// Finds the format of `files` and parses them. kFormatUnsupported where no format knows the first
// of them, besides what Parse returns. REQUIRES: files is not empty
absl::StatusOr<ParsedCheckpoint> ParseCheckpoint(std::span<const InputFile> files);

}  // namespace modeld::checkpoint
