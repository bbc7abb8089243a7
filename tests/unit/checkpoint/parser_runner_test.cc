// The real modeld-parser, as the daemon runs it.

#include "supervisor/parser_runner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "gguf_files.h"
#include "malformed_files.h"
#include "malformed_torch_files.h"
#include "supervisor/checkpoint_catalog.h"
#include "support/checkpoint_writer.h"
#include "support/sanitizer.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::supervisor {
namespace {

using std::chrono::steady_clock;

plan::OpenFile Open(const std::string& path) {
  plan::OpenFile file{.path = path,
                      .fd = wire::UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC)),
                      .identity = {},
                      .name = path};
  struct stat now = {};
  if (fstat(file.fd.get(), &now) != 0) std::abort();
  const auto nanoseconds = [](const timespec& time) {
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  file.identity = {.device = now.st_dev,
                   .inode = now.st_ino,
                   .size_bytes = static_cast<uint64_t>(now.st_size),
                   .mtime_ns = nanoseconds(now.st_mtim),
                   .ctime_ns = nanoseconds(now.st_ctim)};
  return file;
}

std::shared_ptr<plan::OpenCheckpoint> OpenAll(const std::vector<std::string>& paths) {
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  for (const std::string& path : paths) checkpoint->files.push_back(Open(path));
  return checkpoint;
}

size_t OpenDescriptors() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

class ParserRunnerTest : public ::testing::Test {
 protected:
  absl::StatusOr<ParsedCheckpoint> Parse(const std::string& path) {
    return runner_.Parse(*OpenAll({path}));
  }

  // A program in modeld-parser's place.
  ParserRunner::Options Impostor(const std::string& script) {
    const std::string path = dir_.Write("bin/modeld-parser", "#!/bin/sh\n" + script + "\n");
    chmod(path.c_str(), 0700);
    return {.program_directory = dir_ / "bin", .deadline = std::chrono::seconds(10)};
  }

  void ExpectRefusals(const std::vector<test::MalformedFile>& files,
                      const std::string& name = "bad.safetensors") {
    for (const test::MalformedFile& file : files) {
      SCOPED_TRACE(file.name);
      const std::string path = test::WriteFile(dir_ / name, file);
      const auto start = steady_clock::now();
      const auto parsed = Parse(path);
      EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(5));
      auto info = wire::GetErrorInfo(parsed.status());
      EXPECT_EQ(info.reason, wire::Reason::kCheckpointMalformed) << parsed.status();
      EXPECT_EQ(info.metadata["file"], path);
      EXPECT_EQ(info.metadata["byte"], std::to_string(file.byte)) << parsed.status();
      EXPECT_EQ(info.metadata["tensor"], file.tensor);
      EXPECT_FALSE(info.hint.empty());
    }
  }

  test::TempDir dir_;
  // More patience than the daemon has: sanitizers on a busy machine.
  ParserRunner runner_{
      {.program_directory = PARSER_DIRECTORY, .deadline = std::chrono::minutes(1)}};
};

TEST_F(ParserRunnerTest, AGoodCheckpointComesBackAsASealedTable) {
  const test::CheckpointSpec spec = test::SmallSpec();
  const auto parsed = Parse(test::WriteCheckpoint(dir_ / "small.safetensors", spec));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->format, "safetensors");
  const wire::TableView& table = parsed->source->view();
  ASSERT_EQ(table.size(), spec.tensors.size());
  std::ifstream file(dir_ / "small.safetensors", std::ios::binary);
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const wire::TensorEntry entry = table.entry(table.in_order(i));
    EXPECT_EQ(entry.name, spec.tensors[i].name);
    std::string bytes(entry.size_bytes, '\0');
    file.seekg(static_cast<std::streamoff>(entry.offset));
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    EXPECT_EQ(bytes, test::TensorBytes(spec, i)) << entry.name;
  }
}

TEST_F(ParserRunnerTest, TheSandboxIsReported) {
  EXPECT_FALSE(runner_.last_sandbox());
  EXPECT_FALSE(Parse(dir_.Write("bad.safetensors", "x")).ok());
  const auto sandbox = runner_.last_sandbox();
  ASSERT_TRUE(sandbox);
  EXPECT_TRUE(sandbox->seccomp);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_EQ(sandbox->address_space_limit_bytes, uint64_t{1} << 30);
#endif
}

TEST_F(ParserRunnerTest, EveryMalformedFileIsRefusedAtItsByte) {
  ExpectRefusals(test::MalformedFiles());
}

TEST_F(ParserRunnerTest, TruncationIsRefusedAtEveryByte) { ExpectRefusals(test::TruncatedFiles()); }

TEST_F(ParserRunnerTest, EveryMalformedGgufFileIsRefusedAtItsByte) {
  ExpectRefusals(test::MalformedGgufFiles(), "bad.gguf");
}

TEST_F(ParserRunnerTest, APipelineComesBackWithTheNamesOfItsComponents) {
  const std::string path = dir_.Write("model_index.json", "{}");
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->files.push_back(Open(path));
  checkpoint->files[0].name = "model_index.json";
  checkpoint->files[0].companion = true;
  checkpoint->components = {"unet", "vae"};
  const auto parsed = runner_.Parse(*checkpoint);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->format, "files");
  EXPECT_EQ(parsed->source->view().size(), 0u);
  const wire::ReferenceTable& reference = parsed->reference_table->view();
  ASSERT_EQ(reference.metadata_count(), 1u);
  EXPECT_EQ(reference.metadata(0),
            (std::pair<std::string_view, std::string_view>("components", "unet,vae")));
  ASSERT_EQ(reference.file_count(), 1u);
  EXPECT_EQ(reference.file(0).name, "model_index.json");
}

// As much as a small file may have and a header may have, made of what costs most memory.
TEST_F(ParserRunnerTest, TheWorstGgufFilesStayWithinTheMemoryLimit) {
  const auto check = [this](const std::string& name, uint64_t pairs, uint64_t tensors,
                            const std::string& body) {
    const std::string path = dir_.Write("worst.gguf", test::GgufStart(tensors, pairs) + body);
    const auto parsed = Parse(path);
    EXPECT_TRUE(parsed.ok()) << name << parsed.status();
  };
  constexpr size_t kMost = test::kSanitized ? 6'000'000 : 60'000'000;
  check("one string", 1, 0, test::GgufPair("k", 8, test::GgufString(std::string(kMost, 's'))));
  std::string pairs;
  for (int i = 0; i < 100'000; ++i) {
    pairs +=
        test::GgufPair(std::to_string(i), 8, test::GgufString(std::string(kMost / 120'000, 's')));
  }
  check("strings", 100'000, 0, pairs);
  std::string empty;
  for (size_t i = 0; i < kMost / 8; ++i) empty += test::GgufU64(0);
  check("empty strings", 1, 0,
        test::GgufPair("k", 9, test::GgufU32(8) + test::GgufU64(kMost / 8) + empty));
  std::string tensors;
  constexpr uint64_t kTensors = kMost / 60;
  for (uint64_t i = 0; i < kTensors; ++i) {
    tensors += test::GgufTensor(std::to_string(i), {0}, 0, 0);
  }
  check("tensors", 0, kTensors, tensors);
  rusage children = {};
  getrusage(RUSAGE_CHILDREN, &children);
  std::cout << "largest parser: " << children.ru_maxrss / 1024 << " MiB\n";
  if (!test::kSanitized) {
    EXPECT_LT(children.ru_maxrss, 700 << 10);  // KiB
  }
}

// Bombs among them: the sandbox has 1 GiB of addresses and no file but the one.
TEST_F(ParserRunnerTest, EveryMalformedArchiveOfPyTorchIsRefused) {
  auto files = test::MalformedZips();
  for (auto& file : test::MalformedPickles()) files.push_back(std::move(file));
  for (const test::MalformedArchive& file : files) {
    SCOPED_TRACE(file.name);
    const std::string path = dir_.Write("bad.pt", file.bytes);
    const absl::Status status = Parse(path).status();
    const auto info = wire::GetErrorInfo(status);
    EXPECT_EQ(info.reason, file.unsupported ? wire::Reason::kFormatUnsupported
                                            : wire::Reason::kCheckpointMalformed)
        << status;
    EXPECT_NE(std::string(status.message()).find(file.words), std::string::npos) << status;
    EXPECT_FALSE(info.hint.empty());
  }
}

TEST_F(ParserRunnerTest, CompressedFilesOfAnArchiveAreInflatedInTheSandbox) {
  std::vector<test::ZipEntry> entries = test::TorchEntries(test::Pickle(
      test::Dict("w", test::Tensor(test::Storage("FloatStorage", "0", 16), 0, {16}, {1}))));
  entries[0].deflate = true;
  const auto parsed = Parse(dir_.Write("small.pt", test::WriteZip(entries).bytes));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->format, "torch");
  ASSERT_EQ(parsed->source->view().size(), 1u);
  EXPECT_EQ(parsed->source->view().entry(0).size_bytes, 64u);
}

// The largest header that the format allows, made of what costs most memory per byte.
TEST_F(ParserRunnerTest, TheWorstHeaderStaysWithinTheMemoryLimit) {
  // Instrumented, it is not its memory that is looked at.
  constexpr size_t kHeaderBytes = test::kSanitized ? 10'000'000 : 100'000'000;
  const auto check = [this](std::string header, const std::string& filler, const std::string& end) {
    while (header.size() + filler.size() + end.size() < kHeaderBytes) header += filler;
    header += end;
    const std::string path = dir_.Write("worst.safetensors", test::SafetensorsFile(header, 0));
    const auto parsed = Parse(path);
    EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kCheckpointMalformed)
        << parsed.status();
    EXPECT_NE(std::string(parsed.status().message()).find(path), std::string::npos);
  };
  check("{\"t\":{\"shape\":[", "1,", "1]}}");
  check("{\"t\":{\"x\":{\"\":[", "{\"\\n\":0},", "0]}}}");
  check("{\"__metadata__\":{", "\"\\n\":\"\\n\",", "\"x\":\"\"}}");
  check("{\"\\n", "\\n", "\":{}}");
  rusage children = {};
  getrusage(RUSAGE_CHILDREN, &children);
  std::cout << "largest parser: " << children.ru_maxrss / 1024 << " MiB\n";
  if (!test::kSanitized) {
    EXPECT_LT(children.ru_maxrss, 1 << 20);  // KiB
  }
}

TEST_F(ParserRunnerTest, AMillionTensorsAreReadWithinTheMemoryLimit) {
  // Instrumented, a million take longer than a parser may.
  constexpr int kTensors = test::kSanitized ? 50'000 : 1'000'000;
  std::string header = "{";
  for (int i = 0; i < kTensors; ++i) {
    const std::string at = std::to_string(i);
    header.append(i > 0 ? ",\"" : "\"").append(at);
    header.append(R"(":{"dtype":"U8","shape":[1,1,1,1],"data_offsets":[)").append(at);
    header.append(",").append(std::to_string(i + 1)).append("]}");
  }
  header += "}";
  const auto parsed =
      Parse(dir_.Write("million.safetensors", test::SafetensorsFile(header, kTensors)));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->source->view().size(), static_cast<size_t>(kTensors));
}

TEST_F(ParserRunnerTest, AFileThatChangedAfterItWasOpenedIsChanged) {
  const std::string path = test::WriteCheckpoint(dir_ / "t.safetensors", test::SmallSpec());
  const auto checkpoint = OpenAll({path});
  std::ofstream(path, std::ios::app) << "more";
  const auto parsed = runner_.Parse(*checkpoint);
  auto info = wire::GetErrorInfo(parsed.status());
  EXPECT_EQ(info.reason, wire::Reason::kCheckpointChanged) << parsed.status();
  EXPECT_EQ(info.metadata["file"], path);
}

TEST_F(ParserRunnerTest, APathThatIsNotUtf8IsNamedAllTheSame) {
  const std::string path = dir_.Write("caf\xe9.safetensors", "{");
  const auto parsed = Parse(path);
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kCheckpointMalformed);
  EXPECT_NE(std::string(parsed.status().message()).find("caf\uFFFD.safetensors"), std::string::npos)
      << parsed.status();
}

TEST_F(ParserRunnerTest, AParserThatCrashesIsTheFilesFault) {
  const std::string path = dir_.Write("t.safetensors", test::SafetensorsFile("{}", 0));
  ParserRunner runner(Impostor("kill -SEGV $$"));
  const auto parsed = runner.Parse(*OpenAll({path}));
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kCheckpointMalformed);
  const std::string message(parsed.status().message());
  EXPECT_NE(message.find("killed by signal 11 (Segmentation fault)"), std::string::npos) << message;
  EXPECT_NE(message.find(path), std::string::npos) << message;
}

TEST_F(ParserRunnerTest, AParserThatGivesUpIsNotTheFilesFault) {
  ParserRunner runner(Impostor("exit 3"));
  const auto parsed = runner.Parse(*OpenAll({dir_.Write("t.safetensors", "{}")}));
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kInternal);
  EXPECT_NE(std::string(parsed.status().message()).find("exited with code 3"), std::string::npos)
      << parsed.status();
}

TEST_F(ParserRunnerTest, AParserThatTalksGarbageIsRefused) {
  const std::string path = dir_.Write("t.safetensors", "{}");
  for (const char* script :
       {"echo 'this is not a frame of the protocol at all' >&3; exec sleep 60", "echo short >&3"}) {
    ParserRunner runner(Impostor(script));
    const auto start = steady_clock::now();
    const auto parsed = runner.Parse(*OpenAll({path}));
    EXPECT_FALSE(parsed.ok());
    EXPECT_NE(wire::GetReason(parsed.status()), wire::Reason::kUnknown) << parsed.status();
    EXPECT_NE(std::string(parsed.status().message()).find(path), std::string::npos);
    EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(9));
  }
}

TEST_F(ParserRunnerTest, AParserThatHangsIsKilledAtTheDeadline) {
  ParserRunner::Options options = Impostor("exec sleep 600");
  options.deadline = std::chrono::milliseconds(300);
  ParserRunner runner(options);
  const auto parsed = runner.Parse(*OpenAll({dir_.Write("t.safetensors", "{}")}));
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kReadFailed) << parsed.status();
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);  // no child is left, not even a zombie
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(ParserRunnerTest, WithoutAParserTheErrorSaysWhereItWasLookedFor) {
  ParserRunner runner({.program_directory = "/nonexistent/place"});
  const auto parsed = runner.Parse(*OpenAll({dir_.Write("t.safetensors", "{}")}));
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kInternal);
  EXPECT_NE(std::string(parsed.status().message()).find("/nonexistent/place"), std::string::npos);
}

TEST_F(ParserRunnerTest, NoDescriptorStaysBehind) {
  const std::string good = test::WriteCheckpoint(dir_ / "t.safetensors", test::SmallSpec());
  const std::string bad = dir_.Write("bad.safetensors", "x");
  ParserRunner crashing(Impostor("kill -KILL $$"));
  EXPECT_TRUE(Parse(good).ok());
  const size_t before = OpenDescriptors();
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Parse(good).ok());
    EXPECT_FALSE(Parse(bad).ok());
    EXPECT_FALSE(crashing.Parse(*OpenAll({good})).ok());
  }
  EXPECT_EQ(OpenDescriptors(), before);
}

TEST_F(ParserRunnerTest, ManyThreadsMayParseAtOnce) {
  const test::CheckpointSpec spec = test::SmallSpec();
  const std::string path = test::WriteCheckpoint(dir_ / "t.safetensors", spec);
  std::vector<std::thread> threads;
  std::vector<absl::Status> statuses(8);
  for (absl::Status& status : statuses) {
    threads.emplace_back([&, path] {
      for (int i = 0; i < 5 && status.ok(); ++i) status = Parse(path).status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ParserRunnerTest, TheCatalogPlansAndInspects) {
  const test::CheckpointSpec spec = test::SmallSpec();
  const std::string path = test::WriteCheckpoint(dir_ / "t.safetensors", spec);
  Catalog catalog([](const std::string& reference) { return OpenAll({reference}); },
                  {.program_directory = PARSER_DIRECTORY}, dir_ / "digests");
  const auto checkpoint = catalog.Resolve(path, {});
  ASSERT_TRUE(checkpoint.ok());
  const auto plan = catalog.Plan(**checkpoint, "host");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ((*plan)->format, "safetensors");
  EXPECT_EQ((*plan)->table->view().tensor_bytes(), spec.tensor_bytes());
  const auto inspection = catalog.Inspect(**checkpoint);
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(inspection->resident_bytes, (*plan)->resident_bytes());
  EXPECT_EQ(inspection->source->view().size(), spec.tensors.size());
  const auto on_gpu = catalog.Plan(**checkpoint, "GPU-1234");
  ASSERT_TRUE(on_gpu.ok()) << on_gpu.status();
  const wire::TableView& table = (*on_gpu)->table->view();
  for (size_t i = 0; i < table.size(); ++i) EXPECT_EQ(table.entry(i).offset % 512, 0u) << i;
  EXPECT_TRUE(catalog.last_sandbox());
}

TEST_F(ParserRunnerTest, TheCatalogPlansCastsAndFromTheHostNoneAgain) {
  const test::CheckpointSpec spec = {
      .tensors = {{.name = "w", .dtype = wire::DType::kF16, .shape = {3 << 20}},
                  {.name = "i", .dtype = wire::DType::kI32, .shape = {4}}}};
  plan::OpenCheckpoint checkpoint;
  checkpoint.files.push_back(Open(test::WriteCheckpoint(dir_ / "t.safetensors", spec)));
  checkpoint.config.cast = wire::DType::kF32;
  Catalog catalog([](const std::string& reference) { return OpenAll({reference}); },
                  {.program_directory = PARSER_DIRECTORY}, dir_ / "digests");
  const auto inspection = catalog.Inspect(checkpoint);
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(inspection->resident_bytes, 14u << 20);
  residency::ResidentMemory memory;
  for (const std::string device : {"host", "GPU-1234"}) {
    const auto plan = catalog.Plan(checkpoint, device);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ((*plan)->resident_bytes(), 14u << 20);
    const wire::TableView& table = (*plan)->table->view();
    EXPECT_EQ(table.entry(*table.find("w")).dtype, wire::DType::kF32);
    EXPECT_EQ(table.entry(*table.find("i")).dtype, wire::DType::kI32);
    if (device == "host") memory.table = (*plan)->table;
  }

  auto loaded = std::make_shared<residency::LoadedSegment>();
  loaded->info.size_bytes = 14 << 20;
  auto segment = wire::MakeSealedMemfd("segment", std::string(14 << 20, '\0'));
  ASSERT_TRUE(segment.ok()) << segment.status();
  loaded->fds.push_back(*std::move(segment));
  memory.segments.push_back(std::move(loaded));
  residency::ResidencyRecord record;
  record.sources.push_back({.content_key = "t", .references = {"t.safetensors"}});
  const auto copy = catalog.PlanFromHost(record, memory, nullptr, "GPU-1234");
  ASSERT_TRUE(copy.ok()) << copy.status();
  const wire::TableView& table = copy->plan->table->view();
  EXPECT_EQ(table.entry(*table.find("w")).dtype, wire::DType::kF32);
  for (const plan::CopyRange& range : copy->plan->ranges) EXPECT_FALSE(range.cast);
}

TEST_F(ParserRunnerTest, TheCatalogKnowsTheDigestsOfFilesThatStayedAsTheyWere) {
  const std::string path = test::WriteCheckpoint(dir_ / "t.safetensors", test::SmallSpec());
  Catalog catalog([](const std::string& reference) { return OpenAll({reference}); },
                  {.program_directory = PARSER_DIRECTORY}, dir_ / "digests");
  const auto fresh = catalog.Resolve(path, {});
  ASSERT_TRUE(fresh.ok());
  EXPECT_FALSE((*fresh)->settled) << "it was written just now";
  const auto plan = catalog.Plan(**fresh, "host");
  ASSERT_TRUE(plan.ok()) << plan.status();
  plan::ContentDigests digests;
  digests.tensors.resize((*plan)->table->view().size());
  digests.weights.fill(std::byte{7});
  catalog.RememberDigests((*fresh)->Key(), digests);
  EXPECT_EQ((*catalog.Plan(**fresh, "host"))->digests, nullptr);

  plan::OpenCheckpoint settled;
  settled.files.push_back(Open(path));
  settled.settled = true;
  const auto known = catalog.Plan(settled, "host");
  ASSERT_TRUE(known.ok()) << known.status();
  ASSERT_NE((*known)->digests, nullptr);
  EXPECT_EQ((*known)->digests->weights, digests.weights);
  // Another configuration is another content.
  settled.config.exclude = {"nothing that is there"};
  EXPECT_EQ((*catalog.Plan(settled, "host"))->digests, nullptr);
}

}  // namespace
}  // namespace modeld::supervisor
