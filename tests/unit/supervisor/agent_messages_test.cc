#include "supervisor/agent_messages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "support/load_jobs.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::supervisor {
namespace {

residency::ResidencyRecord ARecord() {
  residency::ResidencyRecord record;
  record.id = "0123456789abcdef";
  record.sources.push_back({.content_key = "8:123\xfe",
                            .format = "safetensors",
                            .references = {"/models/a\xff.safetensors", "alias"}});
  record.sources.push_back({.content_key = "9:1", .format = "torch", .references = {"b.pt"}});
  record.device = "host";
  record.instance = "mine";
  record.private_copy = true;
  record.generation = 42;
  record.pinned = true;
  return record;
}

wire::UniqueFd Sealed(uint64_t size_bytes) {
  auto fd = wire::MakeSealedMemfd("test", std::string(size_bytes, '\0'));
  EXPECT_TRUE(fd.ok()) << fd.status();
  return *std::move(fd);
}

wire::UniqueFd Unsealed(uint64_t size_bytes) {
  wire::UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  return fd;
}

template <class... Fds>
std::vector<wire::UniqueFd> List(Fds... fds) {
  std::vector<wire::UniqueFd> list;
  (list.push_back(std::move(fds)), ...);
  return list;
}

// As it goes to an agent and comes back.
absl::StatusOr<residency::ResidencyRecord> ThereAndBack(const residency::ResidencyRecord& record) {
  v1::Record message;
  std::vector<int> fds;
  EncodeRecord(record, &message, &fds);
  std::vector<wire::UniqueFd> duplicates;
  for (const int fd : fds) duplicates.emplace_back(::dup(fd));
  return DecodeRecord(message, duplicates);
}

TEST(ResidencyRecord, ComesBackAsItWent) {
  residency::ResidencyRecord record = ARecord();
  wire::ReferenceTableBuilder table;
  table.AddMetadata("step", "100");
  record.sources[1].reference_table = plan::SealedReferenceTable::Make(table.Build()).value();
  const auto back = ThereAndBack(record);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->id, record.id);
  ASSERT_EQ(back->sources.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back->sources[i].content_key, record.sources[i].content_key);
    EXPECT_EQ(back->sources[i].format, record.sources[i].format);
    EXPECT_EQ(back->sources[i].references, record.sources[i].references);
  }
  EXPECT_EQ(back->sources[0].reference_table, nullptr);
  ASSERT_NE(back->sources[1].reference_table, nullptr);
  EXPECT_EQ(back->sources[1].reference_table->view().metadata(0).second, "100");
  EXPECT_EQ(back->device, record.device);
  EXPECT_EQ(back->instance, record.instance);
  EXPECT_EQ(back->private_copy, record.private_copy);
  EXPECT_EQ(back->pinned, record.pinned);
  EXPECT_EQ(back->generation, record.generation);
}

TEST(ResidencyRecord, IsRefusedWhenItIsNone) {
  v1::Record message;
  EXPECT_FALSE(DecodeRecord(message, {}).ok());
  message.set_record("garbage");
  EXPECT_FALSE(DecodeRecord(message, {}).ok());
  residency::ResidencyRecord without_reference = ARecord();
  without_reference.sources[0].references.clear();
  EXPECT_FALSE(ThereAndBack(without_reference).ok());
  residency::ResidencyRecord without_source = ARecord();
  without_source.sources.clear();
  EXPECT_FALSE(ThereAndBack(without_source).ok());
}

TEST(LoadDone, IsBelievedOnlyWithTheSegmentsThatWereAskedFor) {
  const test::TempDir dir;
  const auto job = test::WriteJob("id", dir / "a.safetensors", test::SmallSpec());
  const uint64_t size = job.plan->segment_sizes.front();
  v1::LoadDone done;
  v1::Segment& segment = *done.add_segments();
  segment.set_kind(v1::Segment::HOST_MEMFD);
  segment.set_size_bytes(size);
  EXPECT_TRUE(ReadLoaded(done, List(Sealed(size)), *job.plan, {}).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Unsealed(size)), *job.plan, {}).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size / 2)), *job.plan, {}).ok());
  EXPECT_FALSE(ReadLoaded(done, List(), *job.plan, {}).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size), Sealed(size)), *job.plan, {}).ok());
  segment.set_size_bytes(size * 2);
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size * 2)), *job.plan, {}).ok());
}

TEST(Inventory, IsBelievedOnlyWhenTableSegmentsAndRecordFitTogether) {
  const test::TempDir dir;
  const auto job = test::WriteJob("0123456789abcdef", dir / "a.safetensors", test::SmallSpec());
  const uint64_t size = job.plan->segment_sizes.front();
  const auto table = [&] { return wire::UniqueFd(::dup(job.plan->table->fd())); };
  v1::InventoryItem item;
  item.set_residency_id(job.record.id);
  std::vector<int> attachments;
  EncodeRecord(job.record, item.mutable_record(), &attachments);
  item.set_table_size_bytes(job.plan->table->size_bytes());
  v1::Segment& segment = *item.add_segments();
  item.add_segment_ids("0123456789abcdef/0");
  segment.set_kind(v1::Segment::HOST_MEMFD);
  segment.set_size_bytes(size);
  EXPECT_TRUE(ReadInventoryItem(item, List(table(), Sealed(size))).ok());
  EXPECT_FALSE(ReadInventoryItem(item, List(table())).ok());
  EXPECT_FALSE(ReadInventoryItem(item, List(table(), Unsealed(size))).ok());
  EXPECT_FALSE(ReadInventoryItem(item, List(Sealed(100), Sealed(size))).ok());

  v1::InventoryItem other_id = item;
  other_id.set_residency_id("somebody else");
  EXPECT_FALSE(ReadInventoryItem(other_id, List(table(), Sealed(size))).ok());
  v1::InventoryItem without_segment = item;
  without_segment.clear_segments();
  without_segment.clear_segment_ids();
  EXPECT_FALSE(ReadInventoryItem(without_segment, List(table())).ok());
  v1::InventoryItem wrong_digest = item;
  wrong_digest.set_weights_digest(std::string(wire::kDigestBytes, 'x'));
  const uint64_t digest_bytes = job.plan->table->view().size() * wire::kDigestBytes;
  EXPECT_FALSE(
      ReadInventoryItem(wrong_digest, List(table(), Sealed(size), Sealed(digest_bytes))).ok());
}

TEST(Failure, KeepsReasonAndMetadata) {
  const absl::Status status =
      wire::MakeError(wire::Reason::kCheckpointChanged, "it changed", {{"file", "/a"}}, "again");
  v1::Failure failure;
  failure.set_code(status.raw_code());
  failure.set_message(std::string(status.message()));
  failure.mutable_detail()->ParseFromString(wire::SerializeDetail(status));
  const absl::Status back = ReadFailure(failure);
  EXPECT_EQ(wire::GetReason(back), wire::Reason::kCheckpointChanged);
  EXPECT_EQ(wire::GetErrorInfo(back).metadata.at("file"), "/a");
  EXPECT_FALSE(ReadFailure(v1::Failure()).ok());
}

}  // namespace
}  // namespace modeld::supervisor
