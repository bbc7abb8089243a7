#include "modelctl/safetensors_writer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

namespace modeld::modelctl {
namespace {

using nlohmann::ordered_json;

// A table over one segment, and the bytes.
struct Checkpoint {
  wire::TableBuilder builder;
  std::string segment = std::string(4096, '\0');
  std::string table_bytes;
  wire::ReferenceTableBuilder reference;
  std::string reference_bytes;

  Checkpoint() {
    builder.AddRegion(segment.size());
    for (size_t i = 0; i < segment.size(); ++i) segment[i] = static_cast<char>(i * 31 + 7);
  }

  void Add(const std::string& name, wire::DType dtype, std::vector<int64_t> shape, uint64_t offset,
           std::vector<int64_t> strides = {}, bool alias = false) {
    const bool contiguous = strides.empty();
    if (contiguous) strides = wire::ContiguousStrides(shape);
    uint64_t last = 0;
    uint64_t count = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      count *= shape[i];
      if (shape[i] > 0) last += (shape[i] - 1) * strides[i];
    }
    const uint64_t size = count == 0 ? 0 : (last + 1) * wire::DTypeBits(dtype) / 8;
    builder.Add({.name = name,
                 .dtype = dtype,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = offset,
                 .size_bytes = size,
                 .alias = alias});
  }

  wire::ReferenceTable Reference() {
    reference_bytes = reference.Build();
    return wire::ReferenceTable::Validate(std::as_bytes(std::span(reference_bytes))).value();
  }

  wire::TableView View() {
    table_bytes = builder.Build();
    auto view = wire::TableView::Validate(std::as_bytes(std::span(table_bytes)), {});
    EXPECT_TRUE(view.ok()) << view.status();
    return *view;
  }
};

struct File {
  std::string bytes;
  ordered_json header;
  std::string_view data;

  std::string_view Tensor(const std::string& name) const {
    const auto& offsets = header[name]["data_offsets"];
    const uint64_t begin = offsets[0];
    const uint64_t end = offsets[1];
    return data.substr(begin, end - begin);
  }
};

wire::ReadRegion Reader(const Checkpoint& checkpoint) {
  return [&](uint32_t region, uint64_t offset,
             uint64_t size_bytes) -> absl::StatusOr<std::span<const std::byte>> {
    EXPECT_EQ(region, 0u);
    return std::as_bytes(std::span(checkpoint.segment)).subspan(offset, size_bytes);
  };
}

File WriteAndRead(Checkpoint& checkpoint) {
  File file;
  const absl::Status written = WriteSafetensors(
      checkpoint.View(), checkpoint.Reference(), Reader(checkpoint),
      [&](std::span<const std::byte> bytes) {
        file.bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return absl::OkStatus();
      });
  EXPECT_TRUE(written.ok()) << written;
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.bytes.data(), sizeof(header_size));
  EXPECT_EQ((8 + header_size) % 8, 0u) << "the data is aligned";
  file.header = ordered_json::parse(file.bytes.substr(8, header_size));
  file.data = std::string_view(file.bytes).substr(8 + header_size);
  return file;
}

TEST(SafetensorsWriter, GivesBackNamesTypesShapesAndBytes) {
  Checkpoint checkpoint;
  checkpoint.Add("z.weight", wire::DType::kBF16, {2, 3}, 0);
  checkpoint.Add("a.weight", wire::DType::kF32, {2, 1, 2}, 64);
  checkpoint.Add("mask", wire::DType::kF8E4M3, {5}, 128);
  const File file = WriteAndRead(checkpoint);
  EXPECT_EQ(file.header["z.weight"]["dtype"], "BF16");
  EXPECT_EQ(file.header["a.weight"]["shape"], (std::vector<int>{2, 1, 2}));
  EXPECT_EQ(file.header["mask"]["dtype"], "F8_E4M3");
  EXPECT_EQ(file.Tensor("z.weight"), checkpoint.segment.substr(0, 12));
  EXPECT_EQ(file.Tensor("a.weight"), checkpoint.segment.substr(64, 16));
  EXPECT_EQ(file.Tensor("mask"), checkpoint.segment.substr(128, 5));
  EXPECT_EQ(file.data.size(), 12u + 16u + 5u) << "no gaps";
}

TEST(SafetensorsWriter, KeepsTheOrderOfTheCheckpoint) {
  Checkpoint checkpoint;
  for (const char* name : {"z", "a", "m"}) {
    checkpoint.Add(name, wire::DType::kU8, {8}, checkpoint.builder.tensor_count() * 8);
  }
  const File file = WriteAndRead(checkpoint);
  std::vector<std::string> names;
  for (const auto& item : file.header.items()) names.push_back(item.key());
  EXPECT_EQ(names, (std::vector<std::string>{"z", "a", "m"}));
  EXPECT_EQ(file.header["z"]["data_offsets"], (std::vector<int>{0, 8}));
  EXPECT_EQ(file.header["m"]["data_offsets"], (std::vector<int>{16, 24}));
}

TEST(SafetensorsWriter, WritesMetadataOnlyWhereThereIsAny) {
  Checkpoint with;
  with.reference.AddMetadata("format", "pt");
  with.reference.AddMetadata("note", "a \"quoted\" \\ line\nand \x01 control, é");
  const File file = WriteAndRead(with);
  EXPECT_EQ(file.header["__metadata__"]["format"], "pt");
  EXPECT_EQ(file.header["__metadata__"]["note"], "a \"quoted\" \\ line\nand \x01 control, é");
  Checkpoint without;
  EXPECT_EQ(WriteAndRead(without).header.dump(), "{}");
}

TEST(SafetensorsWriter, WritesScalarsAndEmptyTensors) {
  Checkpoint checkpoint;
  checkpoint.Add("empty", wire::DType::kF32, {0, 7}, 0);
  checkpoint.Add("scalar", wire::DType::kI64, {}, 8);
  const File file = WriteAndRead(checkpoint);
  EXPECT_EQ(file.header["empty"]["shape"], (std::vector<int>{0, 7}));
  EXPECT_EQ(file.Tensor("empty"), "");
  EXPECT_EQ(file.header["scalar"]["shape"], std::vector<int>{});
  EXPECT_EQ(file.Tensor("scalar"), checkpoint.segment.substr(8, 8));
}

TEST(SafetensorsWriter, GathersTensorsWithStrides) {
  Checkpoint checkpoint;
  checkpoint.Add("transposed", wire::DType::kU8, {3, 2}, 0, {1, 3});
  const File file = WriteAndRead(checkpoint);
  const std::string& s = checkpoint.segment;
  EXPECT_EQ(file.Tensor("transposed"), (std::string{s[0], s[3], s[1], s[4], s[2], s[5]}));
}

TEST(SafetensorsWriter, GivesEachAliasBytesOfItsOwn) {
  Checkpoint checkpoint;
  checkpoint.Add("wte", wire::DType::kF32, {4}, 0, {}, true);
  checkpoint.Add("lm_head", wire::DType::kF32, {4}, 0, {}, true);
  const File file = WriteAndRead(checkpoint);
  EXPECT_EQ(file.data.size(), 32u);
  EXPECT_EQ(file.Tensor("wte"), file.Tensor("lm_head"));
}

TEST(SafetensorsWriter, ComesInPiecesAndStopsWhenTheSinkFails) {
  Checkpoint checkpoint;
  checkpoint.Add("a", wire::DType::kU8, {8}, 0);
  checkpoint.Add("b", wire::DType::kU8, {8}, 8);
  int calls = 0;
  const absl::Status written =
      WriteSafetensors(checkpoint.View(), checkpoint.Reference(), Reader(checkpoint),
                       [&](std::span<const std::byte>) {
                         return ++calls == 2 ? absl::CancelledError("enough") : absl::OkStatus();
                       });
  EXPECT_EQ(written.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

TEST(SafetensorsWriter, RefusesQuantizedBlocksWhichTheFormatHasNot) {
  Checkpoint checkpoint;
  checkpoint.builder.Add({.name = "blk.0.weight",
                          .dtype = wire::DType::kGgmlQ4_0,
                          .shape = std::vector<int64_t>{32},
                          .strides = std::vector<int64_t>{1},
                          .region = 0,
                          .offset = 0,
                          .size_bytes = 18});
  const absl::Status status = SafetensorsHeader(checkpoint.View(), {}).status();
  EXPECT_NE(std::string(status.message()).find("blk.0.weight is GGML_Q4_0"), std::string::npos)
      << status;
}

TEST(SafetensorsWriter, SaysBeforehandHowMuchItWillWrite) {
  Checkpoint checkpoint;
  checkpoint.Add("a", wire::DType::kU8, {3, 2}, 0, {1, 3});
  checkpoint.Add("b", wire::DType::kF32, {4}, 8);
  const auto view = checkpoint.View();
  const uint64_t expected =
      SafetensorsHeader(view, checkpoint.Reference())->size() + *SafetensorsDataBytes(view);
  EXPECT_EQ(WriteAndRead(checkpoint).bytes.size(), expected);
}

}  // namespace
}  // namespace modeld::modelctl
