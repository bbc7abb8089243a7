#include "checkpoint/gguf.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "checkpoint/format.h"
#include "gguf_files.h"
#include "parsed_files.h"
#include "support/cpu_time.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

using test::GgufPair;
using test::GgufStart;
using test::GgufString;
using test::GgufTensor;
using test::GgufU32;
using test::GgufU64;
using test::Padded;
using test::ParsedFiles;

std::vector<int64_t> Shape(const wire::TensorEntry& entry) {
  return {entry.shape.begin(), entry.shape.end()};
}

TEST(Gguf, EveryTensorHasItsBytesAndItsShapeOutermostFirst) {
  const test::TempDir dir;
  const ParsedFiles file({dir.Write("good.gguf", test::GoodGguf())});
  ASSERT_TRUE(file.status().ok()) << file.status();
  EXPECT_EQ(file.format(), "gguf");
  ASSERT_EQ(file.view().size(), 2u);
  const auto dense = file.view().entry(*file.view().find("dense.weight"));
  EXPECT_EQ(dense.dtype, wire::DType::kF32);
  EXPECT_EQ(Shape(dense), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.BytesOf(dense).front(), 0);
  EXPECT_EQ(file.BytesOf(dense).back(), 23);
  const auto blocks = file.view().entry(*file.view().find("quantized.weight"));
  EXPECT_EQ(wire::DTypeName(blocks.dtype), "GGML_Q4_0");
  EXPECT_EQ(Shape(blocks), (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(blocks.size_bytes, 36u);
  EXPECT_EQ(blocks.offset % 32, 0u);
  EXPECT_EQ(file.BytesOf(blocks).front(), 100);
}

TEST(Gguf, MetadataIsTextAndWhatIsBeforeTheTensorsIsASmallFile) {
  const test::TempDir dir;
  const std::string good = test::GoodGguf();
  const ParsedFiles file({dir.Write("good.gguf", good)});
  EXPECT_EQ(file.metadata("general.architecture"), "llama");
  EXPECT_EQ(file.metadata("llama.block_count"), "2");
  EXPECT_EQ(file.metadata("llama.rope.freq_base"), "10000.5");
  EXPECT_EQ(file.metadata("tokenizer.ggml.tokens"), R"(["a", "b"])");
  const auto header = file.reference().find_file(kGgufHeaderFile);
  ASSERT_TRUE(header);
  const std::string_view bytes(reinterpret_cast<const char*>(header->bytes.data()),
                               header->bytes.size());
  EXPECT_TRUE(std::string_view(good).starts_with(bytes));
  EXPECT_NE(bytes.find("quantized.weight"), std::string_view::npos);
}

TEST(Gguf, EveryTypeOfMetadataIsToldInItsOwnWords) {
  const auto raw = [](auto value) {
    std::string bytes(sizeof(value), '\0');
    std::memcpy(bytes.data(), &value, sizeof(value));
    return bytes;
  };
  const struct {
    uint32_t type;
    std::string bytes;
    std::string told;
  } values[] = {
      {0, raw(uint8_t{200}), "200"},
      {1, raw(int8_t{-100}), "-100"},
      {2, raw(uint16_t{60'000}), "60000"},
      {3, raw(int16_t{-30'000}), "-30000"},
      {4, raw(uint32_t{4'000'000'000}), "4000000000"},
      {5, raw(int32_t{-2'000'000'000}), "-2000000000"},
      {6, raw(1e-5f), "1e-05"},
      {7, raw(uint8_t{1}), "true"},
      {8, GgufString("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F"},
      {8, GgufString("cut \xC3"), "cut \xEF\xBF\xBD"},
      {9, GgufU32(5) + GgufU64(3) + raw(1) + raw(-2) + raw(3), "[1, -2, 3]"},
      {9, GgufU32(0) + GgufU64(65) + std::string(65, 'x'), "u8[65]"},
      {9, GgufU32(8) + GgufU64(1) + GgufString("a\"b\n"), R"(["a\"b\n"])"},
      {9, GgufU32(9) + GgufU64(1) + GgufU32(0) + GgufU64(1) + "x", "array[1]"},
      {10, raw(UINT64_MAX), "18446744073709551615"},
      {11, raw(INT64_MIN), "-9223372036854775808"},
      {12, raw(0.1), "0.1"},
  };
  const test::TempDir dir;
  for (const auto& value : values) {
    for (const uint32_t version : {2u, 3u}) {
      const ParsedFiles file({dir.Write(
          "pair.gguf", GgufStart(0, 1, version) + GgufPair("k", value.type, value.bytes))});
      ASSERT_TRUE(file.status().ok()) << file.status();
      EXPECT_EQ(file.metadata("k"), value.told) << value.type;
    }
  }
}

TEST(Gguf, PlainTypesAreTheDtypesThatEveryFormatHas) {
  const std::pair<uint32_t, wire::DType> types[] = {
      {0, wire::DType::kF32},  {1, wire::DType::kF16},  {24, wire::DType::kI8},
      {25, wire::DType::kI16}, {26, wire::DType::kI32}, {27, wire::DType::kI64},
      {28, wire::DType::kF64}, {30, wire::DType::kBF16}};
  const test::TempDir dir;
  for (const auto& [type, dtype] : types) {
    const std::string head = Padded(GgufStart(1, 0) + GgufTensor("t", {8}, type, 0));
    const size_t bytes = 8 * wire::DTypeElementBytes(dtype);
    const ParsedFiles file({dir.Write("t.gguf", head + std::string(bytes, 'd'))});
    ASSERT_TRUE(file.status().ok()) << type << file.status();
    EXPECT_EQ(file.view().entry(0).dtype, dtype);
  }
}

TEST(Gguf, TheFilesAlignmentCounts) {
  const test::TempDir dir;
  for (const uint32_t alignment : {1u, 8u, 4096u}) {
    std::string bytes = GgufStart(2, 1) + GgufPair("general.alignment", 4, GgufU32(alignment)) +
                        GgufTensor("b", {5}, 24, std::max(5u, alignment)) +
                        GgufTensor("a", {5}, 24, 0);
    bytes = Padded(std::move(bytes), alignment);
    const size_t data_at = bytes.size();
    bytes += "aaaaa";
    bytes = Padded(std::move(bytes), alignment);
    bytes += "bbbbb";
    const ParsedFiles file({dir.Write("t.gguf", bytes)});
    ASSERT_TRUE(file.status().ok()) << file.status();
    EXPECT_EQ(file.BytesOf(file.view().entry(0)), "aaaaa");
    EXPECT_EQ(file.BytesOf(file.view().entry(1)), "bbbbb");
    EXPECT_EQ(file.view().entry(0).offset, data_at);
    EXPECT_EQ(file.view().entry(file.view().in_order(0)).name, "a");
  }
}

TEST(Gguf, ScalarsEmptyTensorsAndFilesWithoutTensorsAreRead) {
  const test::TempDir dir;
  const ParsedFiles none({dir.Write("none.gguf", GgufStart(0, 0))});
  EXPECT_TRUE(none.status().ok()) << none.status();
  const ParsedFiles file({dir.Write(
      "t.gguf", Padded(GgufStart(3, 0) + GgufTensor("scalar", {}, 0, 0) +
                       GgufTensor("empty", {4, 0}, 0, 32) + GgufTensor("z", {1}, 24, 32)) +
                    Padded("1234") + "z" + std::string(31, '\0'))});
  ASSERT_TRUE(file.status().ok()) << file.status();
  EXPECT_EQ(Shape(file.view().entry(*file.view().find("scalar"))), (std::vector<int64_t>{}));
  EXPECT_EQ(Shape(file.view().entry(*file.view().find("empty"))), (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(file.BytesOf(file.view().entry(*file.view().find("z"))), "z");
}

std::string Part(const std::string& tensor, uint16_t count) {
  const std::string split(reinterpret_cast<const char*>(&count), sizeof(count));
  return Padded(GgufStart(1, 1) + GgufPair("split.count", 2, split) +
                GgufTensor(tensor, {4}, 24, 0)) +
         tensor;
}

TEST(Gguf, PartsAreOneCheckpointWhenAllAreThere) {
  const test::TempDir dir;
  const std::string a = dir.Write("m-00001-of-00002.gguf", Part("aaaa", 2));
  const std::string b = dir.Write("m-00002-of-00002.gguf", Part("bbbb", 2));
  const ParsedFiles whole({a, b});
  ASSERT_TRUE(whole.status().ok()) << whole.status();
  EXPECT_EQ(whole.BytesOf(whole.view().entry(1)), "bbbb");
  EXPECT_TRUE(ParsedFiles({b}).status().ok());

  const std::string other = dir.Write("other.gguf", Part("cccc", 3));
  const ParsedFiles mixed({a, other});
  EXPECT_EQ(wire::GetReason(mixed.status()), wire::Reason::kCheckpointMalformed);
  EXPECT_NE(std::string(mixed.status().message()).find("split.count is 3"), std::string::npos);
  const ParsedFiles twice({a, a});
  EXPECT_EQ(wire::GetErrorInfo(twice.status()).metadata["tensor"], "aaaa") << twice.status();
}

TEST(Gguf, WhatIsWellFormedAndNotReadIsUnsupported) {
  const test::TempDir dir;
  const std::pair<std::string, std::string> files[] = {
      {GgufStart(0, 0, 1), "GGUF version 1"},
      {GgufStart(0, 0, 4), "GGUF version 4"},
      {GgufStart(0, 0, 0x03000000), "big-endian"},
      {Padded(GgufStart(1, 0) + GgufTensor("t", {32}, 4, 0)) + std::string(64, 'd'), "ggml type 4"},
      {Padded(GgufStart(1, 0) + GgufTensor("t", {32}, 9, 0)) + std::string(64, 'd'), "ggml type 9"},
      {Padded(GgufStart(1, 0) + GgufTensor("t", {32}, UINT32_MAX, 0)) + std::string(64, 'd'),
       "ggml type 4294967295"}};
  for (const auto& [bytes, words] : files) {
    const ParsedFiles file({dir.Write("f.gguf", bytes)});
    const auto info = wire::GetErrorInfo(file.status());
    EXPECT_EQ(info.reason, wire::Reason::kFormatUnsupported) << file.status();
    EXPECT_NE(std::string(file.status().message()).find(words), std::string::npos) << file.status();
    EXPECT_FALSE(info.hint.empty());
  }
}

TEST(Gguf, IsKnownByItsMagicWhateverItIsCalled) {
  const test::TempDir dir;
  EXPECT_EQ(ParsedFiles({dir.Write("4d7ae0f1", test::GoodGguf())}).format(), "gguf");
  // 123 tensors: the ninth byte is the `{` that safetensors is known by.
  std::string bytes = GgufStart(123, 0);
  for (int i = 0; i < 123; ++i) bytes += GgufTensor(std::to_string(i), {0}, 0, 0);
  EXPECT_EQ(ParsedFiles({dir.Write("4d7ae0f2", bytes)}).format(), "gguf");
}

TEST(MalformedGguf, EachIsRefusedAtItsByte) {
  const auto files = test::MalformedGgufFiles();
  EXPECT_GE(files.size(), 25u);
  const test::TempDir dir;
  std::set<std::string> names;
  for (const test::MalformedFile& file : files) {
    SCOPED_TRACE(file.name);
    EXPECT_TRUE(names.insert(file.name).second);
    const std::string path = test::WriteFile(dir / "bad.gguf", file);
    const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const InputFile inputs[] = {
        {.path = path, .name = "bad.gguf", .fd = fd.get(), .size_bytes = file.size_bytes}};
    const absl::Status status =
        test::WithinCpuSeconds(2, [&] { return ParseCheckpoint(inputs).status(); });
    wire::ErrorInfo info = wire::GetErrorInfo(status);
    EXPECT_EQ(info.reason, wire::Reason::kCheckpointMalformed) << status;
    EXPECT_NE(std::string(status.message()).find(file.words), std::string::npos) << status;
    EXPECT_EQ(info.metadata["byte"], std::to_string(file.byte)) << status;
    EXPECT_EQ(info.metadata["tensor"], file.tensor) << status;
    EXPECT_FALSE(info.hint.empty());
  }
}

TEST(MalformedGguf, TruncationIsRefusedAtEveryByte) {
  const std::string good = test::GoodGguf();
  const test::TempDir dir;
  for (size_t size = 0; size < good.size(); ++size) {
    SCOPED_TRACE(size);
    const ParsedFiles file({dir.Write("cut.gguf", good.substr(0, size))});
    wire::ErrorInfo info = wire::GetErrorInfo(file.status());
    ASSERT_EQ(info.reason, wire::Reason::kCheckpointMalformed) << file.status();
    EXPECT_LE(std::stoull(info.metadata["byte"]), size);
  }
}

TEST(Gguf, AHundredThousandTensorsAreReadInAFractionOfASecond) {
  std::string bytes = GgufStart(100'000, 1);
  std::string tokens = GgufU32(8) + GgufU64(100'000);
  for (int i = 0; i < 100'000; ++i) tokens += GgufString("token" + std::to_string(i));
  bytes += GgufPair("tokenizer.ggml.tokens", 9, tokens);
  for (uint64_t i = 0; i < 100'000; ++i) {
    bytes += GgufTensor("blk." + std::to_string(i) + ".ffn_down.weight", {32, 1}, 2, i * 32);
  }
  bytes = Padded(std::move(bytes));
  bytes.resize(bytes.size() + 100'000 * 32, 'd');
  const test::TempDir dir;
  const std::string path = dir.Write("many.gguf", bytes);
  const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const InputFile files[] = {
      {.path = path, .name = path, .fd = fd.get(), .size_bytes = bytes.size()}};
  const auto parsed = test::WithinCpuSeconds(2, [&] { return ParseCheckpoint(files); });
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(wire::TableView::Validate(std::as_bytes(std::span(parsed->table)))->size(), 100'000u);
}

}  // namespace
}  // namespace modeld::checkpoint
