#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "child.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

ROLE(AllocatesAndFrees) {
  void* pointer = &pointer;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 0));
  REQUIRE(pointer == nullptr);
  REQUIRE_CUDA(cudaSuccess, cudaFree(nullptr));
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 10 * kMiB));
  memset(pointer, 1, 10 * kMiB);
  REQUIRE(FreeMib() == 54);
  void* small = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&small, 100));
  REQUIRE(FreeMib() == 52);
  void* large = nullptr;
  REQUIRE_CUDA(cudaErrorMemoryAllocation, cudaMalloc(&large, 53 * kMiB));
  REQUIRE_CUDA(cudaErrorMemoryAllocation, cudaGetLastError());
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&large, 52 * kMiB));
  REQUIRE(FreeMib() == 0);
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaFree(static_cast<char*>(large) + 512));
  REQUIRE_CUDA(cudaSuccess, cudaFree(large));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaFree(large));
  REQUIRE_CUDA(cudaSuccess, cudaFree(small));
  REQUIRE_CUDA(cudaSuccess, cudaFree(pointer));
  REQUIRE(FreeMib() == 64);
}

TEST(Memory, IsCountedAndRefusedWhenTheDeviceIsFull) {
  const World world({"64MiB"});
  EXPECT_TRUE(RunsWell(AllocatesAndFrees, world));
  EXPECT_EQ(world.Logged("malloc " + world.uuid(0) + " 10485760"), 1u);
}

ROLE(HoldsHalf) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 32 * kMiB));
  parent.Send("holding");
  parent.Receive();
}

ROLE(ReportsFree) {
  for (;;) {
    if (parent.Receive() == "end") return;
    parent.Send(std::to_string(FreeMib()));
  }
}

TEST(Memory, OfAKilledProcessComesBack) {
  const World world({"64MiB"});
  Child observer(ReportsFree, world);
  const auto free_mib = [&] {
    observer.channel().Send("how much");
    return observer.channel().Receive();
  };
  EXPECT_EQ(free_mib(), "64");
  Child holder(HoldsHalf, world);
  EXPECT_EQ(holder.channel().Receive(), "holding");
  EXPECT_EQ(free_mib(), "32");
  holder.Kill();
  EXPECT_EQ(free_mib(), "64");
  observer.channel().Send("end");
  EXPECT_TRUE(observer.EndsWell());
}

ROLE(TakesAllItCan) {
  parent.Receive();
  int taken = 0;
  for (int i = 0; i < 8; ++i) {
    void* pointer = nullptr;
    if (cudaMalloc(&pointer, 8 * kMiB) == cudaSuccess) ++taken;
  }
  parent.Send(std::to_string(taken));
  parent.Receive();
}

TEST(Memory, IsNeverGivenOutTwice) {
  const World world({"64MiB"});
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 4; ++i) children.push_back(std::make_unique<Child>(TakesAllItCan, world));
  for (const auto& child : children) child->channel().Send("go");
  int taken = 0;
  for (const auto& child : children) taken += std::stoi(child->channel().Receive());
  EXPECT_LE(taken, 8);
  EXPECT_GE(taken, 1);
  for (const auto& child : children) child->channel().Send("end");
  for (const auto& child : children) EXPECT_TRUE(child->EndsWell());
}

ROLE(AllocatesFromThreads) {
  std::array<int, 4> taken = {};
  std::vector<std::thread> threads;
  for (int& count : taken) {
    threads.emplace_back([&count] {
      for (int i = 0; i < 4; ++i) {
        void* pointer = nullptr;
        if (cudaMalloc(&pointer, 8 * kMiB) == cudaSuccess) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  REQUIRE(taken[0] + taken[1] + taken[2] + taken[3] == 8);
}

TEST(Memory, OfOneProcessIsGivenToItsThreadsToTheLastByte) {
  EXPECT_TRUE(RunsWell(AllocatesFromThreads, World({"64MiB"})));
}

ROLE(ReadsNewMemory) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 4096));
  REQUIRE(static_cast<unsigned char*>(pointer)[4095] == 0xA5);
}

TEST(Memory, IsFullOfRubbishWhenAskedTo) {
  World world;
  world.Set("FAKE_CUDA_POISON", "1");
  EXPECT_TRUE(RunsWell(ReadsNewMemory, world));
}

ROLE(StoresAfterFree) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 4096));
  REQUIRE_CUDA(cudaSuccess, cudaFree(pointer));
  FaultPlainly();
  *static_cast<volatile char*>(pointer) = 1;
}

ROLE(StoresAfterReset) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 4096));
  cudaStream_t stream = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreate(&stream));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceReset());
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaFree(pointer));
  REQUIRE_CUDA(cudaErrorInvalidResourceHandle, cudaStreamSynchronize(stream));
  REQUIRE(FreeMib() == 1024);
  FaultPlainly();
  *static_cast<volatile char*>(pointer) = 1;
}

TEST(Memory, IsNotThereAfterFreeOrReset) {
  const World world;
  EXPECT_EQ(Child(StoresAfterFree, world).EndsBySignal(), SIGSEGV);
  EXPECT_EQ(Child(StoresAfterReset, world).EndsBySignal(), SIGSEGV);
}

ROLE(AsksAboutPointers) {
  void* device = nullptr;
  void* pinned = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaSetDevice(1));
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&device, 4096));
  REQUIRE_CUDA(cudaSuccess, cudaHostAlloc(&pinned, 4096, cudaHostAllocDefault));
  REQUIRE_CUDA(cudaSuccess, cudaSetDevice(0));
  cudaPointerAttributes attributes;
  REQUIRE_CUDA(cudaSuccess,
               cudaPointerGetAttributes(&attributes, static_cast<char*>(device) + 100));
  REQUIRE(attributes.type == cudaMemoryTypeDevice && attributes.device == 1);
  REQUIRE_CUDA(cudaSuccess, cudaPointerGetAttributes(&attributes, pinned));
  REQUIRE(attributes.type == cudaMemoryTypeHost && attributes.hostPointer == pinned);
  REQUIRE_CUDA(cudaSuccess, cudaPointerGetAttributes(&attributes, &attributes));
  REQUIRE(attributes.type == cudaMemoryTypeUnregistered);
  REQUIRE_CUDA(cudaSuccess, cudaFreeHost(pinned));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaFreeHost(pinned));
}

TEST(Memory, KnowsWhatAPointerPointsTo) {
  EXPECT_TRUE(RunsWell(AsksAboutPointers, World({"1GiB", "1GiB"})));
}

ROLE(RegistersHostMemory) {
  const size_t bytes = 64 << 10;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  REQUIRE_CUDA(cudaSuccess, cudaHostRegister(memory, bytes, cudaHostRegisterDefault));
  REQUIRE_CUDA(cudaErrorHostMemoryAlreadyRegistered,
               cudaHostRegister(static_cast<char*>(memory) + 4096, 4096, 0));
  REQUIRE_CUDA(cudaSuccess, cudaHostUnregister(memory));
  REQUIRE_CUDA(cudaErrorHostMemoryNotRegistered, cudaHostUnregister(memory));
  REQUIRE(mprotect(memory, bytes, PROT_READ) == 0);
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaHostRegister(memory, bytes, cudaHostRegisterDefault));
  REQUIRE_CUDA(cudaSuccess, cudaHostRegister(memory, bytes, cudaHostRegisterReadOnly));
  REQUIRE_CUDA(cudaSuccess, cudaHostUnregister(memory));
  REQUIRE(munmap(memory, bytes) == 0);
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaHostRegister(memory, bytes, cudaHostRegisterDefault));
}

TEST(Memory, OfTheHostIsRegisteredOnceAndOnlyAsItIsMapped) {
  EXPECT_TRUE(RunsWell(RegistersHostMemory, World()));
}

}  // namespace
}  // namespace fake_cudart_test
