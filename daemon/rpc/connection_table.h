// How many connections there are, of those that somebody else owns now.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <unordered_map>

#include "base/clock.h"

namespace modeld::rpc {

// gRPC takes a descriptor and does not say when it closes it. But a descriptor number stands for
// the socket it was taken for only as long as fstat says the same inode: so the table counts by
// looking, and looks only when it seems full. Externally synchronised.
class ConnectionTable {
 public:
  // `clock` outlives the table.
  ConnectionTable(size_t limit, const base::Clock& clock) : limit_(limit), clock_(clock) {}

  // Notes a connection that is about to be handed over. False when `limit` of them are open.
  bool Add(int fd);

 private:
  void ForgetClosed();

  const size_t limit_;
  const base::Clock& clock_;
  std::unordered_map<int, ino_t> inodes_;  // by descriptor
  base::TimePoint next_look_;
};

}  // namespace modeld::rpc
