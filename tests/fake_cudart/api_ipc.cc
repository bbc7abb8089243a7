#include "fake_cudart/api_calls.h"
#include "fake_cudart/ipc.h"

using fake_cudart::CurrentDevice;
using fake_cudart::Ipc;
using fake_cudart::Needs;
using fake_cudart::RuntimeCall;

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  return RuntimeCall("cudaIpcGetMemHandle", Needs::kContext, [&] {
    return handle == nullptr ? cudaErrorInvalidValue : Ipc::Get().Export(pointer, *handle);
  });
}

cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned int flags) {
  return RuntimeCall("cudaIpcOpenMemHandle", Needs::kContext, [&] {
    // "Must be specified as cudaIpcMemLazyEnablePeerAccess."
    if (pointer == nullptr || flags != cudaIpcMemLazyEnablePeerAccess) {
      return cudaErrorInvalidValue;
    }
    return Ipc::Get().Open(handle, CurrentDevice(), *pointer);
  });
}

cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  return RuntimeCall("cudaIpcCloseMemHandle", Needs::kContext,
                     [&] { return Ipc::Get().Close(pointer); });
}
