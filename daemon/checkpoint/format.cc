#include "checkpoint/format.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "checkpoint/blob.h"
#include "checkpoint/gguf.h"
#include "checkpoint/malformed.h"
#include "checkpoint/read_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/samples.h"
#include "checkpoint/shard_index.h"
#include "checkpoint/torch_format.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

absl::StatusOr<const Format*> FindFormat(const InputFile& file) {
  static const GgufFormat gguf;
  static const SafetensorsFormat safetensors;
  static const TorchScriptFormat torchscript;
  static const TorchFormat torch;
  static const BlobFormat blob;
  // By the file's first bytes and its name; the first that says yes. The last takes nearly all.
  static const std::array<const Format*, 5> formats = {&gguf, &safetensors, &torchscript, &torch,
                                                       &blob};

  std::array<std::byte, kSniffBytes> buffer = {};
  const auto start = std::span(buffer).first(
      static_cast<size_t>(std::min<uint64_t>(kSniffBytes, file.size_bytes)));
  if (auto status = ReadFully(file, 0, start); !status.ok()) return status;
  for (const Format* format : formats) {
    if (format->Sniff(file, start)) return format;
  }
  const std::string path = wire::ToUtf8(file.path);
  return wire::MakeError(wire::Reason::kFormatUnsupported,
                         absl::StrCat(path, " is in no format that modeld reads"), {{"file", path}},
                         "convert it to safetensors, and give the file that ending");
}

absl::Status AddCompanion(const InputFile& file, Collector& out) {
  const uint64_t most = std::min(kMaxSmallFileBytes, out.file_bytes_left());
  if (file.size_bytes > most) {
    const std::string path = wire::ToUtf8(file.path);
    return wire::MakeError(
        wire::Reason::kFormatUnsupported,
        absl::StrCat(path, " has ", file.size_bytes, " bytes: with it the small files beside the ",
                     "weights would have more than ",
                     most == kMaxSmallFileBytes ? kMaxSmallFileBytes : kMaxSmallFilesBytes),
        {{"file", path}}, "name it by itself: any file can be a model");
  }
  std::string bytes(file.size_bytes, '\0');
  if (auto status = ReadFully(file, 0, std::as_writable_bytes(std::span(bytes))); !status.ok()) {
    return status;
  }
  out.AddFile(file.name, bytes);
  return absl::OkStatus();
}

absl::Status NothingLeft(const InputFile& file, const Collector& found,
                         const plan::LoadConfig& config) {
  const std::string path = wire::ToUtf8(file.path);
  return wire::MakeError(
      wire::Reason::kFieldInvalid,
      absl::StrCat("the load configuration leaves none of the ", found.seen(), " tensors of ",
                   path),
      {{"file", path}, {"key_prefix", config.key_prefix}},
      found.prefixes().empty()
          ? absl::StrCat("see their names: modelctl inspect ", path)
          : absl::StrCat("their names begin with ", absl::StrJoin(found.prefixes(), ", "),
                         "; modelctl inspect lists them"));
}

}  // namespace

absl::StatusOr<ParsedCheckpoint> ParseCheckpoint(std::span<const InputFile> weights,
                                                 std::span<const InputFile> companions,
                                                 const plan::LoadConfig& config,
                                                 std::span<const std::string> components) {
  ParsedCheckpoint parsed;
  Collector found(config);
  for (const InputFile& file : weights) found.AddRegion(file.size_bytes);
  for (const InputFile& file : companions) found.AddRegion(file.size_bytes);
  for (const InputFile& file : companions) {
    if (auto status = AddCompanion(file, found); !status.ok()) return status;
  }
  if (!components.empty()) found.AddMetadata("components", absl::StrJoin(components, ","));
  parsed.format = "files";
  if (!weights.empty()) {
    const auto format = FindFormat(weights.front());
    if (!format.ok()) return format.status();
    parsed.format = (*format)->name();
    std::optional<ShardIndex> index;
    if (const InputFile* file = ShardIndex::Find(weights, companions)) {
      index.emplace(*file, weights);
      if (auto status = index->Read(); !status.ok()) return status;
      found.TellIndex(&*index);
    }
    if (auto status = (*format)->Parse(weights, config.key_prefix, found); !status.ok()) {
      return status;
    }
    if (index) {
      if (auto status = index->Check(); !status.ok()) return status;
    }
    if (found.taken() == 0 && found.seen() > 0) return NothingLeft(weights.front(), found, config);
  }
  parsed.table = found.BuildTable();
  parsed.reference_table = found.BuildReferenceTable();

  std::vector<uint64_t> sizes;
  for (const InputFile& file : weights) sizes.push_back(file.size_bytes);
  for (const InputFile& file : companions) sizes.push_back(file.size_bytes);
  const auto view =
      wire::TableView::Validate(std::as_bytes(std::span(parsed.table)), {.region_sizes = sizes});
  if (!view.ok()) {
    return weights.empty()
               ? view.status()
               : Malformed(weights.front().path, 0, std::string(view.status().message()));
  }
  auto samples = TakeSamples(*view, weights, config);
  if (!samples.ok()) return samples.status();
  parsed.samples = *std::move(samples);
  return parsed;
}

}  // namespace modeld::checkpoint
