#include "fake_cudart/api_calls.h"

#include <unistd.h>

#include <string>

#include "fake_cudart/contexts.h"
#include "fake_cudart/devices.h"
#include "fake_cudart/errors.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/faults.h"
#include "fake_cudart/thread_state.h"

namespace fake_cudart {
namespace {

cudaError_t CheckProcess() {
  if (ThisThread().in_host_function) return cudaErrorNotPermitted;
  const Config& config = GetConfig();
  if (config.pid != getpid()) return cudaErrorInitializationError;
  // A driver serves the runtimes of its own major version and of those before.
  if (config.driver_version / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
  return cudaSuccess;
}

cudaError_t Inject(const char* function) {
  const auto error = CurrentFaults()->TakeFailure(function);
  if (!error) return cudaSuccess;
  LogEvent(std::string("injected ") + function + " " + ErrorName(*error));
  return static_cast<cudaError_t>(*error);
}

}  // namespace

cudaError_t Admit(const char* function, Needs needs) {
  cudaError_t error = CheckProcess();
  if (error == cudaSuccess) error = Inject(function);
  if (error == cudaSuccess && needs >= Needs::kDevices && VisibleDevices().empty()) {
    error = cudaErrorNoDevice;
  }
  if (error == cudaSuccess && needs == Needs::kDevice) error = CheckDevice(CurrentDevice());
  if (error == cudaSuccess && needs == Needs::kContext) {
    error = EnterContext(CurrentDevice());
    if (error == cudaSuccess) ThisThread().has_context = true;
  }
  return error;
}

cudaError_t Record(cudaError_t error) {
  if (error != cudaSuccess) ThisThread().last = error;
  return error;
}

int CurrentDevice() { return ThisThread().device; }

cudaError_t ContextError() { return Contexts::Get().ErrorOf(CurrentDevice()); }

cudaError_t EnterContext(int device) {
  cudaError_t error = CheckDevice(device);
  if (error == cudaSuccess) error = Contexts::Get().Ensure(device);
  return error == cudaSuccess ? Contexts::Get().ErrorOf(device) : error;
}

}  // namespace fake_cudart
