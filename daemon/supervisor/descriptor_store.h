// A place for descriptors that outlives every process of modeld's.

#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wire/unique_fd.h"

namespace modeld::supervisor {

struct NamedFd {
  std::string name;
  wire::UniqueFd fd;
};

// Thread-safe; never waits. What it is told is done in that order.
class DescriptorStore {
 public:
  struct Item {
    std::string name;  // printable ASCII without colons, at most 255 bytes
    int fd = -1;       // open as long as what comes with it lives
  };

  virtual ~DescriptorStore() = default;
  // False, and nothing is stored, when there is no room for all of them.
  [[nodiscard]] virtual bool Store(std::vector<Item> items,
                                   std::shared_ptr<const void> keep_alive) = 0;
  virtual void Remove(std::vector<std::string> names) = 0;
};

}  // namespace modeld::supervisor
