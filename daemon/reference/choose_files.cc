#include "reference/choose_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "plan/open_checkpoint.h"
#include "reference/parse_reference.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::reference {
namespace {

using wire::MakeError;
using wire::Reason;

using Endings = std::vector<std::string_view>;

// Endings of weights, by kind, the preferred first.
const std::vector<Endings>& Kinds() {
  static const std::vector<Endings> kinds = {{".safetensors"},
                                             {".bin", ".pt", ".pth", ".ckpt"},
                                             {".gguf"},
                                             {".onnx"},
                                             {".engine", ".plan"},
                                             {".tflite"}};
  return kinds;
}

constexpr std::string_view kCompanionEndings[] = {".json",     ".txt", ".model", ".jinja",
                                                  ".tiktoken", ".bpe", ".vocab", ".spm",
                                                  ".yaml",     ".yml", ".toml",  ".py"};

// What of several checkpoints is meant by the directory, the first first.
constexpr std::string_view kUsualStems[] = {"model", "diffusion_pytorch_model", "pytorch_model"};

// What trainers write beside the weights.
constexpr std::string_view kTrainersFiles[] = {"optimizer", "scheduler", "scaler", "rng_state",
                                               "training_args"};

constexpr std::string_view kIndexEnding = ".index.json";

// `model-00002-of-00003.fp16.safetensors`
struct ShardName {
  std::string stem;  // `model.fp16`
  std::string ending;
  int number = 0;  // 2 of
  int of = 0;      // 3; 0: not a shard
};

std::optional<int> FiveDigits(std::string_view text) {
  if (text.size() != 5) return std::nullopt;
  int value = 0;
  for (const char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

ShardName ParseName(std::string_view name, std::string_view ending) {
  ShardName parsed;
  parsed.ending = ending;
  const std::string_view stem = name.substr(0, name.size() - ending.size());
  parsed.stem = stem;
  constexpr std::string_view kMiddle = "-of-";
  constexpr size_t kShardBytes = 1 + 5 + kMiddle.size() + 5;
  const size_t of = stem.rfind(kMiddle);
  if (of == std::string_view::npos || of < 6 || stem[of - 6] != '-') return parsed;
  const auto number = FiveDigits(stem.substr(of - 5, 5));
  const auto count = FiveDigits(stem.substr(of + kMiddle.size(), 5));
  const std::string_view variant = stem.substr(std::min(of - 6 + kShardBytes, stem.size()));
  if (!number || !count || *count == 0 || (!variant.empty() && variant.front() != '.')) {
    return parsed;
  }
  parsed.stem = wire::StrCat(stem.substr(0, of - 6), variant);
  parsed.number = *number;
  parsed.of = *count;
  return parsed;
}

bool IsTrainersFile(std::string_view name) {
  return std::ranges::any_of(kTrainersFiles, [name](std::string_view known) {
    return name.starts_with(known) && name.size() > known.size() &&
           (name[known.size()] == '.' || name[known.size()] == '_');
  });
}

// One checkpoint: a file, or shards.
struct Candidate {
  std::string stem;
  std::string ending;
  int of = 0;
  std::map<int, std::string> shards;  // by number

  std::string name() const { return shards.begin()->second; }
};

std::vector<Candidate> Candidates(std::span<const std::string> names, const Endings& endings) {
  std::map<std::tuple<std::string, std::string, int>, Candidate> found;
  for (const std::string& name : names) {
    for (const std::string_view ending : endings) {
      if (!name.ends_with(ending) || name.size() == ending.size()) continue;
      if (endings != Kinds().front() && IsTrainersFile(name)) continue;
      ShardName parsed = ParseName(name, ending);
      Candidate& candidate = found[{parsed.stem, parsed.ending, parsed.of}];
      candidate.stem = std::move(parsed.stem);
      candidate.ending = std::move(parsed.ending);
      candidate.of = parsed.of;
      candidate.shards.emplace(parsed.number, name);
    }
  }
  // `model.fp16` beside `model`. A word, not the 5 of `v1.5`.
  const auto is_variant = [&found](const Candidate& candidate) {
    const size_t dot = candidate.stem.rfind('.');
    if (dot == std::string::npos || dot + 1 == candidate.stem.size()) return false;
    if (!absl::ascii_isalpha(static_cast<unsigned char>(candidate.stem[dot + 1]))) return false;
    return std::ranges::any_of(found, [&](const auto& other) {
      return other.second.stem == candidate.stem.substr(0, dot) &&
             other.second.ending == candidate.ending;
    });
  };
  std::vector<Candidate> plain;
  for (const auto& [key, candidate] : found) {
    if (!is_variant(candidate)) plain.push_back(candidate);
  }
  return plain;
}

class Chooser {
 public:
  Chooser(std::span<const std::string> names, const std::string& directory, std::string_view index)
      : names_(names), directory_(directory), index_(index) {}

  absl::StatusOr<std::vector<std::string>> Weights() {
    std::optional<absl::Status> missing;  // an index without its shards
    for (const Endings& endings : Kinds()) {
      const auto candidates = Candidates(names_, endings);
      const auto indexes = Indexes(endings);
      if (!index_.empty() && indexes.empty()) continue;
      if (candidates.empty()) {
        if (!indexes.empty() && !missing) missing = NoShards(indexes.front());
        continue;
      }
      auto chosen = Choose(candidates, indexes);
      if (!chosen.ok()) return chosen.status();
      if (chosen->size() > plan::kMaxFiles) return TooMany(chosen->size());
      AddData(*chosen);
      std::ranges::sort(*chosen);
      return chosen;
    }
    if (missing) return *missing;
    return std::vector<std::string>();
  }

 private:
  // Of this kind; only the one that is named, if one is.
  std::vector<std::string> Indexes(const Endings& endings) const {
    std::vector<std::string> indexes;
    for (const std::string& name : names_) {
      if (!index_.empty() && name != index_) continue;
      for (const std::string_view ending : endings) {
        if (name.ends_with(wire::StrCat(ending, kIndexEnding))) indexes.push_back(name);
      }
    }
    return indexes;
  }

  absl::StatusOr<std::vector<std::string>> Choose(const std::vector<Candidate>& candidates,
                                                  const std::vector<std::string>& indexes) const {
    if (!index_.empty()) return OfIndex(indexes.front(), candidates);
    if (candidates.size() == 1) return Complete(candidates.front());
    for (const std::string_view stem : kUsualStems) {
      std::vector<const Candidate*> usual;
      for (const Candidate& candidate : candidates) {
        if (candidate.stem == stem) usual.push_back(&candidate);
      }
      if (usual.empty()) continue;
      // One file beside shards of the same name: transformers takes the file.
      if (usual.size() == 1 || usual.front()->of == 0) return Complete(*usual.front());
      return Ambiguous(candidates);
    }
    if (indexes.size() == 1) return OfIndex(indexes.front(), candidates);
    return Ambiguous(candidates);
  }

  absl::StatusOr<std::vector<std::string>> OfIndex(const std::string& index,
                                                   const std::vector<Candidate>& candidates) const {
    const std::string_view of =
        std::string_view(index).substr(0, index.size() - kIndexEnding.size());
    std::vector<const Candidate*> shards;
    for (const Candidate& candidate : candidates) {
      if (candidate.of > 0 && candidate.stem + candidate.ending == of) shards.push_back(&candidate);
    }
    if (shards.size() == 1) return Complete(*shards.front());
    if (shards.size() > 1) return Ambiguous(candidates);
    // Called as nobody else calls them: the parser holds them against the index.
    std::vector<std::string> all;
    for (const Candidate& candidate : candidates) {
      if (!of.ends_with(candidate.ending)) continue;
      for (const auto& [number, name] : candidate.shards) all.push_back(name);
    }
    if (all.empty()) return NoShards(index);
    return all;
  }

  absl::StatusOr<std::vector<std::string>> Complete(const Candidate& candidate) const {
    std::vector<std::string> names;
    for (const auto& [number, name] : candidate.shards) names.push_back(name);
    for (int number = 1; number <= candidate.of; ++number) {
      if (candidate.shards.contains(number)) continue;
      const std::string missing = MissingName(candidate, number);
      return MakeError(Reason::kCheckpointNotFound,
                       wire::StrCat(Quoted(directory_), " is incomplete: it has ", names.size(),
                                    " of ", candidate.of, " files such as ",
                                    Quoted(candidate.name()), ", and not ", Quoted(missing)),
                       {{"path", directory_}, {"missing", missing}},
                       "download the missing file, or wait until the download is done");
    }
    if (candidate.of > 0 && static_cast<int>(names.size()) != candidate.of) {
      return MakeError(
          Reason::kFieldInvalid,
          wire::StrCat(Quoted(directory_), " has ", names.size(), " files such as ",
                       Quoted(candidate.name()), ", which say that they are ", candidate.of),
          {{"field", "reference"}, {"path", directory_}},
          "remove the file that does not belong to the others");
    }
    return names;
  }

  static std::string MissingName(const Candidate& candidate, int number) {
    std::string name = candidate.name();
    const size_t at =
        name.rfind(absl::StrFormat("-%05d-of-%05d", candidate.shards.begin()->first, candidate.of));
    return name.replace(at + 1, 5, absl::StrFormat("%05d", number));
  }

  absl::Status Ambiguous(const std::vector<Candidate>& candidates) const {
    constexpr size_t kMostNames = 12;
    std::vector<std::string> choices;
    for (const Candidate& candidate : candidates) {
      // Shards are chosen by their index, where they have one.
      const std::string index = wire::StrCat(candidate.stem, candidate.ending, kIndexEnding);
      const bool has_index = candidate.of > 0 && std::ranges::find(names_, index) != names_.end();
      choices.push_back(wire::StrCat(directory_, "/", has_index ? index : candidate.name()));
    }
    const size_t all = choices.size();
    choices.resize(std::min(all, kMostNames));
    const std::string text = absl::StrJoin(choices, ", ", [](std::string* out, const auto& path) {
      absl::StrAppend(out, Quoted(path));
    });
    return MakeError(
        Reason::kFieldInvalid,
        wire::StrCat(Quoted(directory_), " holds ", all,
                     " checkpoints, and none of them is the usual one: ", text,
                     all > kMostNames ? ", ..." : ""),
        {{"field", "reference"}, {"path", directory_}, {"choices", absl::StrJoin(choices, "\n")}},
        wire::StrCat("name the one that is meant, such as ", Quoted(choices.front())));
  }

  absl::Status NoShards(const std::string& index) const {
    return MakeError(Reason::kCheckpointNotFound,
                     wire::StrCat(Quoted(directory_), " is incomplete: it has the index ",
                                  Quoted(index), " and none of its files"),
                     {{"path", directory_}, {"missing", index}},
                     "download the files that the index names");
  }

  absl::Status TooMany(size_t count) const {
    return MakeError(Reason::kFormatUnsupported,
                     wire::StrCat(Quoted(directory_), " holds a checkpoint of ", count,
                                  " files, and modeld reads ", plan::kMaxFiles, " at most"),
                     {{"path", directory_}}, "save it with larger shards");
  }

  // ONNX keeps large tensors in a file beside the graph.
  void AddData(std::vector<std::string>& chosen) const {
    if (chosen.size() != 1 || !chosen.front().ends_with(".onnx")) return;
    const std::string graph = chosen.front();
    for (const std::string_view ending : {"_data", ".data"}) {
      const std::string data = wire::StrCat(graph, ending);
      if (std::ranges::find(names_, data) != names_.end()) chosen.push_back(data);
    }
  }

  const std::span<const std::string> names_;
  const std::string& directory_;
  const std::string_view index_;
};

bool IsCompanion(std::string_view name) {
  return name.front() != '.' &&
         std::ranges::any_of(kCompanionEndings,
                             [name](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace

bool IsShardIndexName(std::string_view name) {
  if (!name.ends_with(kIndexEnding)) return false;
  name.remove_suffix(kIndexEnding.size());
  return std::ranges::any_of(Kinds(), [name](const Endings& endings) {
    return std::ranges::any_of(endings,
                               [name](std::string_view ending) { return name.ends_with(ending); });
  });
}

absl::StatusOr<FileChoice> ChooseFiles(std::span<const std::string> names,
                                       const std::string& directory, std::string_view index) {
  std::vector<std::string> visible;
  for (const std::string& name : names) {
    if (!name.empty() && name.front() != '.') visible.push_back(name);
  }
  std::ranges::sort(visible);
  FileChoice choice;
  choice.pipeline =
      index.empty() && std::ranges::binary_search(visible, std::string("model_index.json"));
  if (!choice.pipeline) {
    auto weights = Chooser(visible, directory, index).Weights();
    if (!weights.ok()) return weights.status();
    choice.weights = *std::move(weights);
  }
  for (const std::string& name : visible) {
    if (IsCompanion(name) && !std::ranges::binary_search(choice.weights, name)) {
      choice.companions.push_back(name);
    }
  }
  return choice;
}

}  // namespace modeld::reference
