// Copies and fills: which way they go, whether they are allowed, and when they happen.

#pragma once

#include <cstddef>
#include <memory>

#include "fake_cudart/cuda_api.h"
#include "fake_cudart/streams.h"

namespace fake_cudart {

// Puts the copy on the stream. Returns before it is done, unless pageable memory takes part: then
// the real one stages, and may have to wait, so this one always waits. cudaErrorInvalidValue when
// the pointers are not what `kind` says, or a range is only partly CUDA's.
cudaError_t CopyAsync(void* target, const void* source, size_t size_bytes, cudaMemcpyKind kind,
                      const std::shared_ptr<Stream>& stream);
cudaError_t FillAsync(void* target, int value, size_t size_bytes,
                      const std::shared_ptr<Stream>& stream);

}  // namespace fake_cudart
