// The supervisor with a real agent process behind it.

#include "supervisor/agent_supervisor.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "support/backend_recorder.h"
#include "support/casts.h"
#include "support/load_jobs.h"
#include "support/processes.h"
#include "support/temp_dir.h"
#include "wire/digest.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::supervisor {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

int DescriptorsOf(pid_t pid) {
  DIR* directory = ::opendir(("/proc/" + std::to_string(pid) + "/fd").c_str());
  if (directory == nullptr) return -1;
  int count = 0;
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

uint64_t PrivateBytesOf(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  uint64_t kib = 0;
  while (status >> word) {
    if (word == "RssAnon:") status >> kib;
  }
  return kib * 1024;
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

class AgentSupervisorTest : public testing::Test {
 public:
  ~AgentSupervisorTest() override {
    if (supervisor_ != nullptr) supervisor_->Stop(false);
  }

 protected:
  AgentSupervisor::Options TheOptions() {
    AgentSupervisor::Options options;
    options.socket_path = dir_ / "agent-host.sock";
    options.program_directory = MODELD_BIN_DIR;
    options.reader_threads = 1;
    options.log_level = "error";
    return options;
  }

  // A modeld with its own memory of what happened.
  void Start() {
    recorder_ = std::make_unique<test::BackendRecorder>();
    supervisor_ = std::make_unique<AgentSupervisor>(TheOptions(), recorder_.get());
    const absl::Status status = supervisor_->Start();
    ASSERT_TRUE(status.ok()) << status;
  }

  residency::LoadJob Small(const std::string& id, uint64_t seed = 1) {
    return test::WriteJob(id, dir_ / (id + ".safetensors"), test::SmallSpec(seed));
  }

  // Every tensor is what the file holds.
  void ExpectContent(const residency::ResidentMemory& memory, const test::CheckpointSpec& spec,
                     const std::string& prefix = "") {
    std::vector<wire::Mapping> segments;
    for (const auto& segment : memory.segments) {
      ASSERT_TRUE(wire::CheckSealed(segment->fds.front().get(), segment->info.size_bytes).ok());
      auto mapping = wire::MapReadOnly(segment->fds.front().get(), segment->info.size_bytes);
      ASSERT_TRUE(mapping.ok()) << mapping.status();
      segments.push_back(*std::move(mapping));
    }
    const wire::TableView& table = memory.table->view();
    for (size_t i = 0; i < spec.tensors.size(); ++i) {
      const auto index = table.find(prefix + spec.tensors[i].name);
      ASSERT_TRUE(index.has_value()) << spec.tensors[i].name;
      const wire::TensorEntry entry = table.entry(*index);
      const std::string expected = test::TensorBytes(spec, i);
      ASSERT_EQ(entry.size_bytes, expected.size());
      EXPECT_EQ(std::memcmp(segments[entry.region].data() + entry.offset, expected.data(),
                            expected.size()),
                0)
          << spec.tensors[i].name;
    }
  }

  void KillAgent() { ASSERT_EQ(::kill(recorder_->info.pid, SIGKILL), 0); }

  test::TempDir dir_;
  std::unique_ptr<test::BackendRecorder> recorder_;
  std::unique_ptr<AgentSupervisor> supervisor_;
};

TEST_F(AgentSupervisorTest, StartsAnAgentAndTellsWhatItIs) {
  Start();
  EXPECT_EQ(recorder_->ups, 1);
  EXPECT_EQ(supervisor_->starts(), 1);
  EXPECT_GT(recorder_->info.pid, 0);
  EXPECT_EQ(recorder_->info.export_kind, "memfd");
  EXPECT_THAT(recorder_->info.page_size_bytes, testing::AnyOf(4096u, 2u << 20));
  EXPECT_FALSE(recorder_->info.page_size_note.empty());
  // Signals to modeld's process group must not reach the agent.
  EXPECT_NE(::getsid(recorder_->info.pid), ::getsid(0));
}

TEST_F(AgentSupervisorTest, LoadsWhatTheFileHolds) {
  Start();
  const auto spec = test::SmallSpec(3);
  supervisor_->Load(test::WriteJob("small", dir_ / "small.safetensors", spec));
  ASSERT_TRUE(recorder_->WaitLoaded("small")) << recorder_->failed["small"];
  ExpectContent(*recorder_->loaded["small"], spec);
  EXPECT_EQ(recorder_->stats["small"].read_mode, "buffered");
}

TEST_F(AgentSupervisorTest, LoadsALargeFileThatIsNotInThePageCache) {
  Start();
  const auto spec = test::LargeSpec(100 * kMiB, 7);
  auto job = test::WriteJob("large", dir_ / "large.safetensors", spec);
  const int fd = job.checkpoint->files.front().fd.get();
  ::fdatasync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  supervisor_->Load(std::move(job));
  ASSERT_TRUE(recorder_->WaitLoaded("large")) << recorder_->failed["large"];
  ExpectContent(*recorder_->loaded["large"], spec);
}

TEST_F(AgentSupervisorTest, LoadsTensorsThatLieMisalignedInTheirFile) {
  Start();
  auto spec = test::LargeSpec(20 * kMiB, 5);
  spec.data_shift = 3;
  auto job = test::WriteJob("odd", dir_ / "odd.safetensors", spec);
  ASSERT_EQ(test::SafetensorsHeader(spec).size() % 4, 3u);
  supervisor_->Load(std::move(job));
  ASSERT_TRUE(recorder_->WaitLoaded("odd")) << recorder_->failed["odd"];
  ExpectContent(*recorder_->loaded["odd"], spec);
}

TEST_F(AgentSupervisorTest, LoadsACheckpointOfSeveralFiles) {
  Start();
  const auto first = test::LargeSpec(3 * kMiB, 3, 1);
  const auto second = test::SmallSpec(2);
  test::WriteCheckpoint(dir_ / "1.safetensors", first);
  test::WriteCheckpoint(dir_ / "2.safetensors", second);
  std::vector<plan::OpenFile> files;
  files.push_back(test::OpenAt(dir_ / "1.safetensors"));
  files.push_back(test::OpenAt(dir_ / "2.safetensors"));
  wire::TableBuilder table;
  for (const plan::OpenFile& file : files) table.AddRegion(file.identity.size_bytes);
  test::AddToTable(first, 0, "a.", &table);
  test::AddToTable(second, 1, "b.", &table);
  supervisor_->Load(test::JobFor("two", std::move(files), table));
  ASSERT_TRUE(recorder_->WaitLoaded("two")) << recorder_->failed["two"];
  ExpectContent(*recorder_->loaded["two"], first, "a.");
  ExpectContent(*recorder_->loaded["two"], second, "b.");
}

TEST_F(AgentSupervisorTest, LoadsACheckpointWithoutAnyBytes) {
  Start();
  test::CheckpointSpec spec;
  spec.tensors = {{.name = "empty", .dtype = wire::DType::kF32, .shape = {0, 4}}};
  supervisor_->Load(test::WriteJob("empty", dir_ / "empty.safetensors", spec));
  ASSERT_TRUE(recorder_->WaitLoaded("empty")) << recorder_->failed["empty"];
  EXPECT_EQ(recorder_->loaded["empty"]->table->view().size(), 1u);
}

TEST_F(AgentSupervisorTest, HandsOutMemoryThatNobodyCanChange) {
  Start();
  supervisor_->Load(Small("sealed"));
  ASSERT_TRUE(recorder_->WaitLoaded("sealed"));
  const residency::LoadedSegment& segment = *recorder_->loaded["sealed"]->segments.front();
  EXPECT_EQ(::pwrite(segment.fds.front().get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(segment.fds.front().get(), 0), -1);
  EXPECT_EQ(::mmap(nullptr, segment.info.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                   segment.fds.front().get(), 0),
            MAP_FAILED);
}

TEST_F(AgentSupervisorTest, TellsTheDigestsOfTheFilesTensors) {
  Start();
  const auto spec = test::SmallSpec(5);
  supervisor_->Load(test::WriteJob("digest", dir_ / "digest.safetensors", spec));
  ASSERT_TRUE(recorder_->WaitLoaded("digest"));
  ASSERT_TRUE(recorder_->WaitDigest("digest"));
  const wire::TableView& table = recorder_->loaded["digest"]->table->view();
  const auto known = wire::MapReadOnly(recorder_->digests["digest"]->table_fd.get(),
                                       table.size() * wire::kDigestBytes);
  ASSERT_TRUE(known.ok()) << known.status();
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const std::string bytes = test::TensorBytes(spec, i);
    const wire::Digest expected = wire::TensorDigest(std::as_bytes(std::span(bytes)));
    const size_t index = *table.find(spec.tensors[i].name);
    EXPECT_EQ(std::memcmp(known->data() + index * wire::kDigestBytes, expected.data(),
                          wire::kDigestBytes),
              0);
  }
}

// By way of the messages and an agent: the elements are cast, what is none stays, and the digests
// are those of what is resident.
TEST_F(AgentSupervisorTest, CastsOnItsWayAndTellsTheDigestsOfWhatIsResident) {
  Start();
  const plan::LoadConfig config = {.cast = wire::DType::kBF16};
  const auto spec = test::SmallSpec(15);
  supervisor_->Load(test::WriteJob("cast", dir_ / "cast.safetensors", spec, config));
  ASSERT_TRUE(recorder_->WaitLoaded("cast")) << recorder_->failed["cast"];
  const residency::ResidentMemory& memory = *recorder_->loaded["cast"];
  const auto segment = wire::MapReadOnly(memory.segments.front()->fds.front().get(),
                                         memory.segments.front()->info.size_bytes);
  ASSERT_TRUE(segment.ok()) << segment.status();
  const wire::TableView& table = memory.table->view();
  std::vector<wire::Digest> digests(table.size());
  size_t cast_count = 0;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const wire::DType stored = spec.tensors[i].dtype;
    const size_t index = *table.find(spec.tensors[i].name);
    const wire::TensorEntry entry = table.entry(index);
    EXPECT_EQ(entry.dtype, config.TypeOf(stored));
    std::string expected = test::TensorBytes(spec, i);
    if (entry.dtype != stored) {
      expected = test::CastOf({stored, entry.dtype}, expected);
      ++cast_count;
    }
    ASSERT_EQ(entry.size_bytes, expected.size());
    EXPECT_EQ(std::memcmp(segment->data() + entry.offset, expected.data(), expected.size()), 0)
        << entry.name;
    digests[index] = wire::TensorDigest(std::as_bytes(std::span(expected)));
  }
  EXPECT_GT(cast_count, 0u);
  EXPECT_LT(cast_count, spec.tensors.size());
  ASSERT_TRUE(recorder_->WaitDigest("cast"));
  EXPECT_EQ(recorder_->digests["cast"]->content->weights, wire::WeightsDigest(table, digests));
}

TEST_F(AgentSupervisorTest, ReleasesWhatItLoadedAndWhatItNeverHad) {
  Start();
  supervisor_->Load(Small("a"));
  ASSERT_TRUE(recorder_->WaitLoaded("a"));
  supervisor_->Release("a");
  EXPECT_TRUE(recorder_->WaitReleased("a"));
  supervisor_->Release("never there");
  EXPECT_TRUE(recorder_->WaitReleased("never there"));
  EXPECT_EQ(recorder_->released["a"], 1);
}

TEST_F(AgentSupervisorTest, CancelsALoadThatIsUnderWay) {
  Start();
  supervisor_->Load(test::SparseJob("big", dir_ / "big", 16 * kGiB));
  ASSERT_TRUE(recorder_->WaitProgress("big"));
  supervisor_->CancelLoad("big");
  ASSERT_TRUE(recorder_->WaitFailed("big"));
  EXPECT_TRUE(absl::IsCancelled(recorder_->failed["big"])) << recorder_->failed["big"];
}

TEST_F(AgentSupervisorTest, FailsALoadWhoseFileIsTruncatedMeanwhile) {
  Start();
  supervisor_->Load(test::SparseJob("cut", dir_ / "cut", 16 * kGiB));
  ASSERT_TRUE(recorder_->WaitProgress("cut"));
  ASSERT_EQ(::truncate((dir_ / "cut").c_str(), 100), 0);
  ASSERT_TRUE(recorder_->WaitFailed("cut"));
  const absl::Status status = recorder_->failed["cut"];
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kCheckpointChanged) << status;
  EXPECT_THAT(Message(status), HasSubstr(dir_ / "cut"));
  EXPECT_THAT(Message(status), HasSubstr("byte"));
}

TEST_F(AgentSupervisorTest, FailsALoadWhoseFileIsWrittenToMeanwhile) {
  Start();
  auto job = test::SparseJob("written", dir_ / "written", kGiB);
  const wire::UniqueFd writer(::open((dir_ / "written").c_str(), O_WRONLY | O_CLOEXEC));
  supervisor_->Load(std::move(job));
  ASSERT_TRUE(recorder_->WaitProgress("written"));
  ASSERT_EQ(::pwrite(writer.get(), "x", 1, 5), 1);
  ASSERT_TRUE(recorder_->WaitFailed("written"));
  EXPECT_EQ(wire::GetReason(recorder_->failed["written"]), wire::Reason::kCheckpointChanged)
      << recorder_->failed["written"];
}

TEST_F(AgentSupervisorTest, FailsLoadsInFlightAndStartsAnotherAgentWhenTheAgentIsKilled) {
  Start();
  supervisor_->Load(test::SparseJob("big", dir_ / "big", 16 * kGiB));
  ASSERT_TRUE(recorder_->WaitProgress("big"));
  KillAgent();
  ASSERT_TRUE(recorder_->WaitFailed("big"));
  const absl::Status status = recorder_->failed["big"];
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kDeviceUnavailable) << status;
  EXPECT_THAT(Message(status), HasSubstr("killed by signal 9"));
  EXPECT_THAT(Message(status), HasSubstr(dir_ / "big"));
  ASSERT_TRUE(recorder_->WaitUps(2));
  EXPECT_EQ(recorder_->downs, 1);
  EXPECT_EQ(recorder_->failed_before_down, 1u);
  EXPECT_EQ(supervisor_->starts(), 2);
  supervisor_->Load(Small("after"));
  EXPECT_TRUE(recorder_->WaitLoaded("after")) << recorder_->failed["after"];
}

TEST_F(AgentSupervisorTest, KeepsWhatIsResidentAndHandsItToTheNextAgent) {
  Start();
  const auto spec = test::SmallSpec(9);
  auto job = test::WriteJob("kept", dir_ / "kept.safetensors", spec);
  const auto record = job.record;
  supervisor_->Load(std::move(job));
  ASSERT_TRUE(recorder_->WaitLoaded("kept"));
  const auto memory = recorder_->loaded["kept"];
  KillAgent();
  ASSERT_TRUE(recorder_->WaitUps(2));
  ExpectContent(*memory, spec);
  recorder_->Forget("kept");
  supervisor_->Adopt(record, memory, nullptr);
  // The new agent has the bytes: it tells their digest, and after another modeld has come, it has
  // them in its inventory.
  ASSERT_TRUE(recorder_->WaitDigest("kept"));
  supervisor_->Stop(true);
  Start();
  ASSERT_TRUE(recorder_->inventory.contains("kept"));
  ExpectContent(*recorder_->inventory["kept"].memory, spec);
}

TEST_F(AgentSupervisorTest, GivesTheNextModeldTheInventoryOfAnAgentThatOutlivedThisOne) {
  Start();
  const pid_t agent = recorder_->info.pid;
  const auto spec = test::SmallSpec(11);
  auto job = test::WriteJob("a", dir_ / "a.safetensors", spec);
  const auto record = job.record;
  supervisor_->Load(std::move(job));
  supervisor_->Load(Small("released"));
  ASSERT_TRUE(recorder_->WaitLoaded("a") && recorder_->WaitLoaded("released"));
  ASSERT_TRUE(recorder_->WaitDigest("a"));
  const wire::Digest weights = recorder_->digests["a"]->content->weights;
  supervisor_->Release("released");  // and is told to the agent although this modeld ends at once
  supervisor_->Stop(true);

  Start();
  EXPECT_EQ(recorder_->info.pid, agent);
  EXPECT_EQ(supervisor_->starts(), 0);
  ASSERT_EQ(recorder_->inventory.size(), 1u);
  const auto& entry = recorder_->inventory["a"];
  EXPECT_EQ(entry.record.sources.front().content_key, record.sources.front().content_key);
  EXPECT_EQ(entry.record.sources.front().references, record.sources.front().references);
  EXPECT_EQ(entry.record.generation, 7u);
  ExpectContent(*entry.memory, spec);
  ASSERT_NE(entry.digests, nullptr);
  EXPECT_EQ(entry.digests->content->weights, weights);
  // It is this modeld's now.
  supervisor_->Release("a");
  EXPECT_TRUE(recorder_->WaitReleased("a"));
}

TEST_F(AgentSupervisorTest, AnswersReleasesThatWaitWhenTheAgentDies) {
  Start();
  supervisor_->Load(Small("a"));
  ASSERT_TRUE(recorder_->WaitLoaded("a"));
  ASSERT_EQ(::kill(recorder_->info.pid, SIGSTOP), 0);
  supervisor_->Release("a");
  KillAgent();
  EXPECT_TRUE(recorder_->WaitReleased("a"));
  ASSERT_TRUE(recorder_->WaitUps(2));
  EXPECT_TRUE(recorder_->inventory.empty());
}

TEST_F(AgentSupervisorTest, RefusesLoadsAtOnceWhenThereIsNoAgent) {
  recorder_ = std::make_unique<test::BackendRecorder>();
  supervisor_ = std::make_unique<AgentSupervisor>(TheOptions(), recorder_.get());
  supervisor_->Load(Small("a"));
  EXPECT_EQ(wire::GetReason(recorder_->failed["a"]), wire::Reason::kDeviceUnavailable);
  supervisor_->Release("a");
  EXPECT_EQ(recorder_->released["a"], 1);
}

TEST_F(AgentSupervisorTest, SaysWhatIsMissingWhenThereIsNoAgentToStart) {
  recorder_ = std::make_unique<test::BackendRecorder>();
  auto options = TheOptions();
  options.program_directory = dir_ / "nowhere";
  supervisor_ = std::make_unique<AgentSupervisor>(options, recorder_.get());
  const absl::Status status = supervisor_->Start();
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kDeviceUnavailable) << status;
  EXPECT_THAT(Message(status), HasSubstr("modeld-agent-host"));
  EXPECT_THAT(Message(status), HasSubstr(dir_ / "nowhere"));
}

TEST_F(AgentSupervisorTest, SaysHowTheAgentEndedWhenItCannotServe) {
  recorder_ = std::make_unique<test::BackendRecorder>();
  auto options = TheOptions();
  options.socket_path = dir_ / "no/such/directory.sock";
  supervisor_ = std::make_unique<AgentSupervisor>(options, recorder_.get());
  const absl::Status status = supervisor_->Start();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(Message(status), HasSubstr("exited with code 1"));
}

TEST_F(AgentSupervisorTest, EndsTheAgentWhenItIsStoppedForGood) {
  Start();
  const pid_t agent = recorder_->info.pid;
  supervisor_->Load(test::SparseJob("big", dir_ / "big", 16 * kGiB));
  ASSERT_TRUE(recorder_->WaitProgress("big"));
  supervisor_->Stop(false);
  EXPECT_EQ(::kill(agent, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_TRUE(absl::IsCancelled(recorder_->failed["big"])) << recorder_->failed["big"];
  EXPECT_NE(::access((dir_ / "agent-host.sock").c_str(), F_OK), 0);
}

TEST_F(AgentSupervisorTest, LeavesNoDescriptorBehindAfterAThousandLoads) {
  Start();
  const pid_t agent = recorder_->info.pid;
  const auto cycle = [&](const std::string& id) {
    auto job = Small("file");
    job.record.id = id;
    supervisor_->Load(std::move(job));
    ASSERT_TRUE(recorder_->WaitLoaded(id)) << recorder_->failed[id];
    supervisor_->Release(id);
    ASSERT_TRUE(recorder_->WaitReleased(id));
    recorder_->Forget(id);
  };
  for (int i = 0; i < 20; ++i) cycle("warm" + std::to_string(i));
  const int in_agent = DescriptorsOf(agent);
  const int here = DescriptorsOf(::getpid());
  for (int i = 0; i < 1000; ++i) cycle(std::to_string(i));
  // The last digest, and the last message to the agent, may still be under way.
  EXPECT_TRUE(test::Eventually([&] {
    return DescriptorsOf(agent) <= in_agent && DescriptorsOf(::getpid()) <= here;
  })) << DescriptorsOf(agent)
      << " of " << in_agent << ", " << DescriptorsOf(::getpid()) << " of " << here;
}

TEST_F(AgentSupervisorTest, KeepsNoPrivateMemoryOfALoad) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory grows with what it watches";
#endif
  Start();
  const pid_t agent = recorder_->info.pid;
  supervisor_->Load(Small("warm"));
  ASSERT_TRUE(recorder_->WaitLoaded("warm"));
  const uint64_t before = PrivateBytesOf(agent);
  ASSERT_GT(before, 0u);
  supervisor_->Load(test::SparseJob("gib", dir_ / "gib", kGiB));
  ASSERT_TRUE(recorder_->WaitLoaded("gib")) << recorder_->failed["gib"];
  ASSERT_TRUE(recorder_->WaitDigest("gib"));
  EXPECT_LT(PrivateBytesOf(agent), before + 4 * kMiB);
}

}  // namespace
}  // namespace modeld::supervisor
