#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <string.h>

#include <string>
#include <vector>

#include "child.h"
#include "driver.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

ROLE(FindsNoDevice) {
  int count = 7;
  REQUIRE_CUDA(cudaErrorNoDevice, cudaGetDeviceCount(&count));
  REQUIRE(count == 0);
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaErrorNoDevice, cudaMalloc(&pointer, 1));
  REQUIRE_CUDA(cudaErrorNoDevice, cudaSetDevice(0));
  REQUIRE_CUDA(cudaErrorNoDevice, cudaGetLastError());
  REQUIRE_CUDA(cudaSuccess, cudaGetLastError());
  int version = 0;
  REQUIRE_CUDA(cudaSuccess, cudaDriverGetVersion(&version));
  REQUIRE(version == CUDART_VERSION);
}

TEST(Devices, AreNoneUnlessTheEnvironmentListsThem) {
  EXPECT_TRUE(RunsWell(FindsNoDevice, World(std::vector<std::string>())));
}

ROLE(FindsNoDriver) {
  int version = 7;
  REQUIRE_CUDA(cudaSuccess, cudaDriverGetVersion(&version));
  parent.Send(std::to_string(version));
  int count = 7;
  REQUIRE_CUDA(cudaErrorInsufficientDriver, cudaGetDeviceCount(&count));
  REQUIRE(count == 0);
  REQUIRE_CUDA(cudaErrorInsufficientDriver, cudaGetLastError());
  REQUIRE_CUDA(cudaErrorInsufficientDriver, cudaGetLastError());
  void* function = nullptr;
  REQUIRE_CUDA(cudaErrorInsufficientDriver,
               cudaGetDriverEntryPointByVersion("cuInit", &function, 12000, 0, nullptr));
}

TEST(Devices, AreNoneWithoutADriverOrWithOneThatIsTooOld) {
  for (const auto& [driver, version] : {std::pair("none", "0"), std::pair("11080", "11080")}) {
    World world;
    world.Set("FAKE_CUDA_DRIVER", driver);
    Child child(FindsNoDriver, world);
    EXPECT_EQ(child.channel().Receive(), version);
    EXPECT_TRUE(child.EndsWell());
  }
}

ROLE(DescribesDevices) {
  int count = 0;
  REQUIRE_CUDA(cudaSuccess, cudaGetDeviceCount(&count));
  REQUIRE(count == 2);
  cudaDeviceProp properties;
  REQUIRE_CUDA(cudaErrorInvalidDevice, cudaGetDeviceProperties(&properties, 2));
  REQUIRE_CUDA(cudaSuccess, cudaGetDeviceProperties(&properties, 1));
  REQUIRE(strcmp(properties.name, "Fake GPU") == 0);
  REQUIRE(properties.totalGlobalMem == 512 * kMiB);
  REQUIRE(properties.unifiedAddressing == 1);
  parent.Send(UuidText(properties.uuid));

  char bus_id[32];
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaDeviceGetPCIBusId(bus_id, 4, 1));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, 1));
  int device = -1;
  REQUIRE_CUDA(cudaSuccess, cudaDeviceGetByPCIBusId(&device, bus_id));
  REQUIRE(device == 1);
  int bus = 0;
  REQUIRE_CUDA(cudaSuccess, cudaDeviceGetAttribute(&bus, cudaDevAttrPciBusId, 1));
  REQUIRE(bus == properties.pciBusID);
  REQUIRE_CUDA(cudaErrorInvalidDevice, cudaDeviceGetByPCIBusId(&device, "0000:77:00.0"));

  CUuuid uuid;
  REQUIRE_CUDA(CUDA_SUCCESS, Driver::Get().device_get_uuid(&uuid, 1));
  REQUIRE(memcmp(&uuid, &properties.uuid, sizeof uuid) == 0);
}

TEST(Devices, SayWhoTheyAre) {
  const World world({"1GiB", "512MiB"});
  Child child(DescribesDevices, world);
  EXPECT_EQ(child.channel().Receive(), world.uuid(1));
  EXPECT_TRUE(child.EndsWell());
  EXPECT_EQ(world.Logged("context_created"), 0u) << "asking makes no context";
}

ROLE(ListsUuids) {
  int count = 0;
  std::string list;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    REQUIRE_CUDA(cudaSuccess, cudaGetDeviceProperties(&properties, i));
    list += UuidText(properties.uuid) + " ";
  }
  parent.Send("visible: " + list);
}

TEST(Devices, AreSelectedByCudaVisibleDevices) {
  World world({"1GiB", "1GiB", "1GiB"});
  const auto visible = [&](const std::string& selection, const std::vector<size_t>& expected) {
    world.Set("CUDA_VISIBLE_DEVICES", selection);
    Child child(ListsUuids, world);
    std::string list = "visible: ";
    for (const size_t index : expected) list += world.uuid(index) + " ";
    EXPECT_EQ(child.channel().Receive(), list) << selection;
    EXPECT_TRUE(child.EndsWell());
  };
  visible("2,0", {2, 0});
  visible(world.uuid(1), {1});
  visible(world.uuid(2).substr(0, 12) + "," + world.uuid(0), {2, 0});
  visible("", {});
  visible("-1", {});
  visible("1,9,0", {1});
  visible("0,nothing,1", {0});
  visible("GPU-,0", {});
  visible("1,1", {});
}

ROLE(MakesContexts) {
  const Driver& driver = Driver::Get();
  const auto active = [&](int device) {
    unsigned int flags = 0;
    int state = -1;
    REQUIRE_CUDA(CUDA_SUCCESS, driver.primary_ctx_get_state(device, &flags, &state));
    return state == 1;
  };
  int count = 0;
  REQUIRE_CUDA(cudaSuccess, cudaGetDeviceCount(&count));
  CUcontext context = nullptr;
  REQUIRE_CUDA(CUDA_SUCCESS, driver.ctx_get_current(&context));
  REQUIRE(context == nullptr);
  CUdevice device = -1;
  REQUIRE_CUDA(CUDA_ERROR_INVALID_CONTEXT, driver.ctx_get_device(&device));
  REQUIRE(!active(0) && !active(1) && !active(2));

  REQUIRE_CUDA(cudaSuccess, cudaSetDevice(1));
  REQUIRE(!active(0) && active(1) && !active(2));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.ctx_get_current(&context));
  REQUIRE(context != nullptr);
  REQUIRE_CUDA(CUDA_SUCCESS, driver.ctx_get_device(&device));
  REQUIRE(device == 1);

  REQUIRE_CUDA(cudaSuccess, cudaInitDevice(2, 0, 0));
  REQUIRE(!active(0) && active(2));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.ctx_get_device(&device));
  REQUIRE(device == 1);
  size_t free = 0;
  size_t total = 0;
  REQUIRE_CUDA(cudaSuccess, cudaMemGetInfo(&free, &total));
  REQUIRE(total == 1024 * kMiB && free == total - 100 * kMiB);

  REQUIRE_CUDA(cudaSuccess, cudaDeviceReset());
  REQUIRE(!active(1) && active(2));
}

TEST(Contexts, AreMadeByTheFirstCallThatNeedsThemAndTakeMemory) {
  World world({"1GiB", "1GiB", "1GiB"});
  world.Set("FAKE_CUDA_CONTEXT", "100MiB");
  EXPECT_TRUE(RunsWell(MakesContexts, world));
  EXPECT_EQ(world.Logged("context_created " + world.uuid(0)), 0u);
  EXPECT_EQ(world.Logged("context_created " + world.uuid(1)), 1u);
  EXPECT_EQ(world.Logged("context_created " + world.uuid(2)), 1u);
  EXPECT_EQ(world.Logged("context_destroyed " + world.uuid(1)), 1u);
}

}  // namespace
}  // namespace fake_cudart_test
