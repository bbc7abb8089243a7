#include "supervisor/kept_backend.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <set>

#include "support/backend_recorder.h"
#include "support/load_jobs.h"
#include "support/temp_dir.h"
#include "wire/memfd.h"

namespace modeld::supervisor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// A store in this process: it holds duplicates, as the service manager does.
class FakeStore : public DescriptorStore {
 public:
  explicit FakeStore(size_t capacity = 100) : capacity_(capacity) {}

  bool Store(std::vector<Item> items, std::shared_ptr<const void>) override {
    if (fds.size() + items.size() > capacity_) return false;
    for (const Item& item : items) fds[item.name] = wire::UniqueFd(::dup(item.fd));
    return true;
  }
  void Remove(std::vector<std::string> names) override {
    for (const std::string& name : names) EXPECT_EQ(fds.erase(name), 1u) << name;
  }

  // What the next modeld finds.
  std::vector<NamedFd> Inherit() const {
    std::vector<NamedFd> found;
    for (const auto& [name, fd] : fds) found.push_back({name, wire::UniqueFd(::dup(fd.get()))});
    return found;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, fd] : fds) all.push_back(name);
    return all;
  }

  std::map<std::string, wire::UniqueFd> fds;

 private:
  const size_t capacity_;
};

// An agent's supervisor that writes down what it is told.
class FakeBackend : public residency::DeviceBackend {
 public:
  explicit FakeBackend(const FakeStore* store = nullptr) : store_(store) {}
  void Load(residency::LoadJob job) override { loads.push_back(job.record.id); }
  void Identify(residency::LoadJob) override {}
  void CancelLoad(const std::string& id) override { cancelled.push_back(id); }
  void UpdateRecord(const residency::ResidencyRecord& record) override {
    updated.push_back(record.id);
  }
  void Release(const std::string& id) override {
    released.push_back(id);
    if (store_ != nullptr) stored_at_release = store_->fds.size();
  }
  void Adopt(const residency::ResidencyRecord& record,
             std::shared_ptr<const residency::ResidentMemory>,
             std::shared_ptr<const residency::ResidentDigests>) override {
    adopted.push_back(record.id);
  }

  std::vector<std::string> loads;
  std::vector<std::string> cancelled;
  std::vector<std::string> updated;
  std::vector<std::string> released;
  std::vector<std::string> adopted;
  size_t stored_at_release = 0;

 private:
  const FakeStore* const store_;
};

class KeptBackendTest : public ::testing::Test {
 protected:
  KeptBackendTest()
      : job_(test::WriteJob("0123456789abcdef", dir_ / "a.safetensors", test::SmallSpec())) {}

  // The segment is as large as the plan says, and full of zeros.
  std::shared_ptr<const residency::ResidentMemory> Memory() const {
    auto memory = std::make_shared<residency::ResidentMemory>();
    memory->table = job_.plan->table;
    auto segment = std::make_shared<residency::LoadedSegment>();
    segment->id = job_.record.id + "/0";
    segment->info.size_bytes = job_.plan->segment_sizes.front();
    auto fd = wire::MakeSealedMemfd("segment", std::string(job_.plan->segment_sizes.front(), '\0'));
    EXPECT_TRUE(fd.ok()) << fd.status();
    segment->fds.push_back(*std::move(fd));
    memory->segments.push_back(std::move(segment));
    return memory;
  }

  std::shared_ptr<const residency::ResidentDigests> Digests() const {
    const std::vector<wire::Digest> tensors(job_.plan->table->view().size(), wire::Digest{});
    auto digests = std::make_shared<residency::ResidentDigests>();
    plan::ContentDigests content;
    content.weights = wire::WeightsDigest(job_.plan->table->view(), tensors);
    content.tensors = tensors;
    digests->content = std::make_shared<const plan::ContentDigests>(std::move(content));
    auto fd =
        wire::MakeSealedMemfd("digests", std::string(reinterpret_cast<const char*>(tensors.data()),
                                                     tensors.size() * wire::kDigestBytes));
    EXPECT_TRUE(fd.ok()) << fd.status();
    digests->table_fd = *std::move(fd);
    return digests;
  }

  void LoadInto(KeptBackend& kept) {
    kept.set_backend(&backend_);
    kept.Load(job_);
    kept.OnLoaded(job_.record.id, Memory(), {});
    kept.OnDigest(job_.record.id, Digests());
  }

  test::TempDir dir_;
  const residency::LoadJob job_;
  FakeStore store_;
  FakeBackend backend_{&store_};
  test::BackendRecorder manager_;
};

TEST_F(KeptBackendTest, KeepsWhatIsReadyUntilItIsReleased) {
  KeptBackend kept(&store_, &manager_);
  LoadInto(kept);
  EXPECT_THAT(backend_.loads, ElementsAre(job_.record.id));
  EXPECT_THAT(store_.fds, SizeIs(4));  // record, table, segment, digests
  EXPECT_TRUE(manager_.loaded.contains(job_.record.id));
  EXPECT_TRUE(manager_.digests.contains(job_.record.id));

  kept.Release(job_.record.id);
  EXPECT_THAT(store_.names(), IsEmpty());
  EXPECT_EQ(backend_.stored_at_release, 0u) << "released before the store let go";
  EXPECT_THAT(backend_.released, ElementsAre(job_.record.id));
}

TEST_F(KeptBackendTest, KeepsWhatTheRecordIsNow) {
  KeptBackend kept(&store_, &manager_);
  LoadInto(kept);
  residency::ResidencyRecord record = job_.record;
  wire::ReferenceTableBuilder table;
  table.AddMetadata("step", "7");
  record.sources.push_back(
      {.content_key = "another",
       .format = "torch",
       .references = {"b.pt"},
       .reference_table = plan::SealedReferenceTable::Make(table.Build()).value()});
  kept.UpdateRecord(record);
  EXPECT_THAT(backend_.updated, ElementsAre(job_.record.id));
  EXPECT_THAT(store_.fds, SizeIs(5));  // and the reference table
  const Found found = Assemble(store_.Inherit());
  ASSERT_THAT(found.residencies, SizeIs(1));
  const InventoryEntry& entry = found.residencies.front().entry;
  ASSERT_THAT(entry.record.sources, SizeIs(2));
  EXPECT_EQ(entry.record.sources[1].reference_table->view().metadata(0).second, "7");
  EXPECT_NE(entry.digests, nullptr);
  kept.Release(job_.record.id);
  EXPECT_THAT(store_.names(), IsEmpty());
}

TEST_F(KeptBackendTest, KeepsNothingOfALoadThatFailed) {
  KeptBackend kept(&store_, &manager_);
  kept.set_backend(&backend_);
  kept.Load(job_);
  kept.CancelLoad(job_.record.id);
  kept.OnLoadFailed(job_.record.id, absl::CancelledError("cancelled"));
  EXPECT_THAT(store_.names(), IsEmpty());
  EXPECT_TRUE(manager_.failed.contains(job_.record.id));
}

TEST_F(KeptBackendTest, PassesEverythingOnWithoutAStore) {
  KeptBackend kept(nullptr, &manager_);
  LoadInto(kept);
  kept.Release(job_.record.id);
  EXPECT_TRUE(manager_.loaded.contains(job_.record.id));
  EXPECT_THAT(backend_.released, ElementsAre(job_.record.id));
}

TEST_F(KeptBackendTest, GivesAnAgentThatKnowsNothingWhatWasKept) {
  KeptBackend before(&store_, &manager_);
  LoadInto(before);

  Found found = Assemble(store_.Inherit());
  EXPECT_THAT(found.unusable_because, IsEmpty());
  ASSERT_THAT(found.residencies, SizeIs(1));
  FakeBackend agent;
  test::BackendRecorder manager;
  KeptBackend after(&store_, &manager);
  after.set_backend(&agent);
  after.Restore(std::move(found.residencies));
  after.OnAgentUp("host", {});
  EXPECT_THAT(agent.adopted, IsEmpty()) << "its inventory is not known yet";
  after.TellRestored();
  EXPECT_THAT(agent.adopted, ElementsAre(job_.record.id));
  ASSERT_TRUE(manager.inventory.contains(job_.record.id));
  const auto& told = manager.inventory.at(job_.record.id);
  EXPECT_EQ(told.record.sources.front().references, job_.record.sources.front().references);
  EXPECT_EQ(told.record.generation, job_.record.generation);
  ASSERT_NE(told.digests, nullptr);
  EXPECT_EQ(told.digests->content->weights, Digests()->content->weights);
  EXPECT_EQ(told.memory->table->view().size(), job_.plan->table->view().size());
  EXPECT_THAT(store_.fds, SizeIs(4)) << "nothing is stored twice";

  after.Release(job_.record.id);
  EXPECT_THAT(store_.names(), IsEmpty());
}

TEST_F(KeptBackendTest, TellsOnceWhatTheAgentStillHas) {
  KeptBackend before(&store_, &manager_);
  LoadInto(before);
  FakeBackend agent;
  test::BackendRecorder manager;
  KeptBackend after(&store_, &manager);
  after.set_backend(&agent);
  after.Restore(std::move(Assemble(store_.Inherit()).residencies));
  after.OnInventory(job_.record, Memory(), Digests());
  after.TellRestored();
  EXPECT_THAT(manager.inventory, SizeIs(1));
  EXPECT_THAT(agent.adopted, IsEmpty());
  EXPECT_THAT(store_.fds, SizeIs(4));
}

TEST_F(KeptBackendTest, KeepsWhatAnAgentBringsAlong) {
  KeptBackend kept(&store_, &manager_);
  kept.set_backend(&backend_);
  kept.OnInventory(job_.record, Memory(), nullptr);
  EXPECT_THAT(store_.fds, SizeIs(3));
  kept.OnDigest(job_.record.id, Digests());
  EXPECT_THAT(store_.fds, SizeIs(4));
}

TEST_F(KeptBackendTest, KeepsNoHandlesThatDieWithTheirAgent) {
  auto memory = std::make_shared<residency::ResidentMemory>();
  memory->table = job_.plan->table;
  auto segment = std::make_shared<residency::LoadedSegment>();
  segment->info = {.kind = wire::SegmentKind::kCudaIpc,
                   .size_bytes = job_.plan->segment_sizes.front(),
                   .ipc_handle = std::string(wire::kIpcHandleBytes, 'x')};
  memory->segments.push_back(std::move(segment));
  KeptBackend kept(&store_, &manager_);
  kept.set_backend(&backend_);
  kept.Load(job_);
  kept.OnLoaded(job_.record.id, memory, {});
  EXPECT_THAT(store_.names(), IsEmpty());
  EXPECT_TRUE(manager_.loaded.contains(job_.record.id));
}

TEST_F(KeptBackendTest, KeepsAllOfAResidencyOrNothing) {
  FakeStore small(2);
  KeptBackend kept(&small, &manager_);
  LoadInto(kept);
  EXPECT_THAT(small.names(), IsEmpty());
  EXPECT_TRUE(manager_.loaded.contains(job_.record.id)) << "it is resident all the same";
  kept.Release(job_.record.id);
  EXPECT_THAT(backend_.released, ElementsAre(job_.record.id));
}

TEST_F(KeptBackendTest, LeavesNothingBehindWhenModeldEndsForGood) {
  KeptBackend kept(&store_, &manager_);
  LoadInto(kept);
  kept.ForgetAll();
  EXPECT_THAT(store_.names(), IsEmpty());
}

// What was found is whole and as it was sealed, or it is not used.
TEST_F(KeptBackendTest, UsesNothingThatIsNotWhole) {
  KeptBackend kept(&store_, &manager_);
  LoadInto(kept);
  const std::vector<std::string> names = store_.names();
  for (const std::string& missing : names) {
    std::vector<NamedFd> found = store_.Inherit();
    std::erase_if(found, [&](const NamedFd& fd) { return fd.name == missing; });
    const Found assembled = Assemble(std::move(found));
    if (missing.find("-digest-") != std::string::npos) {
      ASSERT_THAT(assembled.residencies, SizeIs(1)) << "a digest is computed again";
      EXPECT_EQ(assembled.residencies.front().entry.digests, nullptr);
      continue;
    }
    EXPECT_THAT(assembled.residencies, IsEmpty()) << "without " << missing;
    EXPECT_THAT(assembled.unusable_names, SizeIs(3));
    EXPECT_THAT(assembled.unusable_because, ElementsAre(HasSubstr(job_.record.id)));
  }
}

TEST_F(KeptBackendTest, UsesNothingThatIsNotAsItWasSealed) {
  KeptBackend kept(&store_, &manager_);
  LoadInto(kept);
  for (const std::string& name : store_.names()) {
    std::vector<NamedFd> found = store_.Inherit();
    for (NamedFd& fd : found) {
      if (fd.name == name) fd.fd.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    const Found assembled = Assemble(std::move(found));
    EXPECT_THAT(assembled.residencies, IsEmpty()) << name;
    EXPECT_THAT(assembled.unusable_names, SizeIs(4)) << name;
  }
}

TEST_F(KeptBackendTest, NamesWhatIsNotItsOwn) {
  std::vector<NamedFd> strangers;
  for (const char* name : {"modeld.socket", "residency-", "residency-x", "residency-x-y"}) {
    strangers.push_back({name, wire::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))});
  }
  const Found found = Assemble(std::move(strangers));
  EXPECT_THAT(found.residencies, IsEmpty());
  EXPECT_THAT(found.unusable_names,
              UnorderedElementsAre("modeld.socket", "residency-", "residency-x", "residency-x-y"));
}

}  // namespace
}  // namespace modeld::supervisor
