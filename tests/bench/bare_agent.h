// A host agent without a modeld: its protocol spoken plainly, so that a load can be told what
// modeld never tells it.

#pragma once

#include <string>

#include "base/child_process.h"
#include "modeld/v1/agent.pb.h"
#include "residency/device_backend.h"
#include "support/temp_dir.h"
#include "wire/framed_socket.h"

namespace modeld::bench {

// Externally synchronised. Whatever fails ends the program.
class BareAgent {
 public:
  // Starts it and greets it.
  BareAgent();
  // Ends it and waits for its end.
  ~BareAgent();

  // Returns when modeld would grant. `digest`: the agent is to digest it afterwards.
  void Load(const residency::LoadJob& job, bool digest);
  void AwaitDigest(const std::string& id);
  // Returns when the memory has been given back.
  void Release(const std::string& id);

 private:
  // Events up to that one, which is returned.
  v1::AgentEvent Await(v1::AgentEvent::EventCase wanted);

  test::TempDir dir_;
  base::ChildProcess process_;
  wire::FramedSocket socket_;
};

}  // namespace modeld::bench
