// How things fail inside of libmodeld-cuda: with a reason of docs/errors.md, words, and a hint.

#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <optional>
#include <string>

#include "device/plugin_abi.h"

namespace modeld::gpu {

struct Failure {
  std::string reason;
  std::string message;
  std::string hint;
};

// Absent: it worked.
using MaybeFailure = std::optional<Failure>;

// `what` could not be done: says so with the name of the error, and what to do about it. Memory
// that is short is BUDGET_EXCEEDED, an error that every later call would meet again DEVICE_LOST,
// and everything else DEVICE_UNAVAILABLE. REQUIRES: error != cudaSuccess
Failure MakeFailure(const std::string& what, cudaError_t error);
// The runtime's errors have the numbers of the driver's.
inline Failure MakeFailure(const std::string& what, CUresult error) {
  return MakeFailure(what, static_cast<cudaError_t>(error));
}

// Into the caller's buffers, cut where it is too long. Returns what a function of the table
// returns.
int Tell(const MaybeFailure& outcome, ModeldDeviceFailure* failure);

}  // namespace modeld::gpu
