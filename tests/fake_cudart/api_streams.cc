#include "fake_cudart/api_calls.h"
#include "fake_cudart/contexts.h"
#include "fake_cudart/events.h"
#include "fake_cudart/streams.h"
#include "fake_cudart/thread_state.h"

using fake_cudart::Contexts;
using fake_cudart::CurrentDevice;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;
using fake_cudart::Streams;

namespace {

cudaError_t CreateStream(const char* function, cudaStream_t* stream, unsigned int flags) {
  return RuntimeCall(function, Needs::kContext, [&] {
    if (stream == nullptr || (flags & ~static_cast<unsigned int>(cudaStreamNonBlocking)) != 0) {
      return cudaErrorInvalidValue;
    }
    *stream = Streams::Get().Create(CurrentDevice(), flags);
    return cudaSuccess;
  });
}

}  // namespace

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return CreateStream("cudaStreamCreate", stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return CreateStream("cudaStreamCreateWithFlags", stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return RuntimeCall("cudaStreamDestroy", Needs::kDevice, [&] {
    return Streams::Get().Destroy(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return RuntimeCall("cudaStreamSynchronize", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    // On the legacy stream this also comes after the blocking ones.
    Streams::Get().Add(found, nullptr)->Wait();
    return Contexts::Get().ErrorOf(found->device());
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return RuntimeCall("cudaStreamQuery", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (!found->last()->done()) return cudaErrorNotReady;
    return Contexts::Get().ErrorOf(found->device());
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  return RuntimeCall("cudaStreamWaitEvent", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    const auto mark = fake_cudart::Events::Get().Find(event);
    if (found == nullptr || mark == nullptr) return cudaErrorInvalidResourceHandle;
    if (mark->recorded != nullptr) Streams::Get().Add(found, nullptr, {mark->recorded});
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return RuntimeCall("cudaLaunchHostFunc", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    if (function == nullptr) return cudaErrorInvalidValue;
    Streams::Get().Add(found, [function, data] {
      fake_cudart::ThisThread().in_host_function = true;
      function(data);
      fake_cudart::ThisThread().in_host_function = false;
    });
    return cudaSuccess;
  });
}
