// A process that has a segment of device memory and gives it away: what an agent does, and no more.
//
//   cuda_exporter vmm|ipc ORDINAL BYTES CHUNK_BYTES
//
// Byte i is (i / 4096 + i) % 251. Over descriptor 3 goes one frame, with the allocations'
// descriptors or the IPC handle; then it waits until the other end closes.

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "wire/framed_socket.h"

namespace {

void Require(int error, const char* what) {
  if (error == 0) return;
  std::fprintf(stderr, "cuda_exporter: %s: error %d\n", what, error);
  std::exit(1);
}

template <class Function>
Function Driver(const char* name) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result;
  Require(cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &result),
          name);
  return reinterpret_cast<Function>(address);
}

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i / 4096 + i) % 251);
  return bytes;
}

// The descriptors of its chunks.
std::vector<int> ExportVmm(int ordinal, const std::string& bytes, size_t chunk_bytes) {
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = ordinal;
  CUmemAccessDesc access = {};
  access.location = prop.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  CUdeviceptr base = 0;
  Require(
      Driver<PFN_cuMemAddressReserve_v10020>("cuMemAddressReserve")(&base, bytes.size(), 0, 0, 0),
      "reserve");
  std::vector<int> fds;
  for (size_t at = 0; at < bytes.size(); at += chunk_bytes) {
    const size_t size = std::min(chunk_bytes, bytes.size() - at);
    CUmemGenericAllocationHandle handle = 0;
    Require(Driver<PFN_cuMemCreate_v10020>("cuMemCreate")(&handle, size, &prop, 0), "create");
    Require(Driver<PFN_cuMemMap_v10020>("cuMemMap")(base + at, size, 0, handle, 0), "map");
    int fd = -1;
    Require(Driver<PFN_cuMemExportToShareableHandle_v10020>("cuMemExportToShareableHandle")(
                &fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
            "export");
    fds.push_back(fd);
  }
  Require(Driver<PFN_cuMemSetAccess_v10020>("cuMemSetAccess")(base, bytes.size(), &access, 1),
          "access");
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  Require(
      cudaMemcpy(reinterpret_cast<void*>(base), bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
      "copy");
  return fds;
}

std::string ExportIpc(const std::string& bytes) {
  void* pointer = nullptr;
  Require(cudaMalloc(&pointer, bytes.size()), "malloc");
  Require(cudaMemcpy(pointer, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "copy");
  cudaIpcMemHandle_t handle;
  Require(cudaIpcGetMemHandle(&handle, pointer), "handle");
  return {reinterpret_cast<const char*>(&handle), sizeof(handle)};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const std::string kind = argv[1];
  const int ordinal = std::atoi(argv[2]);
  const std::string bytes = Pattern(std::strtoull(argv[3], nullptr, 10));
  Require(cudaSetDevice(ordinal), "device");
  modeld::wire::FramedSocket socket{modeld::wire::UniqueFd(3)};
  if (kind == "vmm") {
    const std::vector<int> fds = ExportVmm(ordinal, bytes, std::strtoull(argv[4], nullptr, 10));
    Require(!socket.Send("vmm", fds).ok(), "send");
    for (const int fd : fds) close(fd);
  } else {
    Require(!socket.Send(ExportIpc(bytes)).ok(), "send");
  }
  (void)socket.Receive();
  return 0;
}
