#include <unistd.h>

#include "fake_cudart/api_calls.h"
#include "fake_cudart/config.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/errors.h"
#include "fake_cudart/thread_state.h"

namespace {

using fake_cudart::ErrorInfo;
using fake_cudart::FindError;

constexpr char kUnrecognized[] = "unrecognized error code";

// A broken context answers for every thread that has it current, until it is reset.
cudaError_t LastError() {
  const fake_cudart::ThreadState& thread = fake_cudart::ThisThread();
  // A forked child has the flag, but neither the context nor a right to the locks.
  const bool own_process = fake_cudart::GetConfig().pid == getpid();
  if (own_process && thread.has_context && !fake_cudart::VisibleDevices().empty()) {
    const cudaError_t broken = fake_cudart::ContextError();
    if (broken != cudaSuccess) return broken;
  }
  return thread.last;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorInfo* info = FindError(error);
  return info == nullptr || info->runtime_name == nullptr ? kUnrecognized : info->runtime_name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorInfo* info = FindError(error);
  return info == nullptr ? kUnrecognized : info->message;
}

cudaError_t cudaPeekAtLastError() { return LastError(); }

cudaError_t cudaGetLastError() {
  const cudaError_t error = LastError();
  // Seen with runtime 13.0: this one error is not cleared, since each call finds it again.
  if (error != cudaErrorInsufficientDriver) fake_cudart::ThisThread().last = cudaSuccess;
  return error;
}
