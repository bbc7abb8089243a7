#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <string>

#include "child.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

std::string Name(cudaError_t error) { return cudaGetErrorName(error); }

// Allocates whenever it is told to, on the device of that number, and says what came of it.
ROLE(AllocatesOnDemand) {
  for (;;) {
    const std::string order = parent.Receive();
    if (order == "end") return;
    if (order == "reset") {
      parent.Send(Name(cudaDeviceReset()));
      continue;
    }
    void* pointer = nullptr;
    cudaError_t error = cudaSetDevice(std::stoi(order));
    if (error == cudaSuccess) error = cudaMalloc(&pointer, 4096);
    if (error == cudaSuccess) error = cudaFree(pointer);
    parent.Send(Name(error));
  }
}

std::string Ask(Child& child, const std::string& order) {
  child.channel().Send(order);
  return child.channel().Receive();
}

TEST(Faults, ComeAndGoWhileAProcessRuns) {
  const World world;
  Child child(AllocatesOnDemand, world);
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
  world.SetFaults("fail cudaMalloc cudaErrorMemoryAllocation 2\n");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorMemoryAllocation");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorMemoryAllocation");
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
  world.SetFaults("# always\nfail cudaFree CUDA_ERROR_NOT_SUPPORTED\n");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorNotSupported");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorNotSupported");
  world.SetFaults("");
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
  EXPECT_EQ(world.Logged("injected cudaMalloc cudaErrorMemoryAllocation"), 2u);
}

TEST(Faults, HitOnlyTheProcessThatTheyName) {
  const World world;
  Child first(AllocatesOnDemand, world);
  Child second(AllocatesOnDemand, world);
  world.SetFaults("fail cudaMalloc cudaErrorUnknown pid=" + std::to_string(second.pid()) +
                  "\nfail cudaMalloc cudaErrorUnknown program=something-else\n");
  EXPECT_EQ(Ask(first, "0"), "cudaSuccess");
  EXPECT_EQ(Ask(second, "0"), "cudaErrorUnknown");
}

TEST(Faults, MakeAContextBrokenUntilItIsReset) {
  const World world({"1GiB", "1GiB"});
  Child child(AllocatesOnDemand, world);
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
  world.SetFaults("sticky " + world.uuid(0) + " cudaErrorECCUncorrectable\n");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorECCUncorrectable");
  EXPECT_EQ(Ask(child, "1"), "cudaSuccess") << "other devices are unharmed";
  EXPECT_EQ(Ask(child, "0"), "cudaErrorECCUncorrectable");
  EXPECT_EQ(Ask(child, "reset"), "cudaSuccess");
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
}

ROLE(CountsDevices) {
  int count = 0;
  cudaGetDeviceCount(&count);
  parent.Send(std::to_string(count));
}

TEST(Faults, TakeADeviceAwayFromOldAndNewProcesses) {
  const World world({"1GiB", "1GiB"});
  Child child(AllocatesOnDemand, world);
  EXPECT_EQ(Ask(child, "0"), "cudaSuccess");
  world.SetFaults("gone " + world.uuid(0) + "\n");
  EXPECT_EQ(Ask(child, "0"), "cudaErrorDevicesUnavailable");
  EXPECT_EQ(Ask(child, "1"), "cudaSuccess");
  Child newer(CountsDevices, world);
  EXPECT_EQ(newer.channel().Receive(), "1");
  EXPECT_TRUE(newer.EndsWell());
}

}  // namespace
}  // namespace fake_cudart_test
