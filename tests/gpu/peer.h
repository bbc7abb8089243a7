// A process with a context on a GPU that does what it is told: this program once more. It is the
// exporter or the importer of a question, and may be killed in the middle of it.

#pragma once

#include <string>
#include <vector>

#include "base/child_process.h"
#include "gpu/shared_memory.h"
#include "wire/framed_socket.h"

namespace modeld::gpu_test {

// Requests: `context`, `allocate vmm|ipc BYTES`, `import vmm|ipc BYTES` (with the handle),
// `sum`, `compute SECONDS`, `store`, `memory`. Replies begin with `ok` or `error`.
class Peer {
 public:
  struct Options {
    int ordinal = 0;
    std::vector<std::string> env = {};
    std::vector<std::string> wrapper = {};  // runs the program: `setpriv --reuid=65534 ...`
  };

  Peer() : Peer(Options()) {}
  explicit Peer(const Options& options);

  void Send(const std::string& request, const Handle* handle = nullptr);
  // `error ...` too when the process is gone.
  std::string Receive(Handle* handle = nullptr);
  std::string Ask(const std::string& request, const Handle* handle = nullptr) {
    Send(request, handle);
    return Receive();
  }
  // kill -9, and waits until it is reaped.
  void Kill();

 private:
  base::ChildProcess process_;
  wire::FramedSocket socket_;
};

// What such a process does, over descriptor 3, until the other end closes.
int RunPeer(int ordinal);

}  // namespace modeld::gpu_test
