// modeld/v1/agent.proto on modeld's side: requests built, and what an agent says checked before it
// is believed.

#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "modeld/v1/agent.pb.h"
#include "residency/device_backend.h"
#include "wire/unique_fd.h"

namespace modeld::supervisor {

// modeld speaks this and the one before.
inline constexpr uint32_t kAgentProtocolVersion = 1;

// A request on its way: the message, the descriptors that go with it and what keeps them open.
struct AgentMessage {
  v1::AgentRequest request;
  std::vector<int> fds;
  std::shared_ptr<const void> keep_alive;
};

AgentMessage MakeHello();
AgentMessage MakeLoad(const residency::LoadJob& job);
AgentMessage MakeIdentify(const residency::LoadJob& job);
AgentMessage MakeUpdateRecord(const residency::ResidencyRecord& record);
AgentMessage MakeCancel(const std::string& residency_id);
AgentMessage MakeRelease(const std::string& residency_id);
// `digests` may be null.
AgentMessage MakeAdopt(const residency::ResidencyRecord& record,
                       std::shared_ptr<const residency::ResidentMemory> memory,
                       std::shared_ptr<const residency::ResidentDigests> digests);

// The record as it travels; its attachments' descriptors are added to `fds` and stay borrowed.
void EncodeRecord(const residency::ResidencyRecord& record, v1::Record* out, std::vector<int>* fds);
// DATA_LOSS when it is no record, or one without id or reference, or the attachments do not fit.
absl::StatusOr<residency::ResidencyRecord> DecodeRecord(const v1::Record& message,
                                                        std::span<wire::UniqueFd> attachments);

// What follows returns DATA_LOSS when the agent's words, descriptors and seals do not fit together.

// The memory of the load: the segments that were made for it, then those that it borrows.
absl::StatusOr<std::shared_ptr<const residency::ResidentMemory>> ReadLoaded(
    const v1::LoadDone& done, std::vector<wire::UniqueFd> fds, const plan::LoadPlan& plan,
    std::span<const residency::BorrowedSegment> borrowed);

absl::StatusOr<std::shared_ptr<const residency::ResidentDigests>> ReadDigests(
    const std::string& weights_digest, wire::UniqueFd table_fd, const wire::TableView& table);

struct InventoryEntry {
  residency::ResidencyRecord record;
  std::shared_ptr<const residency::ResidentMemory> memory;
  std::shared_ptr<const residency::ResidentDigests> digests;  // null: not known
};
absl::StatusOr<InventoryEntry> ReadInventoryItem(const v1::InventoryItem& item,
                                                 std::vector<wire::UniqueFd> fds);

absl::Status ReadFailure(const v1::Failure& failure);

}  // namespace modeld::supervisor
