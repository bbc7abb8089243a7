#include "catalog.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "wire/digest.h"
#include "wire/error.h"

namespace modeld::residency::model {
namespace {

wire::Digest DigestOfText(const std::string& text) {
  return wire::TensorDigest(std::as_bytes(std::span(text)));
}

}  // namespace

std::shared_ptr<const plan::ContentDigests> DigestsOf(const std::string& word) {
  static std::map<std::string, std::shared_ptr<const plan::ContentDigests>> made;
  auto& digests = made[word];
  if (digests == nullptr) {
    plan::ContentDigests fresh;
    fresh.weights = DigestOfText(absl::StrCat("word ", word));
    for (const char letter : word) fresh.tensors.push_back(DigestOfText(std::string(1, letter)));
    digests = std::make_shared<const plan::ContentDigests>(std::move(fresh));
  }
  return digests;
}

std::string DigestTextOf(const std::string& word) {
  return wire::DigestText(DigestsOf(word)->weights);
}

void ModelCatalog::Write(const std::string& name, const std::string& word) {
  files_[name].push_back({++last_inode_, word, chance_.Percent(80)});
}

bool ModelCatalog::HasHeld(const std::string& name, size_t since, const std::string& word) const {
  const auto& versions = files_.at(name);
  const size_t first = since == 0 ? 0 : since - 1;
  return std::any_of(versions.begin() + static_cast<std::ptrdiff_t>(first), versions.end(),
                     [&](const Version& version) { return version.word == word; });
}

absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> ModelCatalog::Resolve(
    const std::string& reference, const plan::LoadConfig& config) {
  const auto found = files_.find(NameOf(reference));
  if (found == files_.end()) {
    return wire::MakeError(wire::Reason::kCheckpointNotFound, absl::StrCat("no ", reference));
  }
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = reference;
  checkpoint->config = config;
  checkpoint->settled = chance_.Percent(70);
  plan::OpenFile file;
  file.path = found->first;
  file.identity.inode = found->second.back().inode;
  checkpoint->files.push_back(std::move(file));
  words_[checkpoint->Key()] = found->second.back().word;
  return checkpoint;
}

absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> ModelCatalog::Plan(
    const plan::OpenCheckpoint& checkpoint, const std::string&) {
  if (fail_some_ && chance_.Percent(2)) {
    return wire::MakeError(wire::Reason::kCheckpointMalformed, "a bad header");
  }
  const std::string key = checkpoint.Key();
  const auto& versions = files_.at(checkpoint.files.front().path);
  const auto version =
      std::ranges::find(versions, checkpoint.files.front().identity.inode, &Version::inode);
  const auto plan = PlanOf(version->word, version->sampled);
  if (!known_.contains(key)) return plan;
  auto with_digests = std::make_shared<plan::LoadPlan>(*plan);
  with_digests->digests = DigestsOf(version->word);
  return with_digests;
}

absl::StatusOr<HostSource> ModelCatalog::PlanFromHost(
    const ResidencyRecord& record, const ResidentMemory&,
    std::shared_ptr<const plan::ContentDigests> content, const std::string&) {
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = absl::StrCat("host:", record.id);
  auto plan = std::make_shared<plan::LoadPlan>(
      *PlanOf(words_.at(record.sources.front().content_key), /*sampled=*/false));
  plan->digests = std::move(content);
  return HostSource{std::move(checkpoint), std::move(plan)};
}

void ModelCatalog::RememberDigests(const std::string& content_key,
                                   const plan::ContentDigests& digests) {
  if (digests.weights == DigestsOf(words_.at(content_key))->weights) known_.insert(content_key);
}

std::shared_ptr<const plan::LoadPlan> ModelCatalog::PlanOf(const std::string& word, bool sampled) {
  auto& made = plans_[{word, sampled}];
  if (made != nullptr) return made;
  wire::TableBuilder builder;
  builder.AddRegion(word.size() * kLetterBytes);
  std::vector<plan::Sample> samples;
  const int64_t shape[] = {static_cast<int64_t>(kLetterBytes)};
  const int64_t strides[] = {1};
  for (size_t i = 0; i < word.size(); ++i) {
    const std::string name(1, static_cast<char>('A' + i));
    builder.Add({.name = name,
                 .dtype = wire::DType::kU8,
                 .shape = shape,
                 .strides = strides,
                 .region = 0,
                 .offset = i * kLetterBytes,
                 .size_bytes = kLetterBytes});
    plan::Sample& sample = samples.emplace_back();
    if (sampled) std::memcpy(sample.data(), &DigestsOf(word)->tensors[i], sizeof(sample));
  }
  auto plan = std::make_shared<plan::LoadPlan>();
  plan->format = "safetensors";
  plan->segment_sizes = {word.size() * kLetterBytes};
  plan->ranges = {{0, 0, 0, 0, word.size() * kLetterBytes}};
  plan->table = plan::SealedTable::Make(builder.Build(), {}).value();
  plan->fingerprint = plan::FingerprintOf(plan->table->view(), std::move(samples));
  made = plan;
  return made;
}

}  // namespace modeld::residency::model
