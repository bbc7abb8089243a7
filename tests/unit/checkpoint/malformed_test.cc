// Every malformed file, read in this process: the same files go through the real parser in
// parser_runner_test.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>

#include "checkpoint/format.h"
#include "malformed_files.h"
#include "support/cpu_time.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

absl::Status ParseError(const std::string& path, uint64_t size_bytes) {
  const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const InputFile files[] = {
      {.path = path, .name = path, .fd = fd.get(), .size_bytes = size_bytes}};
  return ParseCheckpoint(files).status();
}

void ExpectRefusals(const std::vector<test::MalformedFile>& files) {
  const test::TempDir dir;
  for (const test::MalformedFile& file : files) {
    SCOPED_TRACE(file.name);
    const std::string path = test::WriteFile(dir / "bad.safetensors", file);
    const absl::Status status =
        test::WithinCpuSeconds(2, [&] { return ParseError(path, file.size_bytes); });
    const wire::ErrorInfo info = wire::GetErrorInfo(status);
    const std::string message(status.message());
    EXPECT_EQ(info.reason, wire::Reason::kCheckpointMalformed) << message;
    EXPECT_NE(message.find(file.words), std::string::npos) << message;
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000u);
    EXPECT_FALSE(info.hint.empty());
    auto metadata = info.metadata;
    EXPECT_EQ(metadata["file"], path);
    EXPECT_EQ(metadata["byte"], std::to_string(file.byte)) << message;
    EXPECT_EQ(metadata["tensor"], file.tensor) << message;
  }
}

TEST(MalformedSafetensors, EachIsRefusedAtItsByte) {
  const auto files = test::MalformedFiles();
  EXPECT_GE(files.size(), 30u);
  std::set<std::string> names;
  for (const auto& file : files) EXPECT_TRUE(names.insert(file.name).second) << file.name;
  ExpectRefusals(files);
}

TEST(MalformedSafetensors, TruncationIsRefusedAtEveryByte) {
  ExpectRefusals(test::TruncatedFiles());
}

TEST(MalformedSafetensors, WhatPeopleMistakeForSafetensorsGetsItsOwnHint) {
  const test::TempDir dir;
  const std::pair<std::string, std::string> starts[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"},
      {std::string("PK\x03\x04", 4) + std::string(100, '\0'), "ZIP"},
      {"GGUF" + std::string(100, '\3'), ".gguf"},
      {"<!DOCTYPE html><html><body>Log in</body></html>", "web page"}};
  for (const auto& [bytes, words] : starts) {
    const std::string path = dir.Write("mistaken.safetensors", bytes);
    const absl::Status status = ParseError(path, bytes.size());
    EXPECT_EQ(wire::GetReason(status), wire::Reason::kCheckpointMalformed);
    EXPECT_NE(wire::GetErrorInfo(status).hint.find(words), std::string::npos)
        << wire::GetErrorInfo(status).hint;
  }
}

TEST(MalformedSafetensors, LongAndStrangeNamesMakeReadableMessages) {
  const test::TempDir dir;
  const std::string name = std::string(1'000'000, 'n');
  const std::string bytes = test::SafetensorsFile("{\"\\u001b[2J" + name + "\":{}}", 0);
  const std::string path = dir.Write("long.safetensors", bytes);
  const std::string message(ParseError(path, bytes.size()).message());
  EXPECT_LT(message.size(), 1000u);
  EXPECT_NE(message.find("\\x1b[2Jnnn"), std::string::npos) << message;
}

TEST(MalformedSafetensors, AFileThatIsShorterThanItWasIsChangedNotMalformed) {
  const test::TempDir dir;
  const std::string bytes = test::SafetensorsFile("{}" + std::string(1000, ' '), 0);
  const std::string path = dir.Write("short.safetensors", bytes.substr(0, 500));
  EXPECT_EQ(wire::GetReason(ParseError(path, bytes.size())), wire::Reason::kCheckpointChanged);
}

TEST(MalformedSafetensors, AFileThatCannotBeReadIsNotCalledMalformed) {
  const test::TempDir dir;
  EXPECT_EQ(wire::GetReason(ParseError(dir.path(), 4096)), wire::Reason::kReadFailed);
}

TEST(Formats, AFileThatClaimsAFormatThatNobodyReadsIsUnsupported) {
  const test::TempDir dir;
  const std::string path = dir.Write("notes.ckpt", "remember the milk");
  const absl::Status status = ParseError(path, 17);
  EXPECT_EQ(wire::GetReason(status), wire::Reason::kFormatUnsupported);
  EXPECT_NE(std::string(status.message()).find(path), std::string::npos);
}

TEST(Formats, AMalformedFileWithoutEndingIsKnownByItsHeader) {
  const test::TempDir dir;
  const std::string path = dir.Write("4d7ae0f1", test::SafetensorsFile("{]", 0));
  EXPECT_EQ(wire::GetReason(ParseError(path, 10)), wire::Reason::kCheckpointMalformed);
}

}  // namespace
}  // namespace modeld::checkpoint
