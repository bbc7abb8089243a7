// systemd's file descriptor store: descriptors that this process hands over are given to the next
// one, whatever becomes of this one and of its agents (sd_pid_notify_with_fds(3)).

#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/config.h"
#include "base/thread_pool.h"
#include "supervisor/descriptor_store.h"
#include "wire/mutex.h"

namespace modeld::app {

// A thread of its own speaks to the service manager, which may take its time.
class FdStore : public supervisor::DescriptorStore {
 public:
  // Null where there is no store: NOTIFY_SOCKET and FDSTORE (how many descriptors it holds; the
  // unit says so, and from version 254 on systemd itself) must be set. `inherited`: names that it
  // holds already.
  static std::unique_ptr<FdStore> Find(const Surroundings& surroundings,
                                       const std::vector<supervisor::NamedFd>& inherited);
  FdStore(size_t capacity, std::set<std::string> names);
  // Flush().
  ~FdStore() override;

  bool Store(std::vector<Item> items, std::shared_ptr<const void> keep_alive) override;
  void Remove(std::vector<std::string> names) override;

  // Waits until the service manager has all that was stored or removed before. Nothing is taken on
  // after it. Idempotent.
  void Flush();

 private:
  const size_t capacity_;
  wire::Mutex mutex_;
  std::set<std::string> names_ MODELD_GUARDED_BY(mutex_);
  base::ThreadPool sender_;
};

}  // namespace modeld::app
