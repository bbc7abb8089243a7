#include "fake_cudart/api_calls.h"
#include "fake_cudart/copies.h"
#include "fake_cudart/event_log.h"
#include "fake_cudart/streams.h"

using fake_cudart::CurrentDevice;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;
using fake_cudart::Streams;

cudaError_t cudaMemcpy(void* target, const void* source, size_t size_bytes, cudaMemcpyKind kind) {
  return RuntimeCall("cudaMemcpy", Needs::kContext, [&] {
    fake_cudart::LogEvent("sync_copy", size_bytes);
    const auto stream = Streams::Get().Find(cudaStreamLegacy, CurrentDevice());
    const cudaError_t error = fake_cudart::CopyAsync(target, source, size_bytes, kind, stream);
    if (error != cudaSuccess) return error;
    stream->last()->Wait();
    return fake_cudart::ContextError();
  });
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size_bytes,
                            cudaMemcpyKind kind, cudaStream_t stream) {
  return RuntimeCall("cudaMemcpyAsync", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    return fake_cudart::CopyAsync(target, source, size_bytes, kind, found);
  });
}

// Asynchronous with respect to the host, as the real one is on device memory.
cudaError_t cudaMemset(void* target, int value, size_t size_bytes) {
  return RuntimeCall("cudaMemset", Needs::kContext, [&] {
    return fake_cudart::FillAsync(target, value, size_bytes,
                                  Streams::Get().Find(cudaStreamLegacy, CurrentDevice()));
  });
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t size_bytes, cudaStream_t stream) {
  return RuntimeCall("cudaMemsetAsync", Needs::kContext, [&] {
    const auto found = Streams::Get().Find(stream, CurrentDevice());
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    return fake_cudart::FillAsync(target, value, size_bytes, found);
  });
}
