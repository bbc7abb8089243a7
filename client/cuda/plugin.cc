// The table of libmodeld-cuda: device/plugin_abi.h over the rest of this folder.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda/device_thread.h"
#include "cuda/devices.h"
#include "cuda/failure.h"
#include "cuda/memory.h"
#include "device/plugin_abi.h"

struct ModeldDeviceMapping {
  pid_t process;
  int ordinal;
  std::unique_ptr<modeld::gpu::Memory> memory;
};

namespace modeld::gpu {
namespace {

int Devices(ModeldDeviceUuid* out, std::uint32_t capacity, std::uint32_t* count,
            ModeldDeviceFailure* failure) {
  std::vector<std::string> uuids;
  if (const auto failed = GetUuids(uuids)) return Tell(failed, failure);
  *count = static_cast<std::uint32_t>(uuids.size());
  for (size_t i = 0; i < std::min<size_t>(capacity, uuids.size()); ++i) {
    std::memcpy(out[i].text, uuids[i].c_str(), kModeldDeviceUuidBytes);
  }
  return 0;
}

int Current(std::int32_t* ordinal, ModeldDeviceFailure* failure) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) {
    return Tell(MakeFailure("this thread has no current device", error), failure);
  }
  *ordinal = device;
  return 0;
}

MaybeFailure CheckSegment(const ModeldDeviceSegment& segment, int peer) {
  const auto nonsense = [](const char* what) {
    return Failure{"INTERNAL", std::string("a segment that makes no sense: ") + what, ""};
  };
  switch (segment.kind) {
    case kModeldDeviceVmm: {
      if (segment.size_bytes == 0 || segment.chunk_bytes == 0) return nonsense("it is empty");
      const uint64_t chunks = (segment.size_bytes - 1) / segment.chunk_bytes + 1;
      if (segment.fd_count != chunks) return nonsense("a descriptor for each chunk is needed");
      return {};
    }
    case kModeldDeviceIpc:
      if (segment.ipc_handle == nullptr) return nonsense("it has no handle");
      if (peer < 0) return {};
      return Failure{"DEVICE_UNAVAILABLE",
                     "memory that is exported by CUDA IPC is mapped for one GPU only, not for " +
                         NameOf(peer) + " besides",
                     "set export = \"vmm\" for the GPU in modeld's configuration, or acquire the "
                     "model on the GPU that reads it"};
  }
  return nonsense("its kind is not known");
}

int Map(const ModeldDeviceSegment* segment, std::int32_t ordinal, std::int32_t peer,
        ModeldDeviceMapping** mapping, void** address, ModeldDeviceFailure* failure) {
  if (const auto failed = CheckSegment(*segment, peer)) return Tell(failed, failure);
  std::unique_ptr<Memory> memory;
  const auto failed = OnDevice(ordinal, [&] {
    return segment->kind == kModeldDeviceVmm ? MapVmm(*segment, ordinal, peer, memory)
                                             : MapIpc(*segment, ordinal, memory);
  });
  if (failed) return Tell(failed, failure);
  *address = memory->address();
  *mapping = new ModeldDeviceMapping{getpid(), ordinal, std::move(memory)};
  return 0;
}

void Unmap(ModeldDeviceMapping* mapping) {
  // In a forked child the memory, the threads and the locks are the parent's.
  if (mapping->process != getpid()) return;
  const std::unique_ptr<ModeldDeviceMapping> owned(mapping);
  (void)InThread([&]() -> MaybeFailure {
    // Without a context nothing runs, and to ask for it would make one.
    const bool has_context = HasContext(owned->ordinal);
    if (has_context && cudaSetDevice(owned->ordinal) == cudaSuccess) (void)cudaDeviceSynchronize();
    owned->memory->Unmap(has_context);
    return {};
  });
}

// On a stream of its own, which waits for no other.
MaybeFailure Copy(int ordinal, const void* from, void* to, uint64_t size_bytes) {
  cudaStream_t stream = nullptr;
  cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) {
    error = cudaMemcpyAsync(to, from, size_bytes, cudaMemcpyDeviceToHost, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    (void)cudaStreamDestroy(stream);
  }
  if (error == cudaSuccess) return {};
  return MakeFailure("cannot copy " + std::to_string(size_bytes) + " bytes from " + NameOf(ordinal),
                     error);
}

int CopyToHost(std::int32_t ordinal, const void* from, void* to, std::uint64_t size_bytes,
               ModeldDeviceFailure* failure) {
  if (size_bytes == 0) return 0;
  return Tell(OnDevice(ordinal, [&] { return Copy(ordinal, from, to, size_bytes); }), failure);
}

constexpr ModeldDevicePlugin kTable = {.abi = kModeldDeviceAbi,
                                       .release = MODELD_RELEASE,
                                       .devices = Devices,
                                       .current = Current,
                                       .map = Map,
                                       .unmap = Unmap,
                                       .copy_to_host = CopyToHost};

}  // namespace
}  // namespace modeld::gpu

const ModeldDevicePlugin* modeld_device_plugin() { return &modeld::gpu::kTable; }
