// Every malformed archive gets its own words, at once, whatever it claims to hold.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "checkpoint/format.h"
#include "malformed_torch_files.h"
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

void ExpectRefusals(const std::vector<test::MalformedArchive>& files) {
  const test::TempDir dir;
  std::set<std::string> names;
  for (const test::MalformedArchive& file : files) {
    SCOPED_TRACE(file.name);
    EXPECT_TRUE(names.insert(file.name).second);
    const std::string path = dir.Write("bad.pt", file.bytes);
    const absl::Status status =
        test::WithinCpuSeconds(5, [&] { return ParseError(path, file.bytes.size()); });
    const wire::ErrorInfo info = wire::GetErrorInfo(status);
    const std::string message(status.message());
    EXPECT_EQ(info.reason, file.unsupported ? wire::Reason::kFormatUnsupported
                                            : wire::Reason::kCheckpointMalformed)
        << status;
    EXPECT_NE(message.find(file.words), std::string::npos) << message;
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_LT(message.size(), 2000u);
    EXPECT_FALSE(info.hint.empty());
    auto metadata = info.metadata;
    EXPECT_EQ(metadata["file"], path);
    if (file.byte >= 0) {
      EXPECT_EQ(metadata["byte"], std::to_string(file.byte)) << message;
    } else {
      ASSERT_FALSE(metadata["byte"].empty()) << message;
      EXPECT_LE(std::stoull(metadata["byte"]), file.bytes.size()) << message;
    }
  }
}

TEST(MalformedTorch, TheArchiveThatTheCasesAreMadeOfIsGood) {
  const test::TempDir dir;
  const std::string file = test::TorchFile(test::Pickle(
      test::Dict("w", test::Tensor(test::Storage("FloatStorage", "0", 16), 0, {4, 4}, {4, 1}))));
  EXPECT_EQ(ParseError(dir.Write("good.pt", file), file.size()), absl::OkStatus());
}

TEST(MalformedTorch, EachArchiveIsRefused) {
  const auto files = test::MalformedZips();
  EXPECT_GE(files.size(), 40u);
  ExpectRefusals(files);
}

TEST(MalformedTorch, EachPickleIsRefused) {
  const auto files = test::MalformedPickles();
  EXPECT_GE(files.size(), 60u);
  ExpectRefusals(files);
}

TEST(MalformedTorch, TruncationIsRefusedAtEveryByte) {
  const std::string file = test::TorchFile(test::Pickle(
      test::Dict("w", test::Tensor(test::Storage("FloatStorage", "0", 16), 0, {4, 4}, {4, 1}))));
  const test::TempDir dir;
  const std::string path = dir.Write("short.pt", file);
  for (size_t size = file.size(); size-- > 0;) {
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(size)), 0);
    const absl::Status status = ParseError(path, size);
    EXPECT_FALSE(status.ok()) << size;
    const wire::Reason reason = wire::GetReason(status);
    // The first bytes alone are of no known format, or what is left has no end.
    EXPECT_TRUE(reason == wire::Reason::kCheckpointMalformed ||
                (size < 42 && reason == wire::Reason::kFormatUnsupported))
        << size << ": " << status;
  }
}

TEST(MalformedTorch, AnyByteChangedIsReadOrRefusedAndNeverMore) {
  const std::string good = test::TorchFile(test::Pickle(
      test::Dict("w", test::Tensor(test::Storage("FloatStorage", "0", 16), 0, {4, 4}, {4, 1}))));
  const test::TempDir dir;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(~bad[at]);
    const absl::Status status = ParseError(dir.Write("bad.pt", bad), bad.size());
    EXPECT_TRUE(status.ok() || !wire::GetErrorInfo(status).hint.empty()) << at << status;
  }
}

TEST(MalformedTorch, WhatAGlobalWouldDoIsNamedWithALineThatConverts) {
  const test::TempDir dir;
  const std::string file = test::TorchFile(
      test::Pickle(test::Global("os", "system") + test::Text("touch here") + "\x85R"));
  const wire::ErrorInfo info =
      wire::GetErrorInfo(ParseError(dir.Write("evil.pt", file), file.size()));
  EXPECT_EQ(info.metadata.at("global"), "os.system");
  EXPECT_NE(info.hint.find("python3 -c"), std::string::npos) << info.hint;
}

TEST(MalformedTorch, WhatPeopleMistakeForItGetsItsOwnHint) {
  const test::TempDir dir;
  const std::pair<std::string, std::string> starts[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"},
      {"<!DOCTYPE html><html><body>Log in</body></html>", "web page"}};
  for (const auto& [bytes, words] : starts) {
    const absl::Status status = ParseError(dir.Write("mistaken.pt", bytes), bytes.size());
    EXPECT_EQ(wire::GetReason(status), wire::Reason::kCheckpointMalformed);
    EXPECT_NE(wire::GetErrorInfo(status).hint.find(words), std::string::npos)
        << wire::GetErrorInfo(status).hint;
  }
}

}  // namespace
}  // namespace modeld::checkpoint
