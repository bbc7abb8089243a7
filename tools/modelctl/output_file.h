// A file that is either there in whole or not at all.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::modelctl {

// Where the bytes of an export go. A regular file is written under another name in its directory
// and takes its own name in Commit, in place of what had it before; until then, and after any
// failure, nothing of it is to be seen. A device, a pipe or stdout is written as it comes.
// Externally synchronised. Errors name the file.
class OutputFile {
 public:
  // `size_bytes` is reserved where the file system can, so that a full one is found before anything
  // is written.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path,
                                                            uint64_t size_bytes);
  static std::unique_ptr<OutputFile> Stdout();
  // Removes what was not committed.
  ~OutputFile();

  absl::Status Write(std::span<const std::byte> bytes);
  // Makes it last: fsync of the file, rename, fsync of the directory.
  absl::Status Commit();

 private:
  OutputFile(std::string name, wire::UniqueFd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

  absl::Status Failed(const char* what, int error) const;

  const std::string name_;  // for messages
  wire::UniqueFd fd_;
  std::string path_;            // empty: not a regular file
  std::string temporary_path_;  // empty: nothing to remove
};

}  // namespace modeld::modelctl
