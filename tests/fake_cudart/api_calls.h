// What every call of CUDA goes through before its own work and after it.

#pragma once

#include <utility>

#include "fake_cudart/cuda_api.h"

namespace fake_cudart {

enum class Needs {
  kDriver,   // a driver that is new enough
  kDevices,  // and a device at all
  kDevice,   // and the current device still there
  kContext   // and its primary context, made if need be, unbroken
};

// In this order: not in a host function (cudaErrorNotPermitted), not in a forked child
// (cudaErrorInitializationError), the driver, injected failures, the devices, the context.
cudaError_t Admit(const char* function, Needs needs);

// Remembers an error for cudaGetLastError, and returns it.
cudaError_t Record(cudaError_t error);

// The calling thread's.
int CurrentDevice();
// What broke the current device's context.
cudaError_t ContextError();
// For calls that name a device: makes its context, and says what is wrong with it.
cudaError_t EnterContext(int device);

template <typename Body>
cudaError_t RuntimeCall(const char* function, Needs needs, Body&& body) {
  const cudaError_t refused = Admit(function, needs);
  return Record(refused != cudaSuccess ? refused : std::forward<Body>(body)());
}

// The driver's calls leave cudaGetLastError alone.
template <typename Body>
CUresult DriverCall(const char* function, Body&& body) {
  const auto refused = static_cast<CUresult>(Admit(function, Needs::kDevices));
  return refused != CUDA_SUCCESS ? refused : std::forward<Body>(body)();
}

}  // namespace fake_cudart
