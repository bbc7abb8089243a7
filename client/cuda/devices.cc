#include "cuda/devices.h"

#include "cuda/device_thread.h"
#include "cuda/driver_api.h"
#include "wire/gpu_uuid.h"
#include "wire/mutex.h"

namespace modeld::gpu {
namespace {

struct Known {
  wire::Mutex mutex;
  bool complete MODELD_GUARDED_BY(mutex) = false;
  std::vector<std::string> uuids MODELD_GUARDED_BY(mutex);
};

// Never destroyed: mappings may end after static objects.
Known& GetKnown() {
  static Known& known = *new Known;
  return known;
}

MaybeFailure ReadUuids(std::vector<std::string>& uuids) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return MakeFailure("this process cannot use a GPU", error);
  }
  DriverApi driver;
  if (auto failed = GetDriverApi(driver)) return failed;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUdevice device = 0;
    CUuuid uuid = {};
    CUresult error = driver.device_get(&device, ordinal);
    if (error == CUDA_SUCCESS) error = driver.device_get_uuid(&uuid, device);
    if (error != CUDA_SUCCESS) {
      return MakeFailure("the UUID of cuda:" + std::to_string(ordinal) + " cannot be read", error);
    }
    uuids.push_back(wire::GpuUuidText(uuid.bytes));
  }
  return {};
}

}  // namespace

MaybeFailure GetUuids(std::vector<std::string>& uuids) {
  Known& known = GetKnown();
  {
    wire::MutexLock lock(known.mutex);
    if (known.complete) {
      uuids = known.uuids;
      return {};
    }
  }
  uuids.clear();
  if (auto failed = InThread([&] { return ReadUuids(uuids); })) return failed;
  wire::MutexLock lock(known.mutex);
  known.complete = true;
  known.uuids = uuids;
  return {};
}

std::string NameOf(int ordinal) {
  std::vector<std::string> uuids;
  const bool known = !GetUuids(uuids) && static_cast<size_t>(ordinal) < uuids.size();
  return known ? uuids[static_cast<size_t>(ordinal)] : "cuda:" + std::to_string(ordinal);
}

bool HasContext(int ordinal) {
  DriverApi driver;
  if (GetDriverApi(driver)) return false;
  CUdevice device = 0;
  unsigned int flags = 0;
  int active = 0;
  return driver.device_get(&device, ordinal) == CUDA_SUCCESS &&
         driver.primary_context_state(device, &flags, &active) == CUDA_SUCCESS && active != 0;
}

}  // namespace modeld::gpu
