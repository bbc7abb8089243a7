#include "fake_cudart/ipc.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <string>

#include "fake_cudart/accounting.h"
#include "fake_cudart/address_space.h"
#include "fake_cudart/device_memory.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/process_info.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {
namespace {

constexpr uint64_t kMagic = 0x6370692d656b6166;  // "fake-ipc"

// What the 64 bytes hold. Pids are those of the exporter's namespace.
struct HandleContent {
  uint64_t magic = kMagic;
  int32_t pid = 0;
  int32_t fd = -1;
  uint64_t start_time = 0;
  uint64_t inode = 0;
  uint64_t size_bytes = 0;
  Uuid uuid = {};
  uint64_t unused = 0;
};
static_assert(sizeof(HandleContent) == sizeof(cudaIpcMemHandle_t));

// The exporter's descriptor, if it still is what the handle says.
modeld::wire::UniqueFd OpenExported(const HandleContent& content) {
  const std::string path =
      "/proc/" + std::to_string(content.pid) + "/fd/" + std::to_string(content.fd);
  modeld::wire::UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return modeld::wire::UniqueFd();
  const auto description = DescribeDeviceMemfd(fd.get());
  // The start time is read last: from here on it is known whose descriptor was opened.
  if (!description || description->inode != content.inode || description->kind != kMallocKind ||
      StartTime(content.pid) != content.start_time) {
    return modeld::wire::UniqueFd();
  }
  return fd;
}

}  // namespace

Ipc& Ipc::Get() {
  static Ipc& ipc = *new Ipc;
  return ipc;
}

cudaError_t Ipc::Export(const void* pointer, cudaIpcMemHandle_t& handle) {
  const auto allocation = DeviceMemory::Get().FindAllocation(pointer);
  if (!allocation) return cudaErrorInvalidValue;
  HandleContent content;
  content.pid = getpid();
  content.fd = allocation->fd;
  content.start_time = StartTime(getpid()).value_or(0);
  content.inode = allocation->inode;
  content.size_bytes = allocation->size_bytes;
  content.uuid = GetDevice(allocation->device).spec.uuid;
  handle = std::bit_cast<cudaIpcMemHandle_t>(content);
  LogEvent("ipc_get", GetDevice(allocation->device).name(), allocation->size_bytes);
  return cudaSuccess;
}

cudaError_t Ipc::Open(const cudaIpcMemHandle_t& handle, int device, void*& pointer) {
  const auto content = std::bit_cast<HandleContent>(handle);
  if (content.magic != kMagic || content.size_bytes == 0) return cudaErrorInvalidValue;
  if (content.pid == getpid() && StartTime(getpid()) == content.start_time) {
    return cudaErrorDeviceUninitialized;
  }
  if (content.uuid != GetDevice(device).spec.uuid && !GetConfig().peer) {
    return cudaErrorPeerAccessUnsupported;
  }
  {
    MutexLock lock(mutex_);
    Opened& opened = opened_[{content.pid, content.start_time, content.inode}];
    if (opened.count == 0) {
      const modeld::wire::UniqueFd memfd = OpenExported(content);
      Range range;
      range.kind = RangeKind::kIpc;
      range.size_bytes = content.size_bytes;
      range.mapped_bytes = RoundUpToGranularity(content.size_bytes);
      range.device = device;
      range.readers = range.writers = GetConfig().peer ? kAllDevices : MaskOf(device);
      const cudaError_t error = memfd.valid()
                                    ? AddressSpace::Get().MapDevice(memfd.get(), range, opened.base)
                                    : cudaErrorInvalidResourceHandle;
      if (error != cudaSuccess) {
        opened_.erase({content.pid, content.start_time, content.inode});
        return error;
      }
      opened.device = device;
    }
    ++opened.count;
    pointer = reinterpret_cast<void*>(opened.base);
  }
  LogEvent("ipc_open", GetDevice(device).name(), content.size_bytes);
  return cudaSuccess;
}

cudaError_t Ipc::Close(void* pointer) {
  const auto base = reinterpret_cast<uintptr_t>(pointer);
  int device = -1;
  bool last = false;
  {
    MutexLock lock(mutex_);
    for (auto it = opened_.begin(); it != opened_.end(); ++it) {
      if (it->second.base != base) continue;
      device = it->second.device;
      last = --it->second.count == 0;
      if (last) opened_.erase(it);
      break;
    }
  }
  if (device < 0) return cudaErrorInvalidValue;
  if (last) {
    Streams::Get().Wait(device);
    AddressSpace::Get().Remove(base, RangeKind::kIpc);
  }
  LogEvent("ipc_close", GetDevice(device).name());
  return cudaSuccess;
}

void Ipc::Forget(int device) {
  {
    MutexLock lock(mutex_);
    for (auto it = opened_.begin(); it != opened_.end();) {
      it = it->second.device == device ? opened_.erase(it) : std::next(it);
    }
  }
  AddressSpace::Get().RemoveAll(RangeKind::kIpc, device);
}

}  // namespace fake_cudart
