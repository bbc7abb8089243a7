// The file of the state directory: appended to, and written anew when it has grown.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "residency/durable_state.h"
#include "state/image.h"
#include "wire/unique_fd.h"

namespace modeld::state {

// `state.jsonl` of a directory, as docs/state-file.md describes it. Owns the lock `state.lock`
// beside it, and with it the directory's state, as long as it lives. Externally synchronised;
// blocks on the disk.
class Journal {
 public:
  static constexpr std::string_view kFileName = "state.jsonl";
  static constexpr std::string_view kLockName = "state.lock";
  // Written anew when it is as much larger than twice what it comes to.
  static constexpr uint64_t kSlackBytes = 1 << 20;

  struct Opened {
    std::unique_ptr<Journal> journal;
    residency::DurableState state;
    std::vector<std::string> notes;  // for the operator: what is damaged, and where it was put
  };
  // What is damaged is put aside and costs only itself, and a disk that is full costs a note.
  // FAILED_PRECONDITION: another process has the directory, or the file cannot be one (a symlink, a
  // device) or cannot be read and written.
  static absl::StatusOr<Opened> Open(const std::string& directory);

  // All or none, on the disk when it returns. STATE_NOT_SAVED: none; what was written of it is
  // taken back, or will be before anything else is written.
  absl::Status Append(std::span<const Entry> entries);

  // After Append: does nothing most of the time. A failure costs room on the disk only.
  void CompactIfGrown();

  const std::string& path() const { return path_; }

 private:
  Journal(std::string directory, wire::UniqueFd directory_fd, wire::UniqueFd lock);

  absl::Status Replace();
  int WriteReplacement(const std::string& path, const std::string& text);
  int Write(const std::string& bytes);
  void TakeBack();
  bool IsAtPath() const;
  absl::Status NotSaved(int error) const;

  const std::string directory_;
  const std::string path_;
  const wire::UniqueFd directory_fd_;
  const wire::UniqueFd lock_;
  wire::UniqueFd fd_;
  Image image_;
  uint64_t size_bytes_ = 0;  // of the file, as far as it is good
  uint64_t compact_at_bytes_ = 0;
  bool must_replace_ = true;  // nothing may be appended to the file as it is
  bool must_put_aside_ = false;
};

}  // namespace modeld::state
