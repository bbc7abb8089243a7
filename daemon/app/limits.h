// What the kernel lets this process have.

#pragma once

#include <cstdint>

namespace modeld::app {

// Raises the limit of open descriptors to the hard limit: modeld holds one per table and segment,
// and two per client. The limit that is then in force.
uint64_t RaiseFdLimit();

}  // namespace modeld::app
