// The modeld::Error that something throws.

#pragma once

#include "gtest/gtest.h"
#include "modeld/error.h"

namespace modeld::test {

template <class Action>
Error ThrownBy(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kInternal, "NOTHING_THROWN", "nothing was thrown");
}

}  // namespace modeld::test
