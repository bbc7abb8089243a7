#include <cuda.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "child.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

ROLE(KeepsErrorsPerThread) {
  REQUIRE_CUDA(cudaErrorInvalidDevice, cudaSetDevice(9));
  std::thread([] {
    REQUIRE_CUDA(cudaSuccess, cudaPeekAtLastError());
    REQUIRE_CUDA(cudaErrorInvalidValue, cudaMemset(nullptr, 0, 1));
    REQUIRE_CUDA(cudaErrorInvalidValue, cudaPeekAtLastError());
  }).join();
  REQUIRE_CUDA(cudaErrorInvalidDevice, cudaPeekAtLastError());
  REQUIRE_CUDA(cudaErrorInvalidDevice, cudaGetLastError());
  REQUIRE_CUDA(cudaSuccess, cudaGetLastError());
}

TEST(Errors, AreRememberedPerThreadUntilTheyAreTaken) {
  EXPECT_TRUE(RunsWell(KeepsErrorsPerThread, World()));
}

ROLE(NamesErrors) {
  REQUIRE(strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0);
  REQUIRE(strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0);
  REQUIRE(strcmp(cudaGetErrorString(static_cast<cudaError_t>(998)), "unrecognized error code") ==
          0);
  void* function = nullptr;
  REQUIRE_CUDA(cudaSuccess,
               cudaGetDriverEntryPointByVersion("cuGetErrorName", &function, 12000, 0, nullptr));
  const char* name = nullptr;
  const auto get_name = reinterpret_cast<CUresult (*)(CUresult, const char**)>(function);
  REQUIRE_CUDA(CUDA_SUCCESS, get_name(CUDA_ERROR_INVALID_CONTEXT, &name));
  REQUIRE(strcmp(name, "CUDA_ERROR_INVALID_CONTEXT") == 0);
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, get_name(static_cast<CUresult>(998), &name));
}

TEST(Errors, HaveTheirRealNamesAndMessages) { EXPECT_TRUE(RunsWell(NamesErrors, World())); }

ROLE(ForksAfterCuda) {
  REQUIRE_CUDA(cudaSuccess, cudaSetDevice(0));
  const pid_t child = fork();
  if (child == 0) _exit(cudaSetDevice(0) == cudaErrorInitializationError ? 0 : 1);
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

TEST(Errors, MeetAForkedChildAtItsFirstCall) { EXPECT_TRUE(RunsWell(ForksAfterCuda, World())); }

ROLE(AsksForEntryPoints) {
  void* function = nullptr;
  auto result = cudaDriverEntryPointSuccess;
  const auto find = [&](const char* name, unsigned int version) {
    return cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &result);
  };
  REQUIRE_CUDA(cudaSuccess, find("cuMemCreate", 12000));
  REQUIRE(function != nullptr && result == cudaDriverEntryPointSuccess);
  REQUIRE_CUDA(cudaSuccess, find("cuMemCreate", 9000));
  REQUIRE(function == nullptr && result == cudaDriverEntryPointVersionNotSufficent);
  REQUIRE_CUDA(cudaSuccess, find("cuNoSuchThing", 12000));
  REQUIRE(function == nullptr && result == cudaDriverEntryPointSymbolNotFound);
  REQUIRE_CUDA(cudaErrorInvalidValue, find("cuMemCreate", CUDART_VERSION + 1000));
  REQUIRE_CUDA(cudaSuccess, find("cuCtxGetDevice", 12000));
  void* const old = function;
  REQUIRE_CUDA(cudaSuccess, find("cuCtxGetDevice", 13000));
  REQUIRE(function != old);
}

TEST(EntryPoints, AreFoundByNameAndVersion) { EXPECT_TRUE(RunsWell(AsksForEntryPoints, World())); }

}  // namespace
}  // namespace fake_cudart_test
