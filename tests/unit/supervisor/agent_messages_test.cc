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
  record.references = {"/models/a\xff.safetensors", "alias"};
  record.content_key = "8:123\xfe";
  record.device = "host";
  record.instance = "mine";
  record.private_copy = true;
  record.generation = 42;
  record.format = "safetensors";
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

TEST(ResidencyRecord, ComesBackAsItWasAlsoWithPathsThatAreNoText) {
  const auto back = DecodeRecord(EncodeRecord(ARecord()));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->id, ARecord().id);
  EXPECT_EQ(back->references, ARecord().references);
  EXPECT_EQ(back->content_key, ARecord().content_key);
  EXPECT_EQ(back->device, ARecord().device);
  EXPECT_EQ(back->instance, ARecord().instance);
  EXPECT_EQ(back->private_copy, ARecord().private_copy);
  EXPECT_EQ(back->generation, ARecord().generation);
  EXPECT_EQ(back->format, ARecord().format);
}

TEST(ResidencyRecord, IsRefusedWhenItIsNone) {
  EXPECT_FALSE(DecodeRecord("").ok());
  EXPECT_FALSE(DecodeRecord("garbage").ok());
  residency::ResidencyRecord without_reference = ARecord();
  without_reference.references.clear();
  EXPECT_FALSE(DecodeRecord(EncodeRecord(without_reference)).ok());
}

TEST(LoadDone, IsBelievedOnlyWithTheSegmentsThatWereAskedFor) {
  const test::TempDir dir;
  const auto job = test::WriteJob("id", dir / "a.safetensors", test::SmallSpec());
  const uint64_t size = job.plan->segment_sizes.front();
  v1::LoadDone done;
  v1::Segment& segment = *done.add_segments();
  segment.set_kind(v1::Segment::HOST_MEMFD);
  segment.set_size_bytes(size);
  EXPECT_TRUE(ReadLoaded(done, List(Sealed(size)), *job.plan).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Unsealed(size)), *job.plan).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size / 2)), *job.plan).ok());
  EXPECT_FALSE(ReadLoaded(done, List(), *job.plan).ok());
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size), Sealed(size)), *job.plan).ok());
  segment.set_size_bytes(size * 2);
  EXPECT_FALSE(ReadLoaded(done, List(Sealed(size * 2)), *job.plan).ok());
}

TEST(Inventory, IsBelievedOnlyWhenTableSegmentsAndRecordFitTogether) {
  const test::TempDir dir;
  const auto job = test::WriteJob("0123456789abcdef", dir / "a.safetensors", test::SmallSpec());
  const uint64_t size = job.plan->segment_sizes.front();
  const auto table = [&] { return wire::UniqueFd(::dup(job.plan->table->fd())); };
  v1::InventoryItem item;
  item.set_residency_id(job.record.id);
  item.set_record(EncodeRecord(job.record));
  item.set_table_size_bytes(job.plan->table->size_bytes());
  v1::Segment& segment = *item.add_segments();
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
