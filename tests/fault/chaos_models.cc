#include "chaos_models.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <utility>

#include "malformed_torch_files.h"
#include "modeld/cuda.h"
#include "nlohmann/json.hpp"
#include "support/bytes.h"

namespace modeld::test {
namespace {

namespace fs = std::filesystem;

constexpr char kContentKey[] = "content";
constexpr int kTensors = 6;

enum Family : uint32_t { kEqual = 1, kTuned = 2, kSmall = 10, kLarge = 30 };
constexpr uint32_t kTunedCount = 3;
constexpr uint32_t kSmallCount = 16;
constexpr uint32_t kLargeCount = 16;

bool IsTuned(uint32_t family) { return family >= kTuned && family < kTuned + kTunedCount; }

uint64_t BytesOf(uint32_t family) {
  if (family >= kLarge) return (12 + family % 4) * kMiB;
  return (family >= kSmall ? 3 + family % 2 : 8) * kMiB;
}

std::vector<ChaosModel> MakeModels() {
  using Format = ChaosModel::Format;
  std::vector<ChaosModel> models = {
      {.reference = "equal.safetensors", .family = kEqual},
      {.reference = "the-same.safetensors", .family = kEqual},
      {.reference = "equal.pt", .format = Format::kTorch, .family = kEqual},
      {.reference = "equal-in-shards", .format = Format::kSharded, .family = kEqual},
  };
  const auto add = [&](const std::string& name, uint32_t family, ChaosModel model) {
    model.reference = name + "-" + std::to_string(family) + ".safetensors";
    model.family = family;
    models.push_back(std::move(model));
  };
  for (uint32_t i = 0; i < kTunedCount; ++i) add("tuned", kTuned + i, {.replaceable = true});
  for (uint32_t i = 0; i < kSmallCount; ++i) {
    add("small", kSmall + i, {.small = true, .replaceable = i % 2 == 0});
  }
  for (uint32_t i = 0; i < kLargeCount; ++i) add("large", kLarge + i, {.replaceable = i % 2 == 0});
  return models;
}

void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  if (!file) std::abort();
}

// As torch.save would: each tensor a storage of its own, and the content a number beside them.
void WriteTorch(const std::string& path, const CheckpointSpec& spec) {
  std::string items = Text(kContentKey) + Int(std::atoll(spec.metadata.at(kContentKey).c_str()));
  std::vector<ZipEntry> entries = {{.name = "a/data.pkl", .bytes = {}},
                                   {.name = "a/byteorder", .bytes = "little"}};
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const TensorSpec& tensor = spec.tensors[i];
    const std::string key = std::to_string(i);
    const auto elements = static_cast<int64_t>(tensor.size_bytes() / 4);
    items += Text(tensor.name) +
             Tensor(Storage("FloatStorage", key, elements), 0, tensor.shape, {tensor.shape[1], 1});
    entries.push_back({.name = "a/data/" + key, .bytes = TensorBytes(spec, i)});
  }
  entries.front().bytes = Pickle("}(" + items + "u");
  entries.push_back({.name = "a/version", .bytes = "3\n"});
  WriteFile(path, WriteZip(entries).bytes);
}

void WriteSharded(const std::string& directory, const CheckpointSpec& spec) {
  fs::create_directory(directory);
  constexpr size_t kShards = 2;
  nlohmann::json weight_map;
  for (size_t shard = 0; shard < kShards; ++shard) {
    CheckpointSpec part = spec;
    part.tensors.clear();
    const std::string name = "model-0000" + std::to_string(shard + 1) + "-of-00002.safetensors";
    for (size_t i = shard; i < spec.tensors.size(); i += kShards) {
      part.tensors.push_back(spec.tensors[i]);
      weight_map[spec.tensors[i].name] = name;
    }
    WriteCheckpoint(fs::path(directory) / name, part);
  }
  const nlohmann::json index = {{"weight_map", weight_map}};
  WriteFile(directory + "/model.safetensors.index.json", index.dump());
}

std::optional<std::string> WhatIsWrong(const Model& model, const CheckpointSpec& spec, size_t index,
                                       std::vector<std::byte>& mapped,
                                       std::vector<std::byte>& expected) {
  const TensorSpec& wanted = spec.tensors[index];
  const auto tensor = model.find(wanted.name);
  if (!tensor) return wanted.name + " is missing";
  if (!std::ranges::equal(tensor->shape, wanted.shape)) return wanted.name + " has another shape";
  if (tensor->size_bytes != wanted.size_bytes()) return wanted.name + " has another size";
  mapped.resize(tensor->size_bytes);
  expected.resize(tensor->size_bytes);
  cuda::CopyToHost(model, *tensor, mapped.data());
  TensorContent(spec, index, 0, expected);
  if (std::memcmp(mapped.data(), expected.data(), expected.size()) == 0) return std::nullopt;
  const auto differ = std::ranges::mismatch(mapped, expected);
  return wanted.name + " is wrong from byte " + std::to_string(differ.in1 - mapped.begin()) +
         " of " + std::to_string(expected.size()) + " on";
}

}  // namespace

const std::vector<ChaosModel>& ChaosModels() {
  static const std::vector<ChaosModel>& models = *new std::vector<ChaosModel>(MakeModels());
  return models;
}

CheckpointSpec ChaosContent(uint32_t content) {
  const uint32_t family = content / kChaosVersions;
  CheckpointSpec spec = LargeSpec(BytesOf(family), kTensors);
  spec.metadata = {{kContentKey, std::to_string(content)}};
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const bool common = IsTuned(family) && i < spec.tensors.size() / 2;
    spec.tensors[i].seed = 1 + i + kTensors * (common ? ContentOf(kTuned, 0) : content);
  }
  return spec;
}

void WriteChaosModel(const std::string& root, const ChaosModel& model, uint32_t version) {
  const CheckpointSpec spec = ChaosContent(ContentOf(model.family, version));
  const std::string path = root + "/" + model.reference;
  const std::string beside = root + "/new-" + model.reference;
  switch (model.format) {
    case ChaosModel::Format::kSafetensors:
      WriteCheckpoint(beside, spec);
      break;
    case ChaosModel::Format::kTorch:
      WriteTorch(beside, spec);
      break;
    case ChaosModel::Format::kSharded:
      WriteSharded(beside, spec);
      break;
  }
  fs::rename(beside, path);
}

std::optional<std::string> WhatIsWrong(const Model& model, std::optional<uint32_t> family) {
  const auto text = model.metadata(kContentKey);
  if (!text) return "its header does not say what it is";
  const auto content = static_cast<uint32_t>(std::atoi(std::string(*text).c_str()));
  if (family && content / kChaosVersions != *family) {
    return "it is content " + std::to_string(content);
  }
  const CheckpointSpec spec = ChaosContent(content);
  if (model.size() != spec.tensors.size()) return std::to_string(model.size()) + " tensors";
  std::vector<std::byte> mapped;
  std::vector<std::byte> expected;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    if (auto wrong = WhatIsWrong(model, spec, i, mapped, expected)) {
      return "content " + std::to_string(content) + ": " + *wrong;
    }
  }
  return std::nullopt;
}

}  // namespace modeld::test
