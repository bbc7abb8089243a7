// A model as a worker sees it: tensors by name, in memory that it shares with every other worker.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "modeld/dtype.h"
#include "modeld/export.h"

namespace modeld {

// One tensor of a Model, without a copy. All views live as long as the Model.
//
// On the host, a store to `data` kills the process (SIGSEGV). On a GPU `data` is a device address:
// the CPU cannot read it (modeld/cuda.h copies it out), and what a store by a kernel does depends
// on how modeld exports the copy. Under `vmm` the kernel faults, which costs this process its
// context and nobody else anything; under `ipc` nothing stops it, and every holder gets the change.
struct TensorView {
  std::string_view name;
  DType dtype;
  std::span<const std::int64_t> shape;    // elements per dimension; empty for a scalar
  std::span<const std::int64_t> strides;  // elements, as many as shape
  const void* data;        // read-only; what kind of address it is says Model::device()
  std::size_t size_bytes;  // from the first to one past the last element
};

// A small file that comes with a reference: configuration, a tokenizer, code. Lives as long as the
// Model, in memory that it shares with every other worker.
struct FileView {
  std::string_view name;  // a path within the checkpoint: `tokenizer.json`
  std::span<const std::byte> bytes;
};

// A lease on one residency and its mapping.
//
// Immutable (but for digest() and state()) and thread-safe. Destroying the last shared_ptr unmaps
// the memory and then releases the lease, in this order and without waiting for the daemon, on
// whatever thread. It may outlive the Client that made it. Pointers into it die with it. On a GPU,
// destroying it first waits for all work of this process on that GPU, so not while a graph is being
// captured; cudaDeviceReset ends the mapping under it.
//
// In a forked child it stays readable; the child holds no lease, so it should not outlive its
// parent's. On a GPU it is of no use there: CUDA does not survive a fork.
class MODELD_EXPORT Model {
 public:
  // The tensor of that name. Throws Error (kNotFound) that names the closest names there are.
  virtual TensorView at(std::string_view name) const = 0;
  virtual std::optional<TensorView> find(std::string_view name) const = 0;
  // The tensor that is index-th in the checkpoint's own order. REQUIRES: index < size().
  virtual TensorView operator[](std::size_t index) const = 0;
  virtual std::size_t size() const = 0;

  // Bytes of tensor data.
  virtual std::uint64_t size_bytes() const = 0;
  // Weights digest, `sha256:` and 64 hex digits; empty while the daemon is still computing it.
  virtual std::string digest() const = 0;
  // What the checkpoint says of itself: `__metadata__` of safetensors.
  virtual std::size_t metadata_size() const = 0;
  virtual std::pair<std::string_view, std::string_view> metadata(std::size_t index) const = 0;
  virtual std::optional<std::string_view> metadata(std::string_view key) const = 0;

  // The small files of the reference, by name.
  virtual std::size_t file_count() const = 0;
  virtual FileView file(std::size_t index) const = 0;  // REQUIRES: index < file_count()
  virtual std::optional<FileView> file(std::string_view name) const = 0;

  // As it was asked for; metadata and files are those of this reference.
  virtual const std::string& reference() const = 0;
  virtual const std::string& residency_id() const = 0;
  // `host`, or the UUID of a GPU: `GPU-` and 36 characters in lower case.
  virtual const std::string& device() const = 0;

  enum class State {
    kHeld,          // the lease is held
    kReconnecting,  // the daemon is away; the mapping is valid, the lease is being taken again
    kSuperseded,    // another version stands under the alias that was acquired; acquire it again to
                    // get that one. This one stays valid until this Model is destroyed
    kDraining,  // somebody asks for the memory back; it stays valid until this Model is destroyed
    kLost,      // the daemon does not hold the residency any more; host mappings stay readable,
                // and so do those of a GPU under `vmm`
    kForked,    // this process is a forked child: the mapping is valid here, the lease is the
                // parent's
  };
  virtual State state() const = 0;
  // Called at every later change of state, from a thread of the library, one call at a time and in
  // order; must not block, throw, or destroy the Model. Callbacks add up: a Model is shared by
  // everyone in the process who asked for it. A call that is running when the Model is destroyed
  // runs to its end, so a callback owns what it touches.
  virtual void OnStateChange(std::function<void(State)> callback) const = 0;

  virtual ~Model() = default;
};

}  // namespace modeld
