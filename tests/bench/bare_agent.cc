#include "bare_agent.h"

#include <signal.h>

#include <vector>

#include "bench_tools.h"
#include "supervisor/agent_messages.h"
#include "support/processes.h"
#include "wire/unique_fd.h"

namespace modeld::bench {
namespace {

void Send(wire::FramedSocket& socket, const supervisor::AgentMessage& message) {
  Check(socket.Send(message.request.SerializeAsString(), message.fds));
}

}  // namespace

BareAgent::BareAgent() {
  const std::string path = dir_ / "agent.sock";
  process_ =
      OrDie(base::ChildProcess::Spawn({.path = std::string(MODELD_BIN_DIR) + "/modeld-agent-host",
                                       .args = {"--socket", path, "--log-level", "error"}}));
  wire::UniqueFd connected;
  test::Eventually([&] {
    if (auto connection = wire::ConnectUnix(path); connection.ok()) {
      connected = *std::move(connection);
    }
    return connected.valid();
  });
  if (!connected.valid()) Die("the agent does not listen");
  socket_ = wire::FramedSocket(std::move(connected));
  Send(socket_, supervisor::MakeHello());
  Await(v1::AgentEvent::kInventoryEnd);
}

BareAgent::~BareAgent() {
  process_.Kill(SIGTERM);
  process_.Wait();
}

void BareAgent::Load(const residency::LoadJob& job, bool digest) {
  supervisor::AgentMessage message = supervisor::MakeLoad(job);
  message.request.mutable_load()->set_digest(digest);
  Send(socket_, message);
  if (Await(v1::AgentEvent::kDone).done().residency_id() != job.record.id) {
    Die("the agent has loaded something else");
  }
}

void BareAgent::AwaitDigest(const std::string& id) {
  if (Await(v1::AgentEvent::kDigest).digest().residency_id() != id) {
    Die("the agent has digested something else");
  }
}

void BareAgent::Release(const std::string& id) {
  Send(socket_, supervisor::MakeRelease(id));
  Await(v1::AgentEvent::kReleased);
}

v1::AgentEvent BareAgent::Await(v1::AgentEvent::EventCase wanted) {
  while (true) {
    const wire::Frame frame = OrDie(socket_.Receive());
    v1::AgentEvent event;
    if (!event.ParseFromString(frame.payload)) Die("the agent says what is no event");
    if (event.has_failed()) Die("the agent did not load: " + event.failed().ShortDebugString());
    if (event.event_case() == wanted) return event;
  }
}

}  // namespace modeld::bench
