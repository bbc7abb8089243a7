// The function that a preloaded one stands before.

#pragma once

#include <dlfcn.h>

namespace modeld::test::faults {

template <class Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace modeld::test::faults
