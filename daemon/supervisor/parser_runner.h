// Has a checkpoint's header read by a process of its own: modeld never reads a byte of a checkpoint
// itself.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "wire/mutex.h"

namespace modeld::supervisor {

// What the parser found, checked again here.
struct ParsedCheckpoint {
  std::string format;  // `safetensors`
  // Region i is file i, offsets are file offsets. No tensor reaches past the end of its file.
  std::shared_ptr<const plan::SealedTable> source;
  std::shared_ptr<const plan::SealedReferenceTable> reference_table;
  std::vector<plan::Sample> samples;  // in table order
};

// What the parser said it had put in force before it read anything.
struct ParserSandbox {
  uint32_t landlock_abi = 0;  // 0: the kernel has none
  bool seccomp = false;
  uint64_t address_space_limit_bytes = 0;  // 0: none (builds with a sanitizer)

  bool operator==(const ParserSandbox&) const = default;
};

// Starts one modeld-parser per checkpoint and believes nothing it says: its table is sealed first
// and validated then, and a parser that crashes, hangs or talks garbage costs the load that needed
// it. Thread-safe.
class ParserRunner {
 public:
  struct Options {
    std::string program_directory;  // of modeld-parser; empty: found beside this program
    base::Duration deadline = std::chrono::seconds(10);
  };

  explicit ParserRunner(Options options) : options_(std::move(options)) {}

  // Blocks for the life of the child, `deadline` at most. kCheckpointMalformed (also when the file
  // crashed the parser), kCheckpointChanged, kFormatUnsupported, kReadFailed (also when the
  // deadline passed); kLimitReached when there is no descriptor, process or memory for a parser;
  // kInternal when it is not installed or fails for reasons of its own.
  absl::StatusOr<ParsedCheckpoint> Parse(const plan::OpenCheckpoint& checkpoint);

  // What the last parser reported in force; nullopt before the first one.
  std::optional<ParserSandbox> last_sandbox() const;

 private:
  const Options options_;
  mutable wire::Mutex mutex_;
  std::optional<ParserSandbox> last_sandbox_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::supervisor
