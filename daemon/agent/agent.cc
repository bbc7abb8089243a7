#include "agent/agent.h"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/log_line.h"
#include "memory/planned_bytes.h"
#include "wire/error.h"

namespace modeld::agent {
namespace {

// A small load need not wait for the end of a large one; more at once would only make the disk
// seek.
constexpr int kLoadsAtOnce = 2;
constexpr size_t kMaxLoads = 1024;
// How long the last words to modeld may take.
constexpr auto kFlushPatience = std::chrono::seconds(1);
// How long a device may take to say that memory is free again, and how often it is asked.
constexpr auto kReturnPatience = std::chrono::seconds(2);
constexpr auto kReturnInterval = std::chrono::milliseconds(5);

uint64_t RangeBytes(const LoadOrder& order) {
  uint64_t bytes = 0;
  for (const plan::CopyRange& range : order.ranges) bytes += range.size_bytes;
  return bytes;
}

uint64_t SegmentBytes(const Residency& residency) {
  uint64_t bytes = 0;
  for (const auto& segment : residency.segments) bytes += segment->exported.info.size_bytes;
  return bytes;
}

// Of the segments that nobody else uses.
uint64_t OwnBytes(const Residency& residency) {
  uint64_t bytes = 0;
  for (const auto& segment : residency.segments) {
    if (segment.use_count() == 1) bytes += segment->exported.info.size_bytes;
  }
  return bytes;
}

}  // namespace

Agent::Agent(Options options)
    : options_(std::move(options)),
      allocator_(*options_.allocator),
      aside_("aside", 1),
      digester_(
          [this](const std::string& id, absl::StatusOr<std::shared_ptr<const Digests>> digests) {
            // The digester's own thread might go on with other tasks of the strand, at idle
            // priority.
            aside_.Post([this, id, digests = std::move(digests)] {
              strand_.Post([this, id, digests] { Digested(id, digests); });
            });
          }),
      loaders_("load", kLoadsAtOnce) {}

Agent::~Agent() {
  strand_.Post([this] {
    CancelLoads();
    if (channel_ != nullptr) channel_->Close();
    channel_ = nullptr;
  });
  WaitForStrand();
  loaders_.Stop();
  aside_.Stop();
  WaitForStrand();
}

void Agent::WaitForStrand() {
  // Shared: the thread that runs the task may still be in set_value when this one goes on.
  auto reached = std::make_shared<std::promise<void>>();
  strand_.Post([reached] { reached->set_value(); });
  reached->get_future().wait();
}

void Agent::Connected(std::shared_ptr<EventChannel> channel) {
  strand_.Post([this, channel = std::move(channel)] {
    if (channel_ != nullptr) {
      spdlog::warn("msg=\"another modeld connected; hanging up on the one before\"");
      channel_->Close();
    }
    CancelLoads();
    channel_ = channel;
    greeted_ = false;
  });
}

void Agent::Disconnected(const std::shared_ptr<EventChannel>& channel) {
  strand_.Post([this, channel] {
    if (channel_ != channel) return;
    channel_->Close();
    channel_ = nullptr;
    CancelLoads();
  });
}

absl::Status Agent::Handle(const std::shared_ptr<EventChannel>& channel, wire::Frame frame) {
  auto request = std::make_shared<v1::AgentRequest>();
  if (!request->ParseFromString(frame.payload) ||
      request->request_case() == v1::AgentRequest::REQUEST_NOT_SET) {
    return absl::InvalidArgumentError("a frame that is no request");
  }
  auto fds = std::make_shared<Frames>(std::move(frame.fds));
  strand_.Post([this, channel, request, fds] {
    if (channel_ == channel) Dispatch(*request, std::move(*fds));
  });
  return absl::OkStatus();
}

void Agent::Dispatch(const v1::AgentRequest& request, Frames fds) {
  switch (request.request_case()) {
    case v1::AgentRequest::kHello:
      return Hello();
    case v1::AgentRequest::kLoad:
      return Load(request.load(), std::move(fds));
    case v1::AgentRequest::kCancelLoad:
      return Cancel(request.cancel_load().residency_id());
    case v1::AgentRequest::kRelease:
      return Release(request.release().residency_id());
    case v1::AgentRequest::kAdopt:
      return Adopt(request.adopt(), std::move(fds));
    case v1::AgentRequest::kIdentify:
      return Identify(request.identify().load(), std::move(fds));
    case v1::AgentRequest::kUpdateRecord:
      return Update(request.update_record(), std::move(fds));
    case v1::AgentRequest::REQUEST_NOT_SET:
      return;
  }
}

void Agent::Hello() {
  Outgoing out;
  v1::AgentWelcome* welcome = out.event.mutable_welcome();
  welcome->set_protocol_version(kProtocolVersion);
  welcome->set_version(options_.version);
  welcome->set_pid(::getpid());
  welcome->set_kind(options_.kind);
  welcome->set_page_size_bytes(options_.page_size_bytes);
  welcome->set_page_size_note(options_.page_size_note);
  welcome->set_export_(wire::SegmentKindName(options_.export_kind));
  welcome->set_export_note(options_.export_note);
  greeted_ = true;
  Say(std::move(out));
  for (const auto& [id, held] : held_) Say(MakeInventoryItem(held));
  Say(MakeInventoryEnd());
  spdlog::info("msg=\"modeld connected\" residencies={}", held_.size());
}

std::shared_ptr<const HeldSegment> Agent::FindSegment(const std::string& id) const {
  for (const auto& [residency_id, held] : held_) {
    for (const auto& segment : held.residency->segments) {
      if (segment->id == id) return segment;
    }
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<Agent::Loading>> Agent::Accept(const v1::LoadRequest& request,
                                                              Frames fds) {
  const std::string& id = request.residency_id();
  auto order = ParseLoad(request, std::move(fds),
                         [this](const std::string& segment) { return FindSegment(segment); });
  if (order.ok() && (held_.contains(id) || loading_.contains(id))) {
    order = absl::InvalidArgumentError(absl::StrCat("residency ", id, " is there already"));
  }
  if (order.ok() && loading_.size() >= kMaxLoads) {
    order = wire::MakeError(wire::Reason::kDeviceUnavailable,
                            absl::StrCat(kMaxLoads, " loads wait for the agent already"), {},
                            "ask again later");
  }
  if (!order.ok()) {
    spdlog::debug("msg=\"load refused\" residency={} error={}", id,
                  base::QuotedLogValue(std::string(order.status().message())));
    return order.status();
  }
  auto loading = std::make_shared<Loading>();
  loading->order = *std::move(order);
  loading->channel = channel_;
  loading_[id] = loading;
  return loading;
}

void Agent::Load(const v1::LoadRequest& request, Frames fds) {
  auto loading = Accept(request, std::move(fds));
  if (!loading.ok()) return Say(MakeFailed(request.residency_id(), loading.status()));
  digester_.LoadBegan();
  loaders_.Post([this, loading = *std::move(loading)] { RunLoad(loading); });
}

void Agent::Identify(const v1::LoadRequest& request, Frames fds) {
  auto loading = Accept(request, std::move(fds));
  if (!loading.ok()) return Say(MakeIdentified(request.residency_id(), loading.status()));
  loaders_.Post([this, loading = *std::move(loading)] { RunIdentify(loading); });
}

void Agent::RunIdentify(const std::shared_ptr<Loading>& loading) {
  const LoadOrder& order = loading->order;
  const auto keep_going = [loading] { return !loading->cancelled; };
  absl::StatusOr<std::shared_ptr<const Digests>> digests = absl::CancelledError("cancelled");
  auto files = memory::PlannedBytes::Open(order.files, order.ranges);
  if (files.ok()) {
    const wire::TableView& table = order.table->view();
    auto tensors = wire::TensorDigests(
        table,
        [&](uint32_t segment, uint64_t offset, uint64_t size_bytes) {
          return (*files)->Read(segment, offset, size_bytes);
        },
        keep_going);
    absl::Status status = tensors.status();
    if (status.ok()) status = (*files)->CheckUnchanged();
    digests = status.ok() ? SealDigests(table, *tensors)
                          : absl::StatusOr<std::shared_ptr<const Digests>>(status);
  } else {
    digests = files.status();
  }
  strand_.Post([this, loading, digests = std::move(digests)] { Identified(loading, digests); });
}

void Agent::Identified(const std::shared_ptr<Loading>& loading,
                       const absl::StatusOr<std::shared_ptr<const Digests>>& digests) {
  loading_.erase(loading->order.id);
  if (channel_ == loading->channel) Say(MakeIdentified(loading->order.id, digests));
}

void Agent::Update(const v1::UpdateRecord& request, Frames fds) {
  const auto held = held_.find(request.residency_id());
  if (held == held_.end()) return;
  auto record = ParseRecord(request.record(), fds);
  if (record.ok()) {
    held->second.record = *std::move(record);
  } else {
    spdlog::error("msg=\"record refused\" residency={} error={}", request.residency_id(),
                  base::QuotedLogValue(std::string(record.status().message())));
  }
}

void Agent::RunLoad(const std::shared_ptr<Loading>& loading) {
  const LoadOrder& order = loading->order;
  memory::CopyOptions options;
  options.thread_count = options_.reader_threads;
  options.cancelled = &loading->cancelled;
  options.on_progress = [&, total = RangeBytes(order)](uint64_t done) {
    loading->channel->Send(MakeProgress(order.id, done, total));
  };
  auto result =
      loading->cancelled
          ? absl::StatusOr<memory::LoadedSegments>(absl::CancelledError("the load was cancelled"))
          : memory::LoadSegments(allocator_, absl::StrCat("modeld-", order.id), order.files,
                                 order.ranges, order.segment_sizes, options);
  auto shared = std::make_shared<absl::StatusOr<memory::LoadedSegments>>(std::move(result));
  strand_.Post([this, loading, shared] { Loaded(loading, std::move(*shared)); });
}

void Agent::Loaded(const std::shared_ptr<Loading>& loading,
                   absl::StatusOr<memory::LoadedSegments> result) {
  LoadOrder& order = loading->order;
  const std::string id = order.id;
  loading_.erase(id);
  digester_.LoadEnded();
  // What the request took (a plan of 100,000 ranges, say) goes back to the system with it.
  aside_.Post([loading] { loading->order.ranges = {}; });
  aside_.Post([] { ::malloc_trim(0); });

  std::shared_ptr<const Residency> residency;
  if (result.ok()) {
    auto made = std::make_shared<Residency>();
    made->id = id;
    made->table = std::move(order.table);
    for (memory::ExportedSegment& segment : result->segments) {
      made->segments.push_back(std::make_shared<HeldSegment>(
          HeldSegment{SegmentId(id, made->segments.size()), std::move(segment)}));
    }
    made->segments.insert(made->segments.end(), order.borrowed.begin(), order.borrowed.end());
    residency = std::move(made);
    spdlog::info("msg=\"loaded\" residency={} bytes={} mode={} seconds={:.3f} page_size={}", id,
                 SegmentBytes(*residency), result->stats.Mode(), result->stats.nanos / 1e9,
                 residency->segments.empty()
                     ? 0
                     : residency->segments.front()->exported.info.page_size_bytes);
  } else {
    // modeld, which is told, logs it.
    spdlog::debug("msg=\"load failed\" residency={} error={}", id,
                  base::QuotedLogValue(std::string(result.status().message())));
  }
  // Whoever asked is gone: nobody would ever ask for it to be released.
  const size_t own = order.segment_sizes.size();
  order.borrowed.clear();
  if (channel_ != loading->channel) return Drop({std::move(residency), {}, {}}, nullptr, id);
  if (loading->release_after) {
    Say(MakeFailed(id, absl::CancelledError("the load was cancelled")));
    return Drop({std::move(residency), {}, {}}, channel_, id);
  }
  if (residency == nullptr) {
    Say(MakeFailed(id, result.status()));
    if (wire::GetReason(result.status()) == wire::Reason::kDeviceLost) DeviceLost(result.status());
    return;
  }
  held_[id] = {residency, order.record, nullptr};
  Say(MakeDone(residency, own, result->stats.Mode(), result->stats.nanos));
  if (order.digest) digester_.Add(std::move(residency));
}

void Agent::Cancel(const std::string& id) {
  const auto it = loading_.find(id);
  if (it != loading_.end()) it->second->cancelled = true;
}

void Agent::Release(const std::string& id) {
  if (const auto it = loading_.find(id); it != loading_.end()) {
    it->second->cancelled = true;
    it->second->release_after = true;
    return;
  }
  auto node = held_.extract(id);
  Drop(node.empty() ? Held{} : std::move(node.mapped()), channel_, id);
}

void Agent::Adopt(const v1::AdoptResidency& request, Frames fds) {
  auto adopted = ParseAdopt(request, std::move(fds), allocator_,
                            [this](const std::string& segment) { return FindSegment(segment); });
  if (!adopted.ok()) {
    spdlog::error("msg=\"adoption refused\" residency={} error={}", request.residency_id(),
                  base::QuotedLogValue(std::string(adopted.status().message())));
    return;
  }
  const std::string id = adopted->residency->id;
  if (loading_.contains(id)) return;
  const auto [it, added] = held_.try_emplace(id, *adopted);
  if (!added) return;
  spdlog::info("msg=\"adopted\" residency={} bytes={}", id, SegmentBytes(*adopted->residency));
  if (adopted->digests == nullptr) digester_.Add(adopted->residency);
}

void Agent::Digested(const std::string& id,
                     absl::StatusOr<std::shared_ptr<const Digests>> digests) {
  if (!digests.ok()) return DeviceLost(digests.status());
  const auto it = held_.find(id);
  if (it == held_.end()) return;
  it->second.digests = *digests;
  if (greeted_) Say(MakeDigest(id, *std::move(digests)));
}

// Whoever waits is told first, and then this process ends.
void Agent::DeviceLost(const absl::Status& why) {
  if (!options_.on_device_lost) return;
  aside_.Post([this, channel = channel_, why] {
    if (channel != nullptr) channel->Flush(std::chrono::steady_clock::now() + kFlushPatience);
    options_.on_device_lost(why);
  });
}

void Agent::CancelLoads() {
  for (const auto& [id, loading] : loading_) loading->cancelled = true;
}

// Closing a segment takes a while (its pages are freed one by one), so it is done aside. `tell`
// hears of it then; may be null.
void Agent::Drop(Held held, std::shared_ptr<EventChannel> tell, const std::string& id) {
  auto dropped = std::make_shared<Held>(std::move(held));
  aside_.Post([this, dropped, tell = std::move(tell), id] {
    const uint64_t unreturned = dropped->residency == nullptr ? 0 : GiveBack(std::move(*dropped));
    if (tell != nullptr) tell->Send(MakeReleased(id, unreturned));
  });
}

// How many bytes the device does not say are free again. modeld's own descriptors may be on their
// way out, so it is given a moment.
uint64_t Agent::GiveBack(Held held) {
  digester_.Forget(held.residency.get());
  const std::string id = held.residency->id;
  const uint64_t bytes = OwnBytes(*held.residency);
  const auto before = allocator_.FreeBytes();
  held = {};
  uint64_t unreturned = 0;
  const auto deadline = std::chrono::steady_clock::now() + kReturnPatience;
  while (before) {
    const uint64_t free = allocator_.FreeBytes().value_or(0);
    unreturned = free >= *before + bytes ? 0 : *before + bytes - std::max(free, *before);
    if (unreturned == 0 || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(kReturnInterval);
  }
  spdlog::info("msg=\"released\" residency={} unreturned_bytes={}", id, unreturned);
  return unreturned;
}

void Agent::Say(Outgoing event) {
  if (channel_ != nullptr) channel_->Send(std::move(event));
}

}  // namespace modeld::agent
