#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <string.h>

#include <string>

#include "child.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

std::string Text(const cudaIpcMemHandle_t& handle) {
  return {reinterpret_cast<const char*>(&handle), sizeof handle};
}

cudaIpcMemHandle_t Handle(const std::string& text) {
  cudaIpcMemHandle_t handle;
  REQUIRE(text.size() == sizeof handle);
  memcpy(&handle, text.data(), sizeof handle);
  return handle;
}

// Sends a handle, then does as it is told.
ROLE(Exporter) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 8 * kMiB));
  auto* bytes = static_cast<volatile char*>(pointer);
  bytes[0] = 42;
  cudaIpcMemHandle_t handle;
  REQUIRE_CUDA(cudaErrorInvalidValue,
               cudaIpcGetMemHandle(&handle, static_cast<char*>(pointer) + 512));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaGetLastError());
  REQUIRE_CUDA(cudaSuccess, cudaIpcGetMemHandle(&handle, pointer));
  void* own = nullptr;
  REQUIRE_CUDA(cudaErrorDeviceUninitialized,
               cudaIpcOpenMemHandle(&own, handle, cudaIpcMemLazyEnablePeerAccess));
  parent.Send(Text(handle));
  for (;;) {
    const std::string order = parent.Receive();
    if (order == "end") return;
    if (order == "free") REQUIRE_CUDA(cudaSuccess, cudaFree(pointer));
    parent.Send(order == "read" ? std::to_string(bytes[0]) : "done");
  }
}

ROLE(Importer) {
  const cudaIpcMemHandle_t handle = Handle(parent.Receive());
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcOpenMemHandle(&pointer, handle, 0));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcOpenMemHandle(&pointer, cudaIpcMemHandle_t{}, 1));
  REQUIRE_CUDA(cudaSuccess, cudaIpcOpenMemHandle(&pointer, handle, cudaIpcMemLazyEnablePeerAccess));
  auto* bytes = static_cast<volatile char*>(pointer);
  REQUIRE(bytes[0] == 42);
  bytes[0] = 43;
  REQUIRE(FreeMib() == 56);
  void* again = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaIpcOpenMemHandle(&again, handle, cudaIpcMemLazyEnablePeerAccess));
  REQUIRE(again == pointer);
  cudaIpcMemHandle_t reexported;
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcGetMemHandle(&reexported, pointer));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaFree(pointer));
  REQUIRE_CUDA(cudaSuccess, cudaIpcCloseMemHandle(pointer));
  parent.Send("mapped");

  parent.Receive();
  REQUIRE(bytes[0] == 43);
  REQUIRE(FreeMib() == 56);
  REQUIRE_CUDA(cudaSuccess, cudaIpcCloseMemHandle(pointer));
  REQUIRE(FreeMib() == 64);
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcCloseMemHandle(pointer));
  REQUIRE_CUDA(cudaErrorInvalidResourceHandle,
               cudaIpcOpenMemHandle(&pointer, handle, cudaIpcMemLazyEnablePeerAccess));
}

TEST(Ipc, SharesMemoryThatOutlivesItsExporter) {
  const World world({"64MiB"});
  Child exporter(Exporter, world);
  Child importer(Importer, world);
  importer.channel().Send(exporter.channel().Receive());
  EXPECT_EQ(importer.channel().Receive(), "mapped");
  exporter.channel().Send("read");
  EXPECT_EQ(exporter.channel().Receive(), "43");
  exporter.Kill();
  importer.channel().Send("killed");
  EXPECT_TRUE(importer.EndsWell());
  EXPECT_EQ(world.Logged("ipc_open"), 2u);
  EXPECT_EQ(world.Logged("ipc_close"), 2u);
}

TEST(Ipc, SharesMemoryThatOutlivesItsFree) {
  const World world({"64MiB"});
  Child exporter(Exporter, world);
  Child importer(Importer, world);
  importer.channel().Send(exporter.channel().Receive());
  EXPECT_EQ(importer.channel().Receive(), "mapped");
  exporter.channel().Send("free");
  EXPECT_EQ(exporter.channel().Receive(), "done");
  importer.channel().Send("freed");
  EXPECT_TRUE(importer.EndsWell());
  exporter.channel().Send("end");
  EXPECT_TRUE(exporter.EndsWell());
}

ROLE(ImportsOnAnotherDevice) {
  const cudaIpcMemHandle_t handle = Handle(parent.Receive());
  REQUIRE_CUDA(cudaSuccess, cudaSetDevice(1));
  void* pointer = nullptr;
  const cudaError_t error = cudaIpcOpenMemHandle(&pointer, handle, cudaIpcMemLazyEnablePeerAccess);
  int can_access = -1;
  REQUIRE_CUDA(cudaSuccess, cudaDeviceCanAccessPeer(&can_access, 1, 0));
  REQUIRE((error == cudaSuccess) == (can_access == 1));
  REQUIRE(error == cudaSuccess || error == cudaErrorPeerAccessUnsupported);
  parent.Send(can_access == 1 ? "mapped" : "refused");
}

TEST(Ipc, NeedsPeerAccessOnAnotherDevice) {
  for (const auto& [peer, outcome] : {std::pair("0", "refused"), std::pair("1", "mapped")}) {
    World world({"64MiB", "64MiB"});
    world.Set("FAKE_CUDA_PEER", peer);
    Child exporter(Exporter, world);
    Child importer(ImportsOnAnotherDevice, world);
    importer.channel().Send(exporter.channel().Receive());
    EXPECT_EQ(importer.channel().Receive(), outcome);
    EXPECT_TRUE(importer.EndsWell());
    EXPECT_EQ(world.Logged("context_created " + world.uuid(0)), 1u) << "only the exporter's";
  }
}

ROLE(ResetsWithImports) {
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaIpcOpenMemHandle(&pointer, Handle(parent.Receive()),
                                                 cudaIpcMemLazyEnablePeerAccess));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceReset());
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcCloseMemHandle(pointer));
}

TEST(Ipc, MappingsEndWithTheContext) {
  const World world({"64MiB"});
  Child exporter(Exporter, world);
  Child importer(ResetsWithImports, world);
  importer.channel().Send(exporter.channel().Receive());
  EXPECT_TRUE(importer.EndsWell());
}

}  // namespace
}  // namespace fake_cudart_test
