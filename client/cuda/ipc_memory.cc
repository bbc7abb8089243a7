#include <array>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "cuda/devices.h"
#include "cuda/memory.h"
#include "wire/mutex.h"

namespace modeld::gpu {
namespace {

using Handle = std::array<unsigned char, sizeof(cudaIpcMemHandle_t)>;
using Key = std::pair<Handle, int>;  // and the ordinal of its GPU

MaybeFailure OpenHandle(const Key& key, void*& pointer) {
  const auto& [bytes, ordinal] = key;
  const std::string memory = "memory of " + NameOf(ordinal);
  cudaIpcMemHandle_t handle;
  std::memcpy(&handle, bytes.data(), sizeof(handle));
  cudaError_t error = cudaIpcOpenMemHandle(&pointer, handle, cudaIpcMemLazyEnablePeerAccess);
  if (error != cudaSuccess) return MakeFailure("the driver refuses the handle of " + memory, error);
  cudaPointerAttributes attributes = {};
  error = cudaPointerGetAttributes(&attributes, pointer);
  if (error == cudaSuccess && attributes.device == ordinal) return {};
  (void)cudaIpcCloseMemHandle(pointer);
  if (error != cudaSuccess) return MakeFailure("cannot look at " + memory, error);
  return Failure{"DEVICE_UNAVAILABLE",
                 "what came as " + memory + " lies on cuda:" + std::to_string(attributes.device),
                 "compare the versions of modeld and libmodeld; see `modelctl devices`"};
}

// Is it still what was opened, or has the device been reset since?
bool IsMapped(const void* pointer) {
  cudaPointerAttributes attributes = {};
  return cudaPointerGetAttributes(&attributes, pointer) == cudaSuccess &&
         attributes.type == cudaMemoryTypeDevice;
}

// What this process has open, each handle once however many have it: not every release of CUDA
// counts by itself. Thread-safe. While one handle is being opened or closed, others who want it
// wait.
class OpenHandles {
 public:
  // Never destroyed: mappings may end after static objects.
  static OpenHandles& Get() {
    static OpenHandles& all = *new OpenHandles;
    return all;
  }

  // Each Open that works is to be ended by one Close.
  MaybeFailure Open(const Key& key, void*& pointer) {
    Entry& entry = Begin(key);
    MaybeFailure failed;
    if (entry.count == 0 || !IsMapped(entry.pointer)) failed = OpenHandle(key, entry.pointer);
    pointer = entry.pointer;
    End(key, failed ? 0 : 1);
    return failed;
  }

  void Close(const Key& key, bool has_context) {
    Entry& entry = Begin(key);
    // Whatever it says, the mapping is gone or CUDA is.
    if (entry.count == 1 && has_context) (void)cudaIpcCloseMemHandle(entry.pointer);
    End(key, -1);
  }

 private:
  // Its fields but the first are those of whoever has made it busy.
  struct Entry {
    bool busy = false;
    int waiting = 0;
    int count = 0;
    void* pointer = nullptr;
  };

  Entry& Begin(const Key& key) {
    wire::MutexLock lock(mutex_);
    Entry& entry = entries_[key];
    ++entry.waiting;
    while (entry.busy) changed_.Wait(mutex_);
    --entry.waiting;
    entry.busy = true;
    return entry;
  }

  void End(const Key& key, int opened) {
    wire::MutexLock lock(mutex_);
    const auto found = entries_.find(key);
    found->second.busy = false;
    found->second.count += opened;
    if (found->second.count == 0 && found->second.waiting == 0) entries_.erase(found);
    changed_.NotifyAll();
  }

  wire::Mutex mutex_;
  wire::CondVar changed_;
  std::map<Key, Entry> entries_ MODELD_GUARDED_BY(mutex_);
};

class IpcMemory final : public Memory {
 public:
  IpcMemory(const Key& key, void* address) : key_(key), address_(address) {}
  void* address() const override { return address_; }
  void Unmap(bool has_context) override { OpenHandles::Get().Close(key_, has_context); }

 private:
  const Key key_;
  void* const address_;
};

}  // namespace

MaybeFailure MapIpc(const ModeldDeviceSegment& segment, int ordinal,
                    std::unique_ptr<Memory>& memory) {
  Key key = {{}, ordinal};
  std::memcpy(key.first.data(), segment.ipc_handle, key.first.size());
  void* pointer = nullptr;
  if (auto failed = OpenHandles::Get().Open(key, pointer)) return failed;
  memory = std::make_unique<IpcMemory>(key, pointer);
  return {};
}

}  // namespace modeld::gpu
