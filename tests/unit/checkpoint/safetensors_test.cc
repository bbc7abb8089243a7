#include "checkpoint/safetensors.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/format.h"
#include "malformed_files.h"
#include "parsed_files.h"
#include "support/checkpoint_writer.h"
#include "support/cpu_time.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

using SourceTable = test::ParsedFiles;

SourceTable TableOf(const test::TempDir& dir, const std::string& header, size_t data_bytes) {
  return SourceTable({dir.Write("t.safetensors", test::SafetensorsFile(header, data_bytes))});
}

TEST(Safetensors, EveryTensorHasItsBytes) {
  const test::TempDir dir;
  for (const uint64_t shift : {0, 1}) {
    test::CheckpointSpec spec = test::SmallSpec();
    spec.metadata = {{"format", "pt"}, {"note", "gr\u00fc\u00dfe \u4f60\u597d \U0001F600"}};
    spec.data_shift = shift;
    const SourceTable table({test::WriteCheckpoint(dir / "small.safetensors", spec)});
    ASSERT_TRUE(table.status().ok()) << table.status();
    EXPECT_EQ(table.format(), "safetensors");
    ASSERT_EQ(table.view().size(), spec.tensors.size());
    for (size_t i = 0; i < spec.tensors.size(); ++i) {
      const wire::TensorEntry entry = table.view().entry(table.view().in_order(i));
      EXPECT_EQ(entry.name, spec.tensors[i].name);
      EXPECT_EQ(entry.dtype, spec.tensors[i].dtype);
      EXPECT_EQ(std::vector(entry.shape.begin(), entry.shape.end()), spec.tensors[i].shape);
      EXPECT_EQ(table.BytesOf(entry), test::TensorBytes(spec, i)) << entry.name;
    }
    ASSERT_EQ(table.reference().metadata_count(), 2u);
    EXPECT_EQ(table.reference().metadata(1).second, spec.metadata["note"]);
  }
}

TEST(Safetensors, EveryDtypeOfTheFormatIsRead) {
  // Name and bits per element as the reference implementation's enum Dtype has them.
  const std::pair<const char*, int> dtypes[] = {
      {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
      {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64},        {"U64", 64}};
  const test::TempDir dir;
  std::string header = "{";
  size_t at = 0;
  for (const auto& [name, bits] : dtypes) {
    const size_t bytes = static_cast<size_t>(bits);  // eight elements
    if (at > 0) header += ",";
    header += "\"" + std::string(name) + "\":{\"dtype\":\"" + name + "\",\"shape\":[2,4]," +
              "\"data_offsets\":[" + std::to_string(at) + "," + std::to_string(at + bytes) + "]}";
    at += bytes;
  }
  header += "}";
  const std::string file = test::SafetensorsFile(header, at);
  const SourceTable table({dir.Write("dtypes.safetensors", file)});
  ASSERT_TRUE(table.status().ok()) << table.status();
  ASSERT_EQ(table.view().size(), std::size(dtypes));
  size_t offset = 8 + header.size();
  for (const auto& [name, bits] : dtypes) {
    const auto index = table.view().find(name);
    ASSERT_TRUE(index) << name;
    const wire::TensorEntry entry = table.view().entry(*index);
    EXPECT_EQ(wire::DTypeName(entry.dtype), name);
    EXPECT_EQ(wire::DTypeBits(entry.dtype), static_cast<uint32_t>(bits)) << name;
    EXPECT_EQ(table.BytesOf(entry), file.substr(offset, static_cast<size_t>(bits))) << name;
    offset += static_cast<size_t>(bits);
  }
}

TEST(Safetensors, ScalarsAndEmptyTensorsHaveTheirPlace) {
  const test::TempDir dir;
  const SourceTable table =
      TableOf(dir,
              R"({"e0":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
              R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
              R"("e1":{"dtype":"F64","shape":[3,0,9223372036854775807],"data_offsets":[4,4]},)"
              R"("u":{"dtype":"U8","shape":[1,1,1],"data_offsets":[4,5]},)"
              R"("e2":{"dtype":"F64","shape":[0],"data_offsets":[5,5]}})",
              5);
  ASSERT_TRUE(table.status().ok()) << table.status();
  EXPECT_EQ(table.view().size(), 5u);
  const wire::TensorEntry scalar = table.view().entry(*table.view().find("s"));
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_EQ(scalar.size_bytes, 4u);
  EXPECT_EQ(table.view().entry(*table.view().find("e1")).size_bytes, 0u);
}

TEST(Safetensors, AFileWithoutTensorsIsACheckpoint) {
  const test::TempDir dir;
  for (const char* header :
       {"{}", "{}      ", "{ \n\t}\r ", R"({"__metadata__":null})", R"({"__metadata__":{}})"}) {
    const SourceTable table = TableOf(dir, header, 0);
    EXPECT_TRUE(table.status().ok()) << header << table.status();
    EXPECT_EQ(table.view().size(), 0u);
    EXPECT_EQ(table.view().region_count(), 1u);
  }
}

TEST(Safetensors, UnknownFieldsArePassedOver) {
  const test::TempDir dir;
  const SourceTable table =
      TableOf(dir,
              R"({"t":{"x":[{},[],{"a":[1,-2.5e+3,0,true,false,null,"]}\"\u00e9"]}],"dtype":"U8",)"
              R"( "shape" : [ 2 ] , "data_offsets":[0,2],"y":-0.0E-1}} )",
              2);
  EXPECT_TRUE(table.status().ok()) << table.status();
  EXPECT_EQ(table.view().size(), 1u);
}

TEST(Safetensors, AValueMayBeNestedAsDeepAsTheReferenceAllows) {
  const test::TempDir dir;
  const std::string deep = std::string(128, '[') + std::string(128, ']');
  EXPECT_TRUE(
      TableOf(dir, R"({"t":{"x":)" + deep + R"(,"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
              2)
          .status()
          .ok());
}

TEST(Safetensors, NamesAreUnescaped) {
  const test::TempDir dir;
  const SourceTable table = TableOf(dir,
                                    R"({"\"\\\/\b\f\n\r\t\u0041\u00e9\u4f60\ud83d\ude00":)"
                                    R"({"d\u0074ype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                    R"("":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                    2);
  ASSERT_TRUE(table.status().ok()) << table.status();
  EXPECT_TRUE(table.view().find("\"\\/\b\f\n\r\tA\u00e9\u4f60\U0001F600"));
  EXPECT_TRUE(table.view().find(""));
}

TEST(Safetensors, OrderIsThatOfTheBytesNotOfTheHeader) {
  const test::TempDir dir;
  const SourceTable table = TableOf(dir,
                                    R"({"first":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                                    R"("second":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                                    3);
  ASSERT_TRUE(table.status().ok()) << table.status();
  EXPECT_EQ(table.view().entry(table.view().in_order(0)).name, "second");
}

TEST(Safetensors, SeveralFilesAreOneCheckpoint) {
  const test::TempDir dir;
  const auto shard = [&dir](const std::string& name, const std::string& tensor) {
    return dir.Write(
        name + ".safetensors",
        test::SafetensorsFile(R"({"__metadata__":{"format":"pt"},")" + tensor +
                                  R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                              4));
  };
  const SourceTable table({shard("0", "a"), shard("1", "b")});
  ASSERT_TRUE(table.status().ok()) << table.status();
  EXPECT_EQ(table.view().entry(0).region, 0u);
  EXPECT_EQ(table.view().entry(1).region, 1u);
  EXPECT_EQ(table.reference().metadata_count(), 1u);

  const SourceTable twice({shard("0", "a"), shard("1", "a")});
  const wire::ErrorInfo info = wire::GetErrorInfo(twice.status());
  EXPECT_EQ(info.reason, wire::Reason::kCheckpointMalformed);
  EXPECT_EQ(info.metadata.at("file"), dir / "1.safetensors");
  EXPECT_EQ(info.metadata.at("tensor"), "a");
}

// `count` tensors of `bytes_each` U8, one after another.
std::string HeaderOfMany(size_t count, size_t bytes_each) {
  std::string header = "{";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) header += ",";
    header += "\"model.layers." + std::to_string(i) + ".weight\":{\"dtype\":\"U8\",\"shape\":[1," +
              std::to_string(bytes_each) + "],\"data_offsets\":[" + std::to_string(i * bytes_each) +
              "," + std::to_string((i + 1) * bytes_each) + "]}";
  }
  return header + "}";
}

TEST(Safetensors, AHundredThousandTensorsAreReadInAFractionOfASecond) {
  const test::TempDir dir;
  const std::string bytes = test::SafetensorsFile(HeaderOfMany(100'000, 4), 400'000);
  const std::string path = dir.Write("many.safetensors", bytes);
  const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const InputFile files[] = {
      {.path = path, .name = path, .fd = fd.get(), .size_bytes = bytes.size()}};
  const auto parsed = test::WithinCpuSeconds(2, [&] { return ParseCheckpoint(files); });
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto view = wire::TableView::Validate(std::as_bytes(std::span(parsed->table)));
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->size(), 100'000u);
}

TEST(Safetensors, MoreTensorsThanTheLimitAreRefused) {
  const test::TempDir dir;
  const SourceTable table = TableOf(dir, HeaderOfMany(kMaxTensors + 1, 0), 0);
  EXPECT_EQ(wire::GetReason(table.status()), wire::Reason::kCheckpointMalformed);
  EXPECT_NE(std::string(table.status().message()).find("more than 1000000 tensors"),
            std::string::npos)
      << table.status();
}

}  // namespace
}  // namespace modeld::checkpoint
