#include "app/fd_store.h"

#include <systemd/sd-daemon.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "app/logging.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

void Tell(const std::string& state, const int* fd) {
  const int result = fd == nullptr ? ::sd_notify(0, state.c_str())
                                   : ::sd_pid_notify_with_fds(0, 0, state.c_str(), fd, 1);
  if (result < 0) {
    Log(LogLevel::kError, "the service manager's store of descriptors cannot be reached",
        {{"why", wire::ErrnoText(-result)}});
  }
}

}  // namespace

std::unique_ptr<FdStore> FdStore::Find(const Surroundings& surroundings,
                                       const std::vector<supervisor::NamedFd>& inherited) {
  const auto capacity = surroundings.Variable("FDSTORE");
  size_t count = 0;
  if (!surroundings.Variable("NOTIFY_SOCKET") || !capacity ||
      !absl::SimpleAtoi(*capacity, &count) || count == 0) {
    return nullptr;
  }
  std::set<std::string> names;
  for (const supervisor::NamedFd& fd : inherited) names.insert(fd.name);
  return std::make_unique<FdStore>(count, std::move(names));
}

FdStore::FdStore(size_t capacity, std::set<std::string> names)
    : capacity_(capacity), names_(std::move(names)), sender_("fd-store", 1) {}

FdStore::~FdStore() { Flush(); }

bool FdStore::Store(std::vector<Item> items, std::shared_ptr<const void> keep_alive) {
  {
    wire::MutexLock lock(mutex_);
    if (names_.size() + items.size() > capacity_) return false;
    for (const Item& item : items) names_.insert(item.name);
  }
  sender_.Post([items = std::move(items), keep_alive = std::move(keep_alive)] {
    for (const Item& item : items) {
      // Not watched for hang-ups: these are memory, not connections.
      Tell(wire::StrCat("FDSTORE=1\nFDPOLL=0\nFDNAME=", item.name), &item.fd);
    }
  });
  return true;
}

void FdStore::Remove(std::vector<std::string> names) {
  {
    wire::MutexLock lock(mutex_);
    for (const std::string& name : names) names_.erase(name);
  }
  sender_.Post([names = std::move(names)] {
    for (const std::string& name : names) {
      Tell(wire::StrCat("FDSTOREREMOVE=1\nFDNAME=", name), nullptr);
    }
  });
}

void FdStore::Flush() { sender_.Stop(); }

}  // namespace modeld::app
