// Copies, streams and events.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <string.h>

#include <chrono>
#include <future>
#include <vector>

#include "child.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

// Work that keeps a stream busy until it is told to end.
class Gate {
 public:
  void Close(cudaStream_t stream) {
    REQUIRE_CUDA(cudaSuccess, cudaLaunchHostFunc(stream, Wait, this));
  }
  void Open() { open_.set_value(); }

 private:
  static void Wait(void* self) { static_cast<Gate*>(self)->open_.get_future().wait(); }

  std::promise<void> open_;
};

char* Pinned(size_t bytes) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMallocHost(&pointer, bytes));
  return static_cast<char*>(pointer);
}

char* OnDevice(size_t bytes) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, bytes));
  return static_cast<char*>(pointer);
}

ROLE(CopiesEveryWay) {
  std::vector<char> host(3 * kMiB, 7);
  std::vector<char> back(3 * kMiB, 0);
  char* device = OnDevice(3 * kMiB);
  char* other = OnDevice(3 * kMiB);
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(device, host.data(), host.size(), cudaMemcpyHostToDevice));
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(other, device, host.size(), cudaMemcpyDeviceToDevice));
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(back.data(), other, back.size(), cudaMemcpyDeviceToHost));
  REQUIRE(back == host);
  REQUIRE_CUDA(cudaSuccess, cudaMemset(other, 9, kMiB));
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(back.data(), other, back.size(), cudaMemcpyDefault));
  REQUIRE(back[0] == 9 && back[kMiB] == 7);
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(back.data(), host.data(), 1, cudaMemcpyHostToHost));

  REQUIRE_CUDA(cudaErrorInvalidValue,
               cudaMemcpy(host.data(), back.data(), 1, cudaMemcpyHostToDevice));
  REQUIRE_CUDA(cudaErrorInvalidValue,
               cudaMemcpy(device + 1, host.data(), host.size(), cudaMemcpyHostToDevice));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaMemcpy(nullptr, host.data(), 1, cudaMemcpyDefault));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaMemset(host.data(), 0, 1));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaGetLastError());
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
}

TEST(Copies, GoEveryWayAndStayInsideAnAllocation) {
  EXPECT_TRUE(RunsWell(CopiesEveryWay, World()));
}

ROLE(ReusesAPinnedBufferTooEarly) {
  char* pinned = Pinned(kMiB);
  char* device = OnDevice(kMiB);
  cudaStream_t stream = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  memset(pinned, 1, kMiB);
  Gate gate;
  gate.Close(stream);
  REQUIRE_CUDA(cudaSuccess, cudaMemcpyAsync(device, pinned, kMiB, cudaMemcpyHostToDevice, stream));
  REQUIRE_CUDA(cudaErrorNotReady, cudaStreamQuery(stream));
  memset(pinned, 2, kMiB);
  gate.Open();
  REQUIRE_CUDA(cudaSuccess, cudaStreamSynchronize(stream));
  REQUIRE_CUDA(cudaSuccess, cudaStreamQuery(stream));
  REQUIRE(device[0] == 2);
  REQUIRE_CUDA(cudaSuccess, cudaStreamDestroy(stream));
}

TEST(Copies, FromPinnedMemoryReadItWhenTheirTurnComes) {
  const World world;
  EXPECT_TRUE(RunsWell(ReusesAPinnedBufferTooEarly, world));
  EXPECT_EQ(world.Logged("h2d 1048576 pid="), 1u);
  EXPECT_EQ(world.Logged("pageable_copy"), 0u);
  EXPECT_EQ(world.Logged("sync_copy"), 0u);
}

ROLE(CopiesPageableMemory) {
  std::vector<char> pageable(kMiB, 1);
  char* device = OnDevice(kMiB);
  REQUIRE_CUDA(cudaSuccess,
               cudaMemcpyAsync(device, pageable.data(), kMiB, cudaMemcpyHostToDevice, nullptr));
  std::fill(pageable.begin(), pageable.end(), 2);
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
  REQUIRE(device[0] == 1);
  REQUIRE_CUDA(cudaSuccess, cudaHostRegister(pageable.data(), kMiB, cudaHostRegisterDefault));
  REQUIRE_CUDA(cudaSuccess,
               cudaMemcpyAsync(device, pageable.data(), kMiB, cudaMemcpyHostToDevice, nullptr));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
  REQUIRE(device[0] == 2);
  REQUIRE_CUDA(cudaSuccess, cudaHostUnregister(pageable.data()));
}

TEST(Copies, FromPageableMemoryAreSynchronousAndCounted) {
  const World world;
  EXPECT_TRUE(RunsWell(CopiesPageableMemory, world));
  EXPECT_EQ(world.Logged("pageable_copy 1048576"), 1u);
  EXPECT_EQ(world.Logged("h2d 1048576"), 2u);
}

ROLE(OrdersStreamsByEvents) {
  char* pinned = Pinned(1);
  char* device = OnDevice(1);
  cudaStream_t first = nullptr;
  cudaStream_t second = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaEventCreate(&start));
  REQUIRE_CUDA(cudaSuccess, cudaEventCreate(&end));
  float milliseconds = -1;
  REQUIRE_CUDA(cudaErrorInvalidResourceHandle, cudaEventElapsedTime(&milliseconds, start, end));
  REQUIRE_CUDA(cudaSuccess, cudaEventQuery(end));

  REQUIRE_CUDA(cudaSuccess, cudaEventRecord(start, first));
  *pinned = 5;
  Gate gate;
  gate.Close(first);
  REQUIRE_CUDA(cudaSuccess, cudaMemcpyAsync(device, pinned, 1, cudaMemcpyHostToDevice, first));
  REQUIRE_CUDA(cudaSuccess, cudaEventRecord(end, first));
  REQUIRE_CUDA(cudaErrorNotReady, cudaEventQuery(end));
  REQUIRE_CUDA(cudaSuccess, cudaStreamWaitEvent(second, end, 0));
  char* copied = Pinned(1);
  REQUIRE_CUDA(cudaSuccess, cudaMemcpyAsync(copied, device, 1, cudaMemcpyDeviceToHost, second));
  REQUIRE_CUDA(cudaErrorNotReady, cudaStreamQuery(second));
  gate.Open();
  REQUIRE_CUDA(cudaSuccess, cudaStreamSynchronize(second));
  REQUIRE(*copied == 5);
  REQUIRE_CUDA(cudaSuccess, cudaEventSynchronize(end));
  REQUIRE_CUDA(cudaSuccess, cudaEventElapsedTime(&milliseconds, start, end));
  REQUIRE(milliseconds >= 0);
  REQUIRE_CUDA(cudaSuccess, cudaEventDestroy(start));
  REQUIRE_CUDA(cudaErrorInvalidResourceHandle, cudaEventDestroy(start));
  REQUIRE_CUDA(cudaSuccess, cudaStreamDestroy(first));
  REQUIRE_CUDA(cudaErrorInvalidResourceHandle, cudaStreamDestroy(first));
}

TEST(Streams, WaitForEventsOfOthers) { EXPECT_TRUE(RunsWell(OrdersStreamsByEvents, World())); }

ROLE(UsesTheLegacyStream) {
  cudaStream_t blocking = nullptr;
  cudaStream_t independent = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreate(&blocking));
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreateWithFlags(&independent, cudaStreamNonBlocking));
  Gate gate;
  gate.Close(nullptr);
  char* pinned = Pinned(1);
  char* device = OnDevice(1);
  *pinned = 1;
  REQUIRE_CUDA(cudaSuccess,
               cudaMemcpyAsync(device, pinned, 1, cudaMemcpyHostToDevice, independent));
  REQUIRE_CUDA(cudaSuccess, cudaStreamSynchronize(independent));
  REQUIRE_CUDA(cudaSuccess, cudaMemsetAsync(device, 3, 1, blocking));
  REQUIRE_CUDA(cudaErrorNotReady, cudaStreamQuery(blocking));
  REQUIRE(*device == 1);
  gate.Open();
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(pinned, device, 1, cudaMemcpyDeviceToHost));
  REQUIRE(*pinned == 3);
}

TEST(Streams, OfTheLegacyKindComeBeforeAndAfterTheBlockingOnes) {
  EXPECT_TRUE(RunsWell(UsesTheLegacyStream, World()));
}

ROLE(CallsCudaInAHostFunction) {
  cudaError_t error = cudaSuccess;
  const auto call = [](void* result) {
    void* pointer = nullptr;
    *static_cast<cudaError_t*>(result) = cudaMalloc(&pointer, 1);
  };
  REQUIRE_CUDA(cudaSuccess, cudaLaunchHostFunc(nullptr, call, &error));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
  REQUIRE_CUDA(cudaErrorNotPermitted, error);
}

TEST(Streams, LetNoHostFunctionCallCuda) {
  EXPECT_TRUE(RunsWell(CallsCudaInAHostFunction, World()));
}

ROLE(CopiesSlowly) {
  char* pinned = Pinned(4 * kMiB);
  char* device = OnDevice(4 * kMiB);
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaEventCreate(&start));
  REQUIRE_CUDA(cudaSuccess, cudaEventCreate(&end));
  REQUIRE_CUDA(cudaSuccess, cudaEventRecord(start, nullptr));
  REQUIRE_CUDA(cudaSuccess,
               cudaMemcpyAsync(device, pinned, 4 * kMiB, cudaMemcpyHostToDevice, nullptr));
  REQUIRE_CUDA(cudaSuccess, cudaEventRecord(end, nullptr));
  REQUIRE_CUDA(cudaSuccess, cudaEventSynchronize(end));
  float milliseconds = 0;
  REQUIRE_CUDA(cudaSuccess, cudaEventElapsedTime(&milliseconds, start, end));
  REQUIRE(milliseconds >= 40);
}

TEST(Copies, AreAsSlowAsTheFaultsSay) {
  const World world;
  world.SetFaults("copy_delay_us_per_mib 10000\n");
  EXPECT_TRUE(RunsWell(CopiesSlowly, world));
}

ROLE(CallsAtExit) {
  static void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 4096));
  REQUIRE_CUDA(cudaSuccess, cudaMemset(pointer, 0, 4096));
  std::atexit([] {
    char byte = 1;
    REQUIRE_CUDA(cudaSuccess, cudaMemcpy(&byte, pointer, 1, cudaMemcpyDeviceToHost));
    REQUIRE_CUDA(cudaSuccess, cudaFree(pointer));
    REQUIRE_CUDA(cudaSuccess, cudaDeviceReset());
  });
}

TEST(Streams, ServeExitHandlersToo) { EXPECT_TRUE(RunsWell(CallsAtExit, World())); }

}  // namespace
}  // namespace fake_cudart_test
