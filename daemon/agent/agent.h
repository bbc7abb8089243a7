// An agent: owns the residencies of one device and does what modeld asks.

#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/digester.h"
#include "agent/event_channel.h"
#include "agent/messages.h"
#include "base/strand.h"
#include "base/thread_pool.h"
#include "memory/copy_pipeline.h"
#include "memory/segment.h"
#include "wire/framed_socket.h"
#include "wire/segment.h"

namespace modeld::agent {

// Speaks to one modeld at a time. What is resident outlives the connection and is told to the next
// modeld as the inventory; loads that the last one asked for are cancelled with it.
//
// All state is touched on one strand; loads, digests and the giving back of memory run on threads
// of their own and come back to it. Thread-safe.
class Agent {
 public:
  // What an agent is an agent of.
  struct Options {
    std::unique_ptr<memory::SegmentAllocator> allocator;
    v1::Device::Kind kind = v1::Device::HOST;
    wire::SegmentKind export_kind = wire::SegmentKind::kHostMemfd;
    std::string export_note;
    uint32_t page_size_bytes = 0;
    std::string page_size_note;
    int reader_threads = 0;  // per load; 0: CopyOptions' default
    std::string version;
    // Called when the device is lost, and with it everything that this process has on it. From any
    // thread, after those who wait have been told; may be empty.
    std::function<void(const absl::Status&)> on_device_lost;
  };

  explicit Agent(Options options);
  // Cancels loads, ends the connection, frees everything, joins.
  ~Agent();

  // A new modeld: the one before is hung up on.
  void Connected(std::shared_ptr<EventChannel> channel);
  // That modeld is gone. No effect if another one came meanwhile.
  void Disconnected(const std::shared_ptr<EventChannel>& channel);

  // A frame from that modeld; ignored when another one came meanwhile. INVALID_ARGUMENT: this is no
  // request, and the connection should be closed.
  absl::Status Handle(const std::shared_ptr<EventChannel>& channel, wire::Frame frame);

 private:
  // A load that is queued or runs.
  struct Loading {
    LoadOrder order;
    std::shared_ptr<EventChannel> channel;
    std::atomic<bool> cancelled{false};
    bool release_after = false;  // strand
  };
  using Frames = std::vector<wire::UniqueFd>;

  // On the strand:
  void Dispatch(const v1::AgentRequest& request, Frames fds);
  void Hello();
  void Load(const v1::LoadRequest& request, Frames fds);
  void Identify(const v1::LoadRequest& request, Frames fds);
  void Update(const v1::UpdateRecord& request, Frames fds);
  std::shared_ptr<const HeldSegment> FindSegment(const std::string& id) const;
  // What a request asks for, if it can be done.
  absl::StatusOr<std::shared_ptr<Loading>> Accept(const v1::LoadRequest& request, Frames fds);
  void Identified(const std::shared_ptr<Loading>& loading,
                  const absl::StatusOr<std::shared_ptr<const Digests>>& digests);
  void Cancel(const std::string& id);
  void Release(const std::string& id);
  void Adopt(const v1::AdoptResidency& request, Frames fds);
  void Loaded(const std::shared_ptr<Loading>& loading,
              absl::StatusOr<memory::LoadedSegments> result);
  void Digested(const std::string& id, absl::StatusOr<std::shared_ptr<const Digests>> digests);
  void DeviceLost(const absl::Status& why);
  void CancelLoads();
  void Drop(Held held, std::shared_ptr<EventChannel> tell, const std::string& id);
  uint64_t GiveBack(Held held);
  void Say(Outgoing event);

  // Returns when everything posted to the strand before has run.
  void WaitForStrand();

  // On a loader thread:
  void RunLoad(const std::shared_ptr<Loading>& loading);
  void RunIdentify(const std::shared_ptr<Loading>& loading);

  const Options options_;
  memory::SegmentAllocator& allocator_;
  base::Strand strand_;

  // Touched on the strand only.
  std::shared_ptr<EventChannel> channel_;
  bool greeted_ = false;
  std::map<std::string, Held> held_;
  std::map<std::string, std::shared_ptr<Loading>> loading_;

  // Last, so that their threads end before what they use.
  base::ThreadPool aside_;  // what takes a while, or must not run at idle priority
  Digester digester_;
  base::ThreadPool loaders_;
};

}  // namespace modeld::agent
