#include "absl/synchronization/mutex.h"
#include "app/run.h"

int main(int argc, char** argv) {
  // gRPC's locks: Debian's Abseil looks for deadlocks at each one, which costs time, and memory
  // that AddressSanitizer takes for the stack of a thread that has ended.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return modeld::app::Run(argc, argv);
}
