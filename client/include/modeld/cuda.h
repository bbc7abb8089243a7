// GPUs and Models, for programs that use CUDA. Part of libmodeld, which links none: the work is
// done by libmodeld-cuda, loaded when it is first needed. Link modeld::cuda to be sure that it is
// there.
//
// Thread-safe. The functions leave the calling thread's current device as it is, and throw Error:
// kUnavailable (DEVICE_UNAVAILABLE) where there is no libmodeld-cuda, no driver or no such device.

#pragma once

#include <optional>
#include <string>

#include "modeld/export.h"
#include "modeld/model.h"

namespace modeld::cuda {

// The UUID of a device that this process counts as `ordinal`: what modeld calls it.
MODELD_EXPORT std::string DeviceUuid(int ordinal);

// The device that a Model lies on, as this process counts: what cudaSetDevice takes. Absent: it is
// on the host.
MODELD_EXPORT std::optional<int> Ordinal(const Model& model);

// Copies a tensor of `model`, from the first to one past its last element, to `out`, memory of the
// host with room for tensor.size_bytes; from wherever the model lies. Waits until it is done, and
// for nothing else on the GPU. Throws kUnavailable (DEVICE_LOST) when the GPU fails.
MODELD_EXPORT void CopyToHost(const Model& model, const TensorView& tensor, void* out);

}  // namespace modeld::cuda
