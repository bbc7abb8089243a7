#include <chrono>

#include "fake_cudart/api_calls.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/events.h"
#include "fake_cudart/streams.h"

using fake_cudart::Contexts;
using fake_cudart::CurrentDevice;
using fake_cudart::Events;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;
using fake_cudart::Streams;

namespace {

cudaError_t CreateEvent(const char* function, cudaEvent_t* event, unsigned int flags) {
  return RuntimeCall(function, Needs::kContext, [&] {
    constexpr unsigned int kKnown = cudaEventBlockingSync | cudaEventDisableTiming;
    if (event == nullptr || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
    *event = Events::Get().Create(CurrentDevice(), (flags & cudaEventDisableTiming) == 0);
    return cudaSuccess;
  });
}

}  // namespace

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return CreateEvent("cudaEventCreate", event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  return CreateEvent("cudaEventCreateWithFlags", event, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return RuntimeCall("cudaEventDestroy", Needs::kDevice, [&] {
    return Events::Get().Destroy(event) ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return RuntimeCall("cudaEventRecord", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    const auto mark = Events::Get().Find(event);
    if (found == nullptr || mark == nullptr || mark->device != found->device()) {
      return cudaErrorInvalidResourceHandle;
    }
    Events::Get().SetRecorded(event, Streams::Get().Add(found, nullptr));
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return RuntimeCall("cudaEventQuery", Needs::kContext, [&] {
    const auto mark = Events::Get().Find(event);
    if (mark == nullptr) return cudaErrorInvalidResourceHandle;
    if (mark->recorded != nullptr && !mark->recorded->done()) return cudaErrorNotReady;
    return Contexts::Get().ErrorOf(mark->device);
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return RuntimeCall("cudaEventSynchronize", Needs::kContext, [&] {
    const auto mark = Events::Get().Find(event);
    if (mark == nullptr) return cudaErrorInvalidResourceHandle;
    if (mark->recorded != nullptr) mark->recorded->Wait();
    return Contexts::Get().ErrorOf(mark->device);
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return RuntimeCall("cudaEventElapsedTime", Needs::kContext, [&] {
    if (milliseconds == nullptr) return cudaErrorInvalidValue;
    const auto from = Events::Get().Find(start);
    const auto to = Events::Get().Find(end);
    if (from == nullptr || to == nullptr || from->recorded == nullptr || to->recorded == nullptr ||
        !from->timing || !to->timing) {
      return cudaErrorInvalidResourceHandle;
    }
    if (!from->recorded->done() || !to->recorded->done()) return cudaErrorNotReady;
    *milliseconds =
        std::chrono::duration<float, std::milli>(to->recorded->when() - from->recorded->when())
            .count();
    return cudaSuccess;
  });
}
