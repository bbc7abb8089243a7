#include <cuda.h>
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "child.h"
#include "driver.h"
#include "world.h"

namespace fake_cudart_test {
namespace {

constexpr size_t kChunk = 2 * kMiB;

CUmemAllocationProp Properties(int device) {
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = device;
  return prop;
}

CUmemAccessDesc Access(int device, CUmemAccess_flags flags) {
  CUmemAccessDesc access = {};
  access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  access.location.id = device;
  access.flags = flags;
  return access;
}

char* Pointer(CUdeviceptr address) { return reinterpret_cast<char*>(address); }

void* FdHandle(int fd) { return reinterpret_cast<void*>(static_cast<intptr_t>(fd)); }

CUmemGenericAllocationHandle Create(size_t bytes) {
  const CUmemAllocationProp prop = Properties(0);
  CUmemGenericAllocationHandle handle = 0;
  REQUIRE_CUDA(CUDA_SUCCESS, Driver::Get().create(&handle, bytes, &prop, 0));
  return handle;
}

CUmemGenericAllocationHandle Import(int fd) {
  CUmemGenericAllocationHandle handle = 0;
  REQUIRE_CUDA(CUDA_SUCCESS, Driver::Get().import_fd(&handle, FdHandle(fd),
                                                     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
  return handle;
}

int Export(CUmemGenericAllocationHandle handle) {
  int fd = -1;
  REQUIRE_CUDA(CUDA_SUCCESS,
               Driver::Get().export_fd(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  return fd;
}

CUdeviceptr Map(CUmemGenericAllocationHandle handle, size_t bytes, CUmemAccess_flags flags) {
  const Driver& driver = Driver::Get();
  CUdeviceptr address = 0;
  const CUmemAccessDesc access = Access(0, flags);
  REQUIRE_CUDA(CUDA_SUCCESS, driver.reserve(&address, bytes, 0, 0, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.map(address, bytes, 0, handle, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.set_access(address, bytes, &access, 1));
  return address;
}

ROLE(LivesAVmmLife) {
  const Driver& driver = Driver::Get();
  CUmemAllocationProp prop = Properties(0);
  size_t granularity = 0;
  REQUIRE_CUDA(CUDA_SUCCESS,
               driver.granularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  REQUIRE(granularity == kChunk);
  CUmemGenericAllocationHandle handle = 0;
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.create(&handle, kChunk + 4096, &prop, 0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.create(&handle, 0, &prop, 0));
  REQUIRE_CUDA(CUDA_ERROR_OUT_OF_MEMORY, driver.create(&handle, 128 * kMiB, &prop, 0));
  prop.location.id = 5;
  REQUIRE_CUDA(CUDA_ERROR_INVALID_DEVICE, driver.create(&handle, kChunk, &prop, 0));
  const CUmemGenericAllocationHandle first = Create(kChunk);
  const CUmemGenericAllocationHandle second = Create(2 * kChunk);

  CUdeviceptr base = 0;
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.reserve(&base, 4096, 0, 0, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.reserve(&base, 4 * kChunk, 0, 0, 0));
  REQUIRE(base % kChunk == 0);
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.map(base, kChunk, 0, second, 0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.map(base, kChunk, kChunk, second, 0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.map(base + 3 * kChunk, 2 * kChunk, 0, second, 0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.map(base + 64 * kChunk, kChunk, 0, first, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.map(base, kChunk, 0, first, 0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.map(base, kChunk, 0, first, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.map(base + kChunk, 2 * kChunk, 0, second, 0));

  const CUmemAccessDesc access = Access(0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.set_access(base, 2 * kChunk, &access, 1));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.set_access(base, 4 * kChunk, &access, 1));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.set_access(base, 3 * kChunk, &access, 1));
  unsigned long long flags = 0;
  REQUIRE_CUDA(CUDA_SUCCESS, driver.get_access(&flags, &access.location, base + kChunk));
  REQUIRE(flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  // One copy across both chunks.
  REQUIRE_CUDA(cudaSuccess, cudaMemset(Pointer(base), 7, 3 * kChunk));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
  REQUIRE(Pointer(base)[3 * kChunk - 1] == 7);
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaMemset(Pointer(base), 7, 4 * kChunk));
  cudaIpcMemHandle_t ipc;
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaIpcGetMemHandle(&ipc, Pointer(base)));
  REQUIRE_CUDA(cudaErrorInvalidValue, cudaGetLastError());

  REQUIRE_CUDA(CUDA_SUCCESS, driver.release(second));
  REQUIRE(FreeMib() == 58);
  CUmemGenericAllocationHandle retained = 0;
  REQUIRE_CUDA(CUDA_SUCCESS, driver.retain(&retained, Pointer(base) + 2 * kChunk));
  REQUIRE(retained == second);
  REQUIRE_CUDA(CUDA_SUCCESS, driver.release(second));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.release(second));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.free(base, 4 * kChunk));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, driver.unmap(base + kChunk, kChunk));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.unmap(base, 3 * kChunk));
  REQUIRE(FreeMib() == 62);
  REQUIRE_CUDA(CUDA_SUCCESS, driver.free(base, 4 * kChunk));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.release(first));
  REQUIRE(FreeMib() == 64);
}

TEST(Vmm, KeepsToTheRulesOfTheRealOne) { EXPECT_TRUE(RunsWell(LivesAVmmLife, World({"64MiB"}))); }

ROLE(VmmExporter) {
  const CUmemGenericAllocationHandle handle = Create(4 * kChunk);
  const CUdeviceptr address = Map(handle, 4 * kChunk, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  REQUIRE_CUDA(cudaSuccess, cudaMemset(Pointer(address), 42, 4 * kChunk));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceSynchronize());
  const int fd = Export(handle);
  REQUIRE((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  parent.SendFd(fd);
  close(fd);
  parent.Receive();
}

ROLE(VmmImporter) {
  const Driver& driver = Driver::Get();
  const int fd = parent.ReceiveFd();
  const CUmemGenericAllocationHandle handle = Import(fd);
  close(fd);
  CUmemAllocationProp prop = {};
  REQUIRE_CUDA(CUDA_SUCCESS, driver.properties(&prop, handle));
  REQUIRE(prop.location.id == 0 && prop.type == CU_MEM_ALLOCATION_TYPE_PINNED);
  const CUdeviceptr address = Map(handle, 4 * kChunk, CU_MEM_ACCESS_FLAGS_PROT_READ);
  REQUIRE(FreeMib() == 56);
  parent.Send("mapped");
  parent.Receive();

  REQUIRE(Pointer(address)[4 * kChunk - 1] == 42);
  REQUIRE(FreeMib() == 56);
  char byte = 0;
  REQUIRE_CUDA(cudaSuccess, cudaMemcpy(&byte, Pointer(address), 1, cudaMemcpyDeviceToHost));
  REQUIRE(byte == 42);
  REQUIRE_CUDA(CUDA_SUCCESS, driver.release(handle));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.unmap(address, 4 * kChunk));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.free(address, 4 * kChunk));
  REQUIRE(FreeMib() == 64);
}

TEST(Vmm, SharesMemoryThatOutlivesItsExporter) {
  const World world({"64MiB"});
  Child exporter(VmmExporter, world);
  Child importer(VmmImporter, world);
  const int fd = exporter.channel().ReceiveFd();
  ASSERT_GE(fd, 0);
  importer.channel().SendFd(fd);
  close(fd);
  EXPECT_EQ(importer.channel().Receive(), "mapped");
  exporter.Kill();
  importer.channel().Send("killed");
  EXPECT_TRUE(importer.EndsWell());
  EXPECT_EQ(world.Logged("create " + world.uuid(0) + " 8388608"), 1u);
  EXPECT_EQ(world.Logged("import " + world.uuid(0) + " 8388608"), 1u);
}

TEST(Vmm, MemoryIsHeldByADescriptorAlone) {
  const World world({"64MiB"});
  Child exporter(VmmExporter, world);
  const int fd = exporter.channel().ReceiveFd();
  exporter.Kill();
  Child importer(VmmImporter, world);
  importer.channel().SendFd(fd);
  close(fd);
  EXPECT_EQ(importer.channel().Receive(), "mapped");
  importer.channel().Send("go on");
  EXPECT_TRUE(importer.EndsWell());
}

ROLE(StoresWithoutAccess) {
  const Driver& driver = Driver::Get();
  CUdeviceptr address = 0;
  REQUIRE_CUDA(CUDA_SUCCESS, driver.reserve(&address, kChunk, 0, 0, 0));
  REQUIRE_CUDA(CUDA_SUCCESS, driver.map(address, kChunk, 0, Create(kChunk), 0));
  FaultPlainly();
  *static_cast<volatile char*>(Pointer(address)) = 1;
}

ROLE(StoresIntoAReadOnlyMapping) {
  volatile char* bytes = Pointer(Map(Create(kChunk), kChunk, CU_MEM_ACCESS_FLAGS_PROT_READ));
  REQUIRE(bytes[0] == 0);
  FaultPlainly();
  bytes[0] = 1;
}

TEST(Vmm, AStoreWithoutTheRightFaults) {
  const World world;
  EXPECT_EQ(Child(StoresWithoutAccess, world).EndsBySignal(), SIGSEGV);
  EXPECT_EQ(Child(StoresIntoAReadOnlyMapping, world).EndsBySignal(), SIGSEGV);
}

ROLE(CopiesIntoAReadOnlyMapping) {
  const CUmemGenericAllocationHandle handle = Create(kChunk);
  char* bytes = Pointer(Map(handle, kChunk, CU_MEM_ACCESS_FLAGS_PROT_READ));
  const char byte = 1;
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaMemcpy(bytes, &byte, 1, cudaMemcpyHostToDevice));
  REQUIRE(bytes[0] == 0);
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaDeviceSynchronize());
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaGetLastError());
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaGetLastError());
  void* pointer = nullptr;
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaMalloc(&pointer, 1));
  REQUIRE_CUDA(CUDA_ERROR_ILLEGAL_ADDRESS,
               Driver::Get().unmap(reinterpret_cast<CUdeviceptr>(bytes), kChunk));
  REQUIRE_CUDA(cudaSuccess, cudaDeviceReset());
  cudaGetLastError();
  REQUIRE_CUDA(cudaSuccess, cudaMalloc(&pointer, 1));
  REQUIRE_CUDA(cudaSuccess, cudaGetLastError());
  // Memory and addresses are of the process, access was of the context.
  REQUIRE_CUDA(CUDA_SUCCESS, Driver::Get().unmap(reinterpret_cast<CUdeviceptr>(bytes), kChunk));
}

TEST(Vmm, ACopyWithoutTheRightBreaksTheContextAndTouchesNothing) {
  EXPECT_TRUE(RunsWell(CopiesIntoAReadOnlyMapping, World()));
}

ROLE(FillsAReadOnlyMappingLater) {
  char* bytes = Pointer(Map(Create(kChunk), kChunk, CU_MEM_ACCESS_FLAGS_PROT_READ));
  cudaStream_t stream = nullptr;
  REQUIRE_CUDA(cudaSuccess, cudaStreamCreate(&stream));
  REQUIRE_CUDA(cudaSuccess, cudaMemsetAsync(bytes, 1, kChunk, stream));
  REQUIRE_CUDA(cudaErrorIllegalAddress, cudaStreamSynchronize(stream));
  REQUIRE(bytes[0] == 0);
}

TEST(Vmm, AnAsynchronousFillWithoutTheRightIsReportedByTheStream) {
  EXPECT_TRUE(RunsWell(FillsAReadOnlyMappingLater, World()));
}

ROLE(ImportsWhatItMayNot) {
  CUmemGenericAllocationHandle handle = 0;
  const auto import_fd = [&](int fd) {
    return Driver::Get().import_fd(&handle, FdHandle(fd), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  };
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, import_fd(-1));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, import_fd(0));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_VALUE, import_fd(memfd_create("other", MFD_CLOEXEC)));
  REQUIRE_CUDA(CUDA_ERROR_INVALID_DEVICE, import_fd(parent.ReceiveFd()));
}

TEST(Vmm, ImportsOnlyDeviceMemoryOfAGpuThatItSees) {
  World world({"64MiB", "64MiB"});
  Child exporter(VmmExporter, world);
  world.Set("CUDA_VISIBLE_DEVICES", "1");
  Child importer(ImportsWhatItMayNot, world);
  const int fd = exporter.channel().ReceiveFd();
  importer.channel().SendFd(fd);
  close(fd);
  EXPECT_TRUE(importer.EndsWell());
}

ROLE(FindsNoVmm) {
  int supported = -1;
  const auto attribute =
      static_cast<cudaDeviceAttr>(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
  REQUIRE_CUDA(cudaSuccess, cudaDeviceGetAttribute(&supported, attribute, 0));
  REQUIRE(supported == 0);
  void* function = &function;
  auto result = cudaDriverEntryPointSuccess;
  REQUIRE_CUDA(cudaSuccess, cudaGetDriverEntryPointByVersion("cuMemCreate", &function, 12000,
                                                             cudaEnableDefault, &result));
  REQUIRE(function == nullptr && result == cudaDriverEntryPointSymbolNotFound);
}

TEST(Vmm, CanBeMissing) {
  World world;
  world.Set("FAKE_CUDA_VMM", "0");
  EXPECT_TRUE(RunsWell(FindsNoVmm, world));
}

}  // namespace
}  // namespace fake_cudart_test
