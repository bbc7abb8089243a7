#include "checkpoint/shard_index.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
#include "checkpoint/read_file.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr std::string_view kEnding = ".index.json";

// With the slash; empty where there is none.
std::string_view DirectoryOf(std::string_view name) { return name.substr(0, name.rfind('/') + 1); }

std::string_view EndingOf(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(dot);
}

}  // namespace

const InputFile* ShardIndex::Find(std::span<const InputFile> weights,
                                  std::span<const InputFile> companions) {
  if (weights.empty()) return nullptr;
  const std::string_view first = weights.front().name;
  const InputFile* found = nullptr;
  for (const InputFile& file : companions) {
    const std::string_view name = file.name;
    if (!name.ends_with(kEnding) || DirectoryOf(name) != DirectoryOf(first)) continue;
    const std::string_view of = name.substr(0, name.size() - kEnding.size());
    const std::string_view ending = EndingOf(of);
    if (ending.empty() || !first.ends_with(ending)) continue;
    if (first.starts_with(of.substr(0, of.size() - ending.size()))) return &file;
    if (found == nullptr) found = &file;
  }
  return found;
}

absl::Status ShardIndex::Read() {
  text_.resize(file_.size_bytes);
  if (auto status = ReadFully(file_, 0, std::as_writable_bytes(std::span(text_))); !status.ok()) {
    return status;
  }
  if (!wire::IsUtf8(text_)) {
    return Malformed(file_.path, FirstInvalidUtf8(text_), "the index is not UTF-8");
  }
  reader_ = JsonReader(text_);
  if (ReadAll()) return absl::OkStatus();
  if (missing_file_) return MissingFile();
  return Malformed(file_.path, reader_.error_position(), reader_.error(), {}, hint_);
}

bool ShardIndex::ReadAll() {
  bool have_map = false;
  if (!reader_.Take('{')) return false;
  if (!reader_.TakeIf('}')) {
    do {
      const size_t position = reader_.NextPosition();
      const auto key = reader_.String();
      if (!key || !reader_.Take(':')) return false;
      if (*key != "weight_map") {
        if (!reader_.SkipValue()) return false;
        continue;
      }
      if (std::exchange(have_map, true)) return reader_.Fail(position, "a second weight_map");
      if (!ReadMap()) return false;
    } while (reader_.TakeIf(','));
    if (!reader_.Take('}')) return false;
  }
  if (!reader_.AtEnd()) {
    return reader_.Fail(reader_.NextPosition(), "text behind the index's last '}'");
  }
  return have_map || reader_.Fail(0, "no weight_map");
}

bool ShardIndex::ReadMap() {
  absl::flat_hash_map<std::string_view, uint32_t> files;
  const std::string_view directory = DirectoryOf(file_.name);
  for (uint32_t i = 0; i < weights_.size(); ++i) {
    const std::string_view name = weights_[i].name;
    if (DirectoryOf(name) == directory) files.emplace(name.substr(directory.size()), i);
  }
  std::vector<bool> named(weights_.size());
  if (!reader_.Take('{')) return false;
  if (!reader_.TakeIf('}')) {
    do {
      Entry entry;
      const size_t position = reader_.NextPosition();
      const auto tensor = reader_.String();
      if (!tensor || !reader_.Take(':')) return false;
      const size_t file_position = reader_.NextPosition();
      const auto file = reader_.String();
      if (!file) return false;
      if (entries_.size() >= kMaxTensors) {
        return reader_.Fail(position, absl::StrCat("more than ", kMaxTensors, " tensors"));
      }
      const auto known = files.find(*file);
      if (known == files.end()) {
        missing_file_ = *file;
        return reader_.Fail(file_position, "a file that is not there");
      }
      entry.tensor = *tensor;
      entry.file = known->second;
      entry.position = static_cast<uint32_t>(position);
      named[entry.file] = true;
      if (!by_name_.emplace(*tensor, entries_.size()).second) {
        return reader_.Fail(position, absl::StrCat("a second ", Quoted(*tensor)));
      }
      entries_.push_back(entry);
    } while (reader_.TakeIf(','));
    if (!reader_.Take('}')) return false;
  }
  const auto unnamed = std::find(named.begin(), named.end(), false);
  if (unnamed == named.end()) return true;
  hint_ = "name the file that is meant, or move what does not belong to the checkpoint elsewhere";
  return reader_.Fail(
      0, absl::StrCat("the index names no tensor of ",
                      Quoted(weights_[static_cast<size_t>(unnamed - named.begin())].name)));
}

void ShardIndex::Found(std::string_view tensor, uint32_t file) {
  const auto known = by_name_.find(tensor);
  if (known != by_name_.end()) entries_[known->second].found_in = file;
}

absl::Status ShardIndex::Check() const {
  for (const Entry& entry : entries_) {
    if (entry.found_in == entry.file) continue;
    return Malformed(
        file_.path, entry.position,
        absl::StrCat("it should be in ", FileName(entry.file), ", but ",
                     entry.found_in == kNowhere ? "is in no file of the checkpoint"
                                                : absl::StrCat("is in ", FileName(entry.found_in))),
        entry.tensor,
        "the index and its files are of different checkpoints, or a file is damaged: "
        "download them again");
  }
  return absl::OkStatus();
}

absl::Status ShardIndex::MissingFile() const {
  const std::string path = wire::ToUtf8(file_.path);
  return wire::MakeError(
      wire::Reason::kCheckpointNotFound,
      absl::StrCat(path, ": byte ", reader_.error_position(), ": it has tensors in ",
                   Quoted(*missing_file_), ", which is not there"),
      {{"file", path},
       {"byte", absl::StrCat(reader_.error_position())},
       {"missing", wire::ToUtf8(*missing_file_)}},
      "download the missing file into the directory of the others");
}

std::string ShardIndex::FileName(uint32_t file) const { return Quoted(weights_[file].name); }

}  // namespace modeld::checkpoint
