// Digests of files that were read before, on disk: a cache that may be lost at any time.

#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <system_error>

#include "plan/load_plan.h"
#include "wire/mutex.h"

namespace modeld::supervisor {

// One file per content key in one directory, written beside its place and renamed there. What
// cannot be read, is damaged or is of another key is as if it were not there; what cannot be
// written is left out (a full disk costs a digest), and the log says so once, until it can be
// again. Holds at most kMaxEntries: beyond that the oldest go.
//
// Thread-safe, and several daemons may share a directory. Blocks on the disk.
class DigestCache {
 public:
  static constexpr size_t kMaxEntries = 10'000;

  // The directory is made when it is first needed. Empty: a cache that keeps nothing.
  explicit DigestCache(std::string directory) : directory_(std::move(directory)) {}

  // `key` is plan::OpenCheckpoint::Key(). nullptr: not known.
  std::shared_ptr<const plan::ContentDigests> Find(const std::string& key) const;
  void Store(const std::string& key, const plan::ContentDigests& digests);

 private:
  std::string PathOf(const std::string& key) const;
  void TellOutcome(const std::error_code& error);
  void DropOldest();

  const std::string directory_;
  wire::Mutex mutex_;
  size_t stored_ MODELD_GUARDED_BY(mutex_) = 0;  // since the entries were last counted
  bool failing_ MODELD_GUARDED_BY(mutex_) = false;
};

}  // namespace modeld::supervisor
