#include "fake_cudart/copies.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "fake_cudart/address_space.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/faults.h"

namespace fake_cudart {
namespace {

// Mappings may change between one chunk and the next, and a broken context stops there.
constexpr size_t kChunkBytes = 1 << 20;

bool Matches(cudaMemcpyKind kind, bool from_device, bool to_device) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !from_device && !to_device;
    case cudaMemcpyHostToDevice:
      return !from_device && to_device;
    case cudaMemcpyDeviceToHost:
      return from_device && !to_device;
    case cudaMemcpyDeviceToDevice:
      return from_device && to_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

const char* EventName(bool from_device, bool to_device) {
  if (from_device) return to_device ? "d2d" : "d2h";
  return to_device ? "h2d" : "h2h";
}

void Delay(size_t size_bytes) {
  const uint64_t delay = CurrentFaults()->copy_delay_us_per_mib();
  if (delay == 0) return;
  std::this_thread::sleep_for(std::chrono::microseconds(delay * size_bytes >> 20));
}

Operand Advance(const Operand& operand, size_t bytes) {
  return {static_cast<char*>(operand.pointer) + bytes, operand.place};
}

// `step` does one chunk. What it may not do breaks the device's context.
template <typename Step>
void InChunks(size_t size_bytes, int device, const Step& step) {
  for (size_t at = 0; at < size_bytes; at += kChunkBytes) {
    const size_t chunk = std::min(kChunkBytes, size_bytes - at);
    const cudaError_t error = step(at, chunk);
    if (error != cudaSuccess) {
      Contexts::Get().Poison(device, error);
      return;
    }
  }
}

}  // namespace

cudaError_t CopyAsync(void* target, const void* source, size_t size_bytes, cudaMemcpyKind kind,
                      const std::shared_ptr<Stream>& stream) {
  if (size_bytes == 0) return cudaSuccess;
  if (target == nullptr || source == nullptr) return cudaErrorInvalidValue;
  AddressSpace& space = AddressSpace::Get();
  const Operand to = {target, space.Classify(target, size_bytes)};
  const Operand from = {const_cast<void*>(source), space.Classify(source, size_bytes)};
  const bool from_device = from.place == Place::kDevice;
  const bool to_device = to.place == Place::kDevice;
  if (to.place == Place::kInvalid || from.place == Place::kInvalid ||
      !Matches(kind, from_device, to_device)) {
    return cudaErrorInvalidValue;
  }
  const bool pageable = to.place == Place::kPageable || from.place == Place::kPageable;
  LogEvent(EventName(from_device, to_device), size_bytes);
  if (pageable && (from_device || to_device)) LogEvent("pageable_copy", size_bytes);
  const auto completion =
      Streams::Get().Add(stream, [to, from, size_bytes, device = stream->device()] {
        InChunks(size_bytes, device, [&](size_t at, size_t chunk) {
          Delay(chunk);
          return AddressSpace::Get().Copy(Advance(to, at), Advance(from, at), chunk, device);
        });
      });
  if (!pageable) return cudaSuccess;
  completion->Wait();
  return Contexts::Get().ErrorOf(stream->device());
}

cudaError_t FillAsync(void* target, int value, size_t size_bytes,
                      const std::shared_ptr<Stream>& stream) {
  if (size_bytes == 0) return cudaSuccess;
  const Operand to = {target, AddressSpace::Get().Classify(target, size_bytes)};
  if (to.place != Place::kDevice && to.place != Place::kPinned) return cudaErrorInvalidValue;
  Streams::Get().Add(stream, [to, value, size_bytes, device = stream->device()] {
    InChunks(size_bytes, device, [&](size_t at, size_t chunk) {
      return AddressSpace::Get().Fill(Advance(to, at), value, chunk, device);
    });
  });
  return cudaSuccess;
}

}  // namespace fake_cudart
