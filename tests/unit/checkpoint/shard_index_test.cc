#include "checkpoint/shard_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "malformed_files.h"
#include "parsed_files.h"
#include "support/cpu_time.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::checkpoint {
namespace {

using test::ParsedFiles;
using ::testing::HasSubstr;
using wire::Reason;

constexpr char kGood[] = R"({"metadata":{"total_size":1.2e1,"more":[{}]},"weight_map":{)"
                         R"("a":"m-00001-of-00002.safetensors","b":"m-00001-of-00002.safetensors",)"
                         R"("c":"m-00002-of-00002.safetensors"}})";

// Two shards with the tensors a, b and c.
class ShardIndexTest : public ::testing::Test {
 protected:
  std::string Shard(const std::string& name, const std::vector<std::string>& tensors) {
    std::string header = "{";
    for (size_t i = 0; i < tensors.size(); ++i) {
      header += (i > 0 ? ",\"" : "\"") + tensors[i] +
                R"(":{"dtype":"U8","shape":[4],"data_offsets":[)" + std::to_string(4 * i) + "," +
                std::to_string(4 * i + 4) + "]}";
    }
    return dir_.Write(name, test::SafetensorsFile(header + "}", 4 * tensors.size()));
  }

  absl::Status With(const std::string& index, const plan::LoadConfig& config = {},
                    const std::string& name = "m.safetensors.index.json") {
    return ParsedFiles({one_, two_, dir_.Write(name, index)}, 2, config).status();
  }

  test::TempDir dir_;
  const std::string one_ = Shard("m-00001-of-00002.safetensors", {"a", "b"});
  const std::string two_ = Shard("m-00002-of-00002.safetensors", {"c"});
};

TEST_F(ShardIndexTest, ShardsThatAreAsItSaysAreOneCheckpointAndItIsASmallFile) {
  const ParsedFiles files({one_, two_, dir_.Write("m.safetensors.index.json", kGood)}, 2);
  ASSERT_TRUE(files.status().ok()) << files.status();
  EXPECT_EQ(files.format(), "safetensors");
  EXPECT_EQ(files.view().size(), 3u);
  EXPECT_EQ(files.view().entry(2).region, 1u);
  EXPECT_TRUE(files.reference().find_file("m.safetensors.index.json"));
}

TEST_F(ShardIndexTest, NamesAreThoseOfTheFilesWhateverTheConfigurationMakesOfThem) {
  EXPECT_TRUE(With(kGood, {.include = {"a"}}).ok());
  EXPECT_TRUE(With(kGood, {.key_prefix = "a"}).ok());
}

TEST_F(ShardIndexTest, TensorsThatItDoesNotNameAreReadAllTheSame) {
  EXPECT_TRUE(With(R"({"weight_map":{"a":"m-00001-of-00002.safetensors",)"
                   R"("c":"m-00002-of-00002.safetensors"}})")
                  .ok());
}

TEST_F(ShardIndexTest, AnotherIndexIsNotAsked) {
  EXPECT_TRUE(With("[]", {}, "m.bin.index.json").ok());
  EXPECT_TRUE(With("[]", {}, "m.safetensors.index.fp16.json").ok());
  EXPECT_TRUE(With("[]", {}, "config.json").ok());
  // The one whose name the weights have is asked.
  const std::string right = dir_.Write("m.safetensors.index.json", kGood);
  const std::string wrong = dir_.Write("consolidated.safetensors.index.json", "[]");
  EXPECT_TRUE(ParsedFiles({one_, two_, wrong, right}, 2).status().ok());
  EXPECT_FALSE(ParsedFiles({one_, two_, wrong}, 2).status().ok());
}

TEST_F(ShardIndexTest, SaysWhichTensorIsNotWhereItShouldBe) {
  const auto moved = With(R"({"weight_map":{"a":"m-00001-of-00002.safetensors",)"
                          R"("b":"m-00002-of-00002.safetensors"}})");
  EXPECT_EQ(wire::GetReason(moved), Reason::kCheckpointMalformed);
  EXPECT_EQ(wire::GetErrorInfo(moved).metadata["tensor"], "b");
  EXPECT_THAT(std::string(moved.message()),
              HasSubstr("should be in \"m-00002-of-00002.safetensors\", but is in "
                        "\"m-00001-of-00002.safetensors\""));
  const auto lost = With(R"({"weight_map":{"a":"m-00001-of-00002.safetensors",)"
                         R"("d":"m-00002-of-00002.safetensors"}})");
  EXPECT_EQ(wire::GetReason(lost), Reason::kCheckpointMalformed);
  EXPECT_EQ(wire::GetErrorInfo(lost).metadata["tensor"], "d");
  EXPECT_THAT(std::string(lost.message()), HasSubstr("is in no file of the checkpoint"));
}

TEST_F(ShardIndexTest, SaysWhichFileIsMissing) {
  for (const std::string file :
       {"m-00003-of-00003.safetensors", "../m-00001-of-00002.safetensors", "/etc/passwd", ""}) {
    const auto status = With(R"({"weight_map":{"a":")" + file + R"("}})");
    EXPECT_EQ(wire::GetReason(status), Reason::kCheckpointNotFound) << status;
    EXPECT_EQ(wire::GetErrorInfo(status).metadata["missing"], file);
    EXPECT_EQ(wire::GetErrorInfo(status).metadata["byte"], "19");
  }
}

// `@` marks where it goes wrong, and is left out.
TEST_F(ShardIndexTest, EachMalformedOneIsRefusedAtItsByte) {
  const std::string one = R"("m-00001-of-00002.safetensors")";
  const std::pair<std::string, std::string> cases[] = {
      {"@", "expected '{'"},
      {"@[]", "expected '{'"},
      {"@<!DOCTYPE html>", "expected '{'"},
      {"@{}", "no weight_map"},
      {R"(@{"metadata":{}})", "no weight_map"},
      {R"({"weight_map":@[]})", "expected '{'"},
      {R"({"weight_map":@null})", "expected '{'"},
      {R"({"weight_map":{"a":@1}})", "expected a string"},
      {R"({"weight_map":{@1:2}})", "expected a string"},
      {R"({"weight_map":{"a")" + one + "}}", ""},
      {R"({"weight_map":{"a":)" + one + R"(,@"a":)" + one + "}}", "a second \"a\""},
      {R"({"weight_map":{"a":)" + one + R"(,@"\u0061":)" + one + "}}", "a second \"a\""},
      {R"({"weight_map":{"a":)" + one + R"(,"c":"m-00002-of-00002.safetensors"},@"weight_map":{}})",
       "a second weight_map"},
      {std::string(kGood) + "@ x", "text behind"},
      {std::string(kGood).substr(0, std::string(kGood).size() - 1) + "@", "expected '}'"},
      {"{\"a@\xff\":1}", "not UTF-8"},
      {R"({"metadata":)" + std::string(128, '[') + "@" + std::string(1000, '['), "nested more"},
      {R"(@{"weight_map":{"a":)" + one + "}}", "names no tensor of"},
  };
  for (auto [text, words] : cases) {
    SCOPED_TRACE(text);
    size_t byte = text.find('@');
    if (byte == std::string::npos) byte = text.find("\"m-");
    std::erase(text, '@');
    // A space before `x`: the mark stands before it.
    if (words == "text behind") ++byte;
    const auto status = With(text.empty() ? " " : text);
    if (text.empty()) byte = 1;
    wire::ErrorInfo info = wire::GetErrorInfo(status);
    EXPECT_EQ(info.reason, Reason::kCheckpointMalformed) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_EQ(info.metadata["byte"], std::to_string(byte)) << status;
    EXPECT_EQ(info.metadata["file"], dir_ / "m.safetensors.index.json");
    EXPECT_FALSE(info.hint.empty());
  }
}

TEST(ShardIndex, AHundredThousandTensorsInTenFilesAreReadInAFractionOfASecond) {
  const test::TempDir dir;
  std::vector<std::string> paths;
  std::string index = R"({"weight_map":{)";
  for (int shard = 0; shard < 10; ++shard) {
    const std::string name = "m-" + std::to_string(shard) + ".safetensors";
    std::string header = "{";
    for (int i = 0; i < 10'000; ++i) {
      const std::string tensor = "layers." + std::to_string(shard * 10'000 + i) + ".weight";
      header += (i > 0 ? ",\"" : "\"") + tensor +
                R"(":{"dtype":"U8","shape":[4],"data_offsets":[)" + std::to_string(4 * i) + "," +
                std::to_string(4 * i + 4) + "]}";
      absl::StrAppend(&index, index.back() == '{' ? "" : ",", "\"", tensor, "\":\"", name, "\"");
    }
    paths.push_back(dir.Write(name, test::SafetensorsFile(header + "}", 40'000)));
  }
  paths.push_back(dir.Write("m.safetensors.index.json", index + "}}"));
  const auto files =
      test::WithinCpuSeconds(2, [&] { return std::make_unique<ParsedFiles>(paths, 10); });
  ASSERT_TRUE(files->status().ok()) << files->status();
  EXPECT_EQ(files->view().size(), 100'000u);
}

}  // namespace
}  // namespace modeld::checkpoint
