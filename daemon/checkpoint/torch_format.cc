#include "checkpoint/torch_format.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "checkpoint/malformed.h"
#include "checkpoint/read_file.h"
#include "checkpoint/torch_archive.h"
#include "checkpoint/torch_globals.h"
#include "checkpoint/torch_tensors.h"
#include "checkpoint/torch_walk.h"
#include "wire/error.h"
#include "wire/strided_reader.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

using Kind = PickleReader::Kind;
using Value = PickleReader::Value;

constexpr std::string_view kZipMagic("PK\x03\x04", 4);
// torch.save before 1.6: protocol 2, and the number 0x1950a86a20f9469cfc6c.
constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8\x50\x19", 14);
constexpr size_t kTarMagicAt = 257;
constexpr size_t kLocalHeaderBytes = 30;
constexpr std::string_view kEndings[] = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".ptl"};

// Under which checkpoints of trainers keep what a model is made of.
constexpr std::string_view kStateDictKeys[] = {"state_dict",     "model_state_dict",
                                               "model_state",    "model",
                                               "module",         "net",
                                               "network",        "ema",
                                               "ema_state_dict", "model_ema",
                                               "ema_model",      "params",
                                               "params_ema",     "weights",
                                               "generator",      "encoder_state_dict"};

// A value that may become metadata.
constexpr size_t kMaxMetadataBytes = 256;

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool HasTorchEnding(const InputFile& file) {
  return std::ranges::any_of(kEndings,
                             [&](std::string_view ending) { return file.name.ends_with(ending); });
}

bool IsTar(std::string_view start) {
  return start.size() > kTarMagicAt && start.substr(kTarMagicAt).starts_with("ustar");
}

// By its first record: other archives (documents, arrays of NumPy) have none like these.
bool BeginsLikeTorch(std::string_view start) {
  if (!start.starts_with(kZipMagic) || start.size() < kLocalHeaderBytes) return false;
  uint16_t name_bytes = 0;
  std::memcpy(&name_bytes, start.data() + 26, sizeof(name_bytes));
  const std::string_view name = start.substr(kLocalHeaderBytes, name_bytes);
  const std::string_view rest = name.substr(std::min(name.find('/'), name.size()));
  constexpr std::string_view kFirst[] = {"/data.pkl",  "/data/",  "/constants",       "/version",
                                         "/byteorder", "/extra/", "/.format_version", "/code/"};
  return std::ranges::any_of(kFirst,
                             [rest](std::string_view first) { return rest.starts_with(first); });
}

const char* WhatElse(std::string_view start) {
  if (start.starts_with("version https://git-lfs")) {
    return "this is a Git LFS pointer and not the weights: run `git lfs pull`";
  }
  if (start.starts_with("<!DOCTYPE") || start.starts_with("<html")) {
    return "this is a web page: the download was answered with an error or a login";
  }
  return nullptr;
}

// Says what a file is that begins like no ZIP archive; OK where it does.
absl::Status CheckStart(const InputFile& file) {
  std::byte buffer[kSniffBytes] = {};
  const auto bytes = std::span(buffer).first(
      static_cast<size_t>(std::min<uint64_t>(kSniffBytes, file.size_bytes)));
  if (auto status = ReadFully(file, 0, bytes); !status.ok()) return status;
  const std::string_view start = TextOf(bytes);
  if (const char* const hint = WhatElse(start)) {
    return Malformed(file.path, 0, "this is no checkpoint", {}, hint);
  }
  if (start.starts_with(kLegacyMagic) || IsTar(start)) {
    const std::string path = wire::ToUtf8(file.path);
    return wire::MakeError(
        wire::Reason::kFormatUnsupported,
        absl::StrCat(path, ": what PyTorch wrote before 1.6 (",
                     IsTar(start) ? "a tar archive" : "pickles one after another",
                     "): its tensors are not at fixed places"),
        {{"file", path}, {"byte", "0"}},
        "write it anew: python3 -c \"import sys, torch; torch.save(torch.load(sys.argv[1], 'cpu'), "
        "sys.argv[2])\" OLD.pt NEW.pt");
  }
  if (!start.starts_with(kZipMagic)) {
    return Malformed(file.path, 0,
                     "a file of torch.save begins with a ZIP record, this one does not");
  }
  return absl::OkStatus();
}

absl::Status AddTensors(const InputFile& file, uint32_t region, std::vector<TorchTensor>& tensors,
                        Collector& out) {
  SortAndMarkAliases(tensors);
  for (const TorchTensor& tensor : tensors) {
    if (out.tensors_left() == 0 || out.dimensions_left() < tensor.shape.size()) {
      return Malformed(
          file.path, tensor.file_offset,
          absl::StrCat("more than ", kMaxTensors, " tensors or ", kMaxDimensions, " dimensions"),
          tensor.name, "no writer is known to make this: check where the file comes from");
    }
    const bool added = out.AddTensor({.name = tensor.name,
                                      .dtype = tensor.dtype,
                                      .shape = tensor.shape,
                                      .strides = tensor.strides,
                                      .region = region,
                                      .offset = tensor.file_offset,
                                      .size_bytes = tensor.size_bytes,
                                      .alias = tensor.alias});
    if (!added) {
      return Malformed(file.path, tensor.file_offset,
                       "another tensor of the checkpoint has this name", tensor.name,
                       "give each tensor a name of its own");
    }
  }
  return absl::OkStatus();
}

// What a file of torch.save holds, and which part of it is meant.
class Checkpoint {
 public:
  Checkpoint(const TorchPickle& source, TorchTensors& tensors, const std::string& key_prefix)
      : source_(source),
        pickle_(*source.pickle),
        tensors_(tensors),
        walk_(source, tensors),
        key_prefix_(key_prefix) {}

  absl::Status Collect(Collector& out, std::vector<TorchTensor>* found) {
    const size_t most = out.tensors_left();
    const Value root = pickle_.root();
    if (pickle_.kind(root) != Kind::kDict) {
      return walk_.Collect(root, tensors_.IsTensor(root) ? "0" : "", most, found);
    }
    AddMetadata(root, out);
    if (PrefixNamesAKey(root)) return walk_.Collect(root, "", most, found);
    const auto items = pickle_.items(root);
    bool has_tensors = false;
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (!tensors_.IsTensor(items[i + 1])) continue;
      has_tensors = true;
      if (auto status = CollectOne(items[i], items[i + 1], most, found); !status.ok()) {
        return status;
      }
    }
    if (has_tensors) return absl::OkStatus();
    const std::vector<Value> choices = StateDicts(root);
    if (choices.empty()) return walk_.Collect(root, "", most, found);
    if (choices.size() > 1) return Ambiguous(root, choices);
    return walk_.Collect(choices.front(), "", most, found);
  }

 private:
  absl::Status CollectOne(Value key, Value tensor, size_t most, std::vector<TorchTensor>* found) {
    if (pickle_.kind(key) == Kind::kText) {
      return walk_.Collect(tensor, std::string(pickle_.text(key)), most, found);
    }
    if (pickle_.kind(key) == Kind::kInt) {
      return walk_.Collect(tensor, absl::StrCat(pickle_.integer(key)), most, found);
    }
    return TorchUnsupported(*source_.file, source_.ByteOf(pickle_.position(tensor)),
                            "a tensor under a key that is neither text nor a number");
  }

  // `ema.` means the dict under `ema`, not tensors of the chosen dict that begin so.
  bool PrefixNamesAKey(Value root) const {
    const size_t dot = key_prefix_.find('.');
    if (dot == std::string::npos) return false;
    const std::string_view key = std::string_view(key_prefix_).substr(0, dot);
    const auto items = pickle_.items(root);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (pickle_.kind(items[i]) == Kind::kText && pickle_.text(items[i]) == key &&
          !pickle_.items(items[i + 1]).empty()) {
        return true;
      }
    }
    return false;
  }

  // The values of the known keys that have tensors in them.
  std::vector<Value> StateDicts(Value root) {
    std::vector<Value> found;
    const auto items = pickle_.items(root);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (pickle_.kind(items[i]) == Kind::kText &&
          std::ranges::find(kStateDictKeys, pickle_.text(items[i])) != std::end(kStateDictKeys) &&
          walk_.Holds(items[i + 1])) {
        found.push_back(items[i + 1]);
      }
    }
    return found;
  }

  absl::Status Ambiguous(Value root, const std::vector<Value>& choices) const {
    std::vector<std::string> prefixes;
    const auto items = pickle_.items(root);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (std::ranges::find(choices, items[i + 1]) == choices.end()) continue;
      if (pickle_.kind(items[i]) != Kind::kText) continue;
      const std::string_view key = pickle_.text(items[i]);
      if (std::ranges::find(kStateDictKeys, key) == std::end(kStateDictKeys)) continue;
      std::string prefix = absl::StrCat(std::string(key), ".");
      if (std::ranges::find(prefixes, prefix) == prefixes.end()) {
        prefixes.push_back(std::move(prefix));
      }
    }
    const std::string path = wire::ToUtf8(source_.file->path);
    const std::string list = absl::StrJoin(prefixes, ", ");
    return wire::MakeError(wire::Reason::kFieldInvalid,
                           absl::StrCat(path, " holds several state dicts: ", list),
                           {{"file", path}, {"choices", list}},
                           absl::StrCat("choose one in the load configuration: key_prefix \"",
                                        prefixes.front(), "\""));
  }

  // The epoch, the version, the name of the architecture.
  void AddMetadata(Value root, Collector& out) const {
    const auto items = pickle_.items(root);
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const Value value = items[i + 1];
      if (pickle_.kind(items[i]) != Kind::kText ||
          pickle_.text(items[i]).size() > kMaxMetadataBytes) {
        continue;
      }
      std::string text;
      switch (pickle_.kind(value)) {
        case Kind::kBool:
          text = pickle_.boolean(value) ? "true" : "false";
          break;
        case Kind::kInt:
          text = absl::StrCat(pickle_.integer(value));
          break;
        case Kind::kFloat:
          text = absl::StrCat(pickle_.real(value));
          break;
        case Kind::kText:
          if (pickle_.text(value).size() > kMaxMetadataBytes) continue;
          text = pickle_.text(value);
          break;
        default:
          continue;
      }
      out.AddMetadata(pickle_.text(items[i]), text);
    }
  }

  const TorchPickle source_;
  const PickleReader& pickle_;
  TorchTensors& tensors_;
  TorchWalk walk_;
  const std::string& key_prefix_;
};

absl::Status AddCheckpoint(const InputFile& file, uint32_t region, const std::string& key_prefix,
                           Collector& out) {
  if (auto status = CheckStart(file); !status.ok()) return status;
  const auto archive = TorchArchive::Open(file);
  if (!archive.ok()) return archive.status();
  if (archive->is_script()) {
    const std::string path = wire::ToUtf8(file.path);
    return wire::MakeError(
        wire::Reason::kFormatUnsupported,
        absl::StrCat(path, ": a TorchScript module as one of several files of a checkpoint"),
        {{"file", path}, {"byte", "0"}}, "name the module's file by itself");
  }
  const auto pickle =
      ArchivePickle::Read(file, *archive, *archive->Find("data.pkl"), FindTorchGlobal);
  if (!pickle.ok()) return pickle.status();
  TorchTensors tensors(archive->zip(), (*pickle)->source(),
                       absl::StrCat(archive->folder(), "data/"));
  std::vector<TorchTensor> found;
  Checkpoint checkpoint((*pickle)->source(), tensors, key_prefix);
  if (auto status = checkpoint.Collect(out, &found); !status.ok()) return status;
  return AddTensors(file, region, found, out);
}

// A pickle with a prefix before some of its texts, which are in the order of the pickle. Only
// frames would count their bytes, and LibTorch writes none.
std::string WithPrefix(std::string_view text, const PickleReader& pickle,
                       std::span<const Value> texts, std::string_view prefix) {
  std::string out;
  size_t at = 0;
  for (const Value value : texts) {
    const std::string_view old = pickle.text(value);
    const std::string renamed = std::string(prefix) + std::string(old);
    const auto length = static_cast<uint32_t>(renamed.size());
    out += text.substr(at, pickle.position(value) - at);
    out += 'X';  // BINUNICODE
    out.append(reinterpret_cast<const char*>(&length), sizeof(length));
    out += renamed;
    at = static_cast<size_t>(old.data() - text.data()) + old.size();
  }
  out += text.substr(at);
  return out;
}

// The tensors of one pickle of a module, whose records are in the folder of the pickle's name.
absl::Status CollectScript(const InputFile& file, const TorchArchive& archive,
                           std::string_view folder, const std::string& name, Collector& out,
                           std::vector<TorchTensor>* found) {
  const std::string records = std::string(folder) + "/";
  const ZipRecord* const record = archive.Find(std::string(folder) + ".pkl");
  const auto pickle = ArchivePickle::Read(file, archive, *record, FindTorchScriptGlobal);
  if (!pickle.ok()) return pickle.status();
  TorchTensors tensors(archive.zip(), (*pickle)->source(), archive.folder() + records);
  TorchWalk walk((*pickle)->source(), tensors);
  if (auto status = walk.Collect((*pickle)->pickle().root(), name, out.tensors_left(), found);
      !status.ok()) {
    return status;
  }
  const auto keys = tensors.StorageKeys();
  if (folder == "constants" && !keys.empty()) {
    out.AddFile(kTorchScriptConstants,
                WithPrefix((*pickle)->text(), (*pickle)->pickle(), keys, records));
  }
  return absl::OkStatus();
}

std::string RecordsFile(const TorchArchive& archive, const std::vector<TorchTensor>& tensors) {
  std::string text;
  const auto field = [&text](std::string_view value) {
    text += value;
    text += '\0';
  };
  for (const TorchTensor& tensor : tensors) {
    field(tensor.storage->name.substr(archive.folder().size()));
    field(absl::StrCat(tensor.storage->size_bytes));
    field(absl::StrCat(tensor.storage_offset));
    field(wire::DTypeName(tensor.dtype));
    field(tensor.name);
  }
  return text;
}

std::string StridesFile(const std::vector<TorchTensor>& tensors) {
  std::string text;
  for (const TorchTensor& tensor : tensors) {
    if (wire::IsContiguous(tensor.shape, tensor.strides)) continue;
    text += tensor.name + '\0' + absl::StrJoin(tensor.strides, ",") + '\0';
  }
  return text;
}

// All that is not the bytes of tensors.
absl::Status AddSmallFiles(const TorchArchive& archive, Collector& out) {
  for (const ZipRecord& record : archive.zip().records()) {
    if (!record.name.starts_with(archive.folder()) || record.name.ends_with('/')) continue;
    const std::string_view name = record.name.substr(archive.folder().size());
    if (name.starts_with("data/") || name.starts_with("constants/")) continue;
    if (name.starts_with(".modeld/")) continue;  // modeld's own word
    const auto bytes =
        archive.zip().Read(record, std::min(kMaxSmallFileBytes, out.file_bytes_left()));
    if (!bytes.ok()) return bytes.status();
    out.AddFile(name, *bytes);
  }
  return absl::OkStatus();
}

absl::Status AddScript(const InputFile& file, uint32_t region, Collector& out) {
  const auto archive = TorchArchive::Open(file);
  if (!archive.ok()) return archive.status();
  std::vector<TorchTensor> found;
  if (auto status = CollectScript(file, *archive, "data", "", out, &found); !status.ok()) {
    return status;
  }
  if (auto status = CollectScript(file, *archive, "constants", "constants", out, &found);
      !status.ok()) {
    return status;
  }
  if (auto status = AddSmallFiles(*archive, out); !status.ok()) return status;
  out.AddFile(kTorchScriptRecords, RecordsFile(*archive, found));
  out.AddFile(kTorchScriptStrides, StridesFile(found));
  return AddTensors(file, region, found, out);
}

}  // namespace

bool TorchFormat::Sniff(const InputFile& file, std::span<const std::byte> start) const {
  const std::string_view text = TextOf(start);
  if (BeginsLikeTorch(text) || text.starts_with(kLegacyMagic)) return true;
  return HasTorchEnding(file) &&
         (text.starts_with(kZipMagic) || IsTar(text) || WhatElse(text) != nullptr);
}

absl::Status TorchFormat::Parse(std::span<const InputFile> files, const std::string& key_prefix,
                                Collector& out) const {
  for (size_t i = 0; i < files.size(); ++i) {
    if (auto status = AddCheckpoint(files[i], static_cast<uint32_t>(i), key_prefix, out);
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

bool TorchScriptFormat::Sniff(const InputFile& file, std::span<const std::byte> start) const {
  const std::string_view text = TextOf(start);
  if (!text.starts_with(kZipMagic) || (!BeginsLikeTorch(text) && !HasTorchEnding(file)))
    return false;
  const auto archive = TorchArchive::Open(file);
  return archive.ok() && archive->is_script();
}

absl::Status TorchScriptFormat::Parse(std::span<const InputFile> files,
                                      const std::string& /*key_prefix*/, Collector& out) const {
  if (files.size() > 1) {
    const std::string path = wire::ToUtf8(files[1].path);
    return wire::MakeError(wire::Reason::kFormatUnsupported,
                           absl::StrCat(path, ": a TorchScript module of several files"),
                           {{"file", path}, {"byte", "0"}}, "name the module's file by itself");
  }
  return AddScript(files[0], 0, out);
}

}  // namespace modeld::checkpoint
