// CUDA's errors by number and by either of their names. The runtime's and the driver's numbers are
// the same for every error that both have.

#pragma once

#include <optional>
#include <string>

namespace fake_cudart {

struct ErrorInfo {
  int value = 0;
  const char* runtime_name = nullptr;  // null: the runtime has no such error
  const char* driver_name = nullptr;   // null: the driver has no such error
  const char* message = nullptr;
};

// Null for a number that is not in the table.
const ErrorInfo* FindError(int value);

// The runtime's name, or the driver's where only that has one, or the number.
std::string ErrorName(int value);

// "cudaErrorMemoryAllocation" or "CUDA_ERROR_OUT_OF_MEMORY" to 2.
std::optional<int> ParseError(const std::string& name);

}  // namespace fake_cudart
