// What libmodeld-cuda gives to those who load it: a table of functions, in terms that any two
// builds agree on.
//
// libmodeld and modelctl link no CUDA. Where a GPU is asked for they load libmodeld-cuda.so and
// call it through this table alone. Nothing crosses it but plain data: no exception, no object of
// the C++ library, and no memory that the other side frees.

#pragma once

#include <cstdint>

extern "C" {

// Rises with every change of what stands here. Whoever loads a table with another number uses
// nothing of it but the first two fields.
inline constexpr std::uint32_t kModeldDeviceAbi = 1;
// `GPU-` and 36 characters, and the zero after them.
inline constexpr std::uint32_t kModeldDeviceUuidBytes = 41;

// Filled by a function that fails. Texts end with a zero and are cut where they are too long.
struct ModeldDeviceFailure {
  char
      reason[32];  // of docs/errors.md: `DEVICE_UNAVAILABLE`, `DEVICE_LOST`, `BUDGET_EXCEEDED`, ...
  char message[768];  // names the device and the CUDA error
  char hint[256];     // what to do next; may be empty
};

struct ModeldDeviceUuid {
  char text[kModeldDeviceUuidBytes];  // in lower case after `GPU-`
};

enum ModeldDeviceSegmentKind : std::uint32_t {
  kModeldDeviceVmm = 2,  // as modeld.v1.Segment.Kind counts
  kModeldDeviceIpc = 3,
};

// A segment as it came. What it points to is the caller's and need not outlive the call.
struct ModeldDeviceSegment {
  ModeldDeviceSegmentKind kind;
  std::uint64_t size_bytes;
  std::uint64_t chunk_bytes;        // VMM: of each allocation but the last
  const std::int32_t* fds;          // VMM: one for each chunk
  std::uint64_t fd_count;           // VMM
  const unsigned char* ipc_handle;  // IPC: the 64 bytes of a cudaIpcMemHandle_t
};

// One mapping of one segment. Opaque.
struct ModeldDeviceMapping;

// The functions are thread-safe, leave the calling thread's current device as it is, and make no
// context on any GPU but the one that they are told. Those that return an integer return 0 when
// they succeed; else they fill `failure` and change nothing. An ordinal is one of this process,
// which counts what CUDA_VISIBLE_DEVICES leaves.
struct ModeldDevicePlugin {
  std::uint32_t abi;    // kModeldDeviceAbi
  const char* release;  // `0.1.0`

  // The GPUs of this process by ordinal: the first `capacity` of them, and how many there are.
  int (*devices)(ModeldDeviceUuid* out, std::uint32_t capacity, std::uint32_t* count,
                 ModeldDeviceFailure* failure);

  // The calling thread's current device.
  int (*current)(std::int32_t* ordinal, ModeldDeviceFailure* failure);

  // Maps a segment that lies on the GPU `ordinal`, for its kernels and, unless it is negative, for
  // those of the GPU `peer`; for reading only where the kind allows it (VMM). A segment that lies
  // on another GPU is refused.
  int (*map)(const ModeldDeviceSegment* segment, std::int32_t ordinal, std::int32_t peer,
             ModeldDeviceMapping** mapping, void** address, ModeldDeviceFailure* failure);

  // Waits for what runs on the GPU and ends the mapping. Never fails: what a device that was reset
  // or lost, or a CUDA that is shutting down, has ended already is left alone, and so is all of it
  // in a forked child, where nothing of it may be used.
  void (*unmap)(ModeldDeviceMapping* mapping);

  // Copies from memory of the GPU `ordinal` to the host, and waits until it is done.
  int (*copy_to_host)(std::int32_t ordinal, const void* from, void* to, std::uint64_t size_bytes,
                      ModeldDeviceFailure* failure);
};

// The one thing that is looked up in the library.
__attribute__((visibility("default"))) const ModeldDevicePlugin* modeld_device_plugin();

}  // extern "C"
