// libmodeld: map model weights that a modeld on this machine keeps in memory once.
//
//   auto client = modeld::Client::Connect();
//   auto model = client->Acquire({.reference = "/models/backbone.safetensors"});
//   modeld::TensorView w = model->at("encoder.layer.0.weight");
//
// Errors are modeld::Error. No type of gRPC, Protobuf or Abseil appears here.

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "modeld/error.h"
#include "modeld/export.h"
#include "modeld/model.h"

namespace modeld {

// What of a checkpoint is loaded, and how. Part of what makes two copies the same.
struct LoadConfig {
  // `F32`, `F16` or `BF16`: tensors of F64, F32, F16 and BF16 are converted to it while they are
  // loaded, rounded to nearest, ties to even. Empty: as they are stored.
  std::string cast = {};
  // Globs over names: `*` for any characters, `?` for one. Without `include` all tensors are
  // wanted; what `exclude` names is not.
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};
  // Only tensors whose name begins so, and it is taken off before the globs look. Chooses among the
  // state dicts of a training checkpoint, too: `ema.`.
  std::string key_prefix = {};

  bool operator==(const LoadConfig&) const = default;
  // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
  auto operator<=>(const LoadConfig&) const = default;
};

// Names one copy of one model. Equal specs in one process are one Model and one lease.
struct ModelSpec {
  // What a config says: an absolute path, a `file://` URI, a path relative to one of the daemon's
  // roots, of a file or a directory; `org/name` in a Hugging Face cache; an alias; or `sha256:...`,
  // the digest of something resident (docs/identity.md).
  std::string reference;
  // Where the copy is: `host` (empty means that, too), `cuda` (the current device of the thread
  // that calls), `cuda:N` (as this process counts, which sees what CUDA_VISIBLE_DEVICES leaves), or
  // the UUID of a GPU, `GPU-...`, or as much of its beginning as is unique. However it is spelled,
  // modeld is told the UUID, and equal devices are one Model. GPUs need libmodeld-cuda: without it,
  // or without a driver, Acquire throws kUnavailable (DEVICE_UNAVAILABLE).
  std::string device = {};
  // Empty: shared. A name gives a separate copy on purpose.
  std::string instance = {};
  // A copy that nobody else gets. Each Acquire then makes a new one.
  bool private_copy = false;
  // For a GPU: the checkpoint becomes resident on the host too, and stays there when the lease
  // ends, so that the next load to any GPU reads no disk.
  bool keep_host = false;
  // For a GPU: another one of this process, spelled as `device`, whose kernels read the same memory
  // over NVLink or PCIe. Acquire throws kUnavailable (DEVICE_UNAVAILABLE) where it cannot reach it,
  // and where the copy is exported by CUDA IPC, which maps for one GPU. Empty: none, and a kernel
  // of another GPU that reads the tensors faults.
  std::string peer = {};
  LoadConfig config = {};
  // `sha256:` and 64 hex digits: the weights digest that the copy must have. Acquire waits until it
  // is known, and throws kDataLoss (DIGEST_MISMATCH) where it is another one. Empty:
  // whatever the reference leads to.
  std::string expected_digest = {};

  bool operator==(const ModelSpec&) const = default;
  // NOLINTNEXTLINE(modernize-use-nullptr): a mistake of clang-tidy 14
  auto operator<=>(const ModelSpec&) const = default;
};

struct Progress {
  // kIdentifying: it may be what is resident already, and is compared with that.
  enum class Phase { kPlanning, kWaiting, kLoading, kIdentifying };
  Phase phase;
  std::uint64_t bytes_done;
  std::uint64_t bytes_total;
  // kWaiting: who has the room, in words: `held by big.safetensors: pid 4711 (python, train)`.
  std::string message = {};
};

struct AcquireOptions {
  // How long to wait until the tensors are usable; absent: as long as it takes. Past it:
  // kDeadlineExceeded.
  std::optional<std::chrono::nanoseconds> timeout = {};
  // Shown against the lease: world/stage/pipeline/graph/node. Empty: $MODELD_SCOPE.
  std::string scope = {};
  // Where the device is full with what others hold or have pinned: wait in order of arrival until
  // there is room, at most for `timeout`. Otherwise Acquire throws kResourceExhausted
  // (BUDGET_EXCEEDED) at once.
  bool wait_for_room = false;
  // How long the copy stays in memory after its last release, by anybody. Zero: it goes with that;
  // negative: it stays as long as there is room. The last one said counts; absent: as it is. A copy
  // that this process holds already is not asked for again.
  std::optional<std::chrono::nanoseconds> keep_alive = {};
  // Called while the model loads, on the thread that waits in Acquire. An exception from it ends
  // the wait and passes through.
  std::function<void(const Progress&)> on_progress = {};
};

// A connection to one modeld. Thread-safe. Cheap to copy around as a shared_ptr; one per process
// and endpoint is enough.
class MODELD_EXPORT Client {
 public:
  // Connects and introduces itself. `endpoint` is `unix:///path/to/modeld.sock` or a path; empty:
  // $MODELD_ENDPOINT, else /run/modeld/modeld.sock as root, else
  // $XDG_RUNTIME_DIR/modeld/modeld.sock, whichever exists. Throws kUnavailable (no daemon there),
  // kPermissionDenied (this user is not allowed), kInvalidArgument.
  //
  // After fork() a Client in the child is closed: its parent's sockets are gone from it, calls
  // throw kFailedPrecondition. So does Connect in the child of a process that was connected (gRPC's
  // threads do not survive fork): start such workers with spawn or forkserver, or connect in the
  // children only.
  static std::shared_ptr<Client> Connect(const std::string& endpoint = {});

  // Waits until the model is resident, maps it and returns it; the lease is held until the last
  // shared_ptr is gone. Reconnects by itself if the daemon restarts meanwhile, within the timeout
  // (without one, for a minute). Throws what modeld refuses with (docs/errors.md),
  // kDeadlineExceeded, kUnavailable.
  //
  // A spec that this process holds already gives the same Model at once, also if the file has
  // changed since; but not one that is kSuperseded or shall go (kDraining): that is asked for anew.
  // Concurrent calls for one spec wait together, each for its own timeout.
  virtual std::shared_ptr<const Model> Acquire(const ModelSpec& spec,
                                               const AcquireOptions& options = {}) = 0;

  virtual const std::string& endpoint() const = 0;

  virtual ~Client() = default;
};

}  // namespace modeld
