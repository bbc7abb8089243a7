// Work on a GPU that leaves no trace in the thread that wants it done.

#pragma once

#include <functional>

#include "cuda/failure.h"

namespace modeld::gpu {

// Does it in a thread of its own, and waits. What CUDA keeps per thread, the current device and the
// last error, stays as it is in the caller: to set its device back would, since CUDA 12, make a
// context of some hundred MiB on a GPU that the caller may never have used.
MaybeFailure InThread(const std::function<MaybeFailure()>& work);

// The same with that GPU as the current device, whose primary context is made if there is none.
MaybeFailure OnDevice(int ordinal, const std::function<MaybeFailure()>& work);

}  // namespace modeld::gpu
