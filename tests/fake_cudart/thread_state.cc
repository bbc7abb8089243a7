#include "fake_cudart/thread_state.h"

namespace fake_cudart {

ThreadState& ThisThread() {
  thread_local ThreadState state;
  return state;
}

}  // namespace fake_cudart
