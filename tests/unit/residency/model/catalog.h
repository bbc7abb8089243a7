// Files whose content is a word: each letter is a tensor of 2 MiB. Words of equal length have equal
// names and shapes, and share what letters they have in common.

#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "journal.h"
#include "residency/catalog.h"

namespace modeld::residency::model {

inline constexpr uint64_t kLetterBytes = 2 << 20;

// What a word's digests are.
std::shared_ptr<const plan::ContentDigests> DigestsOf(const std::string& word);
std::string DigestTextOf(const std::string& word);

class ModelCatalog : public CheckpointCatalog {
 public:
  explicit ModelCatalog(Chance& chance) : chance_(chance) {}

  // Another file from now on, whether or not the word is another one.
  void Write(const std::string& name, const std::string& word);
  // Has the file held that word since it had `since` versions?
  bool HasHeld(const std::string& name, size_t since, const std::string& word) const;
  size_t VersionsOf(const std::string& name) const { return files_.at(name).size(); }
  const std::string& WordOfKey(const std::string& content_key) const {
    return words_.at(content_key);
  }
  const std::string& WordOf(const std::string& name) const { return files_.at(name).back().word; }
  static std::string NameOf(const std::string& reference) {
    return reference.substr(0, reference.find('#'));
  }
  void FailSome(bool fail) { fail_some_ = fail; }

  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference, const plan::LoadConfig& config) override;
  absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(const plan::OpenCheckpoint& checkpoint,
                                                             const std::string& device) override;
  absl::StatusOr<HostSource> PlanFromHost(const ResidencyRecord& record,
                                          const ResidentMemory& memory,
                                          std::shared_ptr<const plan::ContentDigests> content,
                                          const std::string& device) override;
  void RememberDigests(const std::string& content_key,
                       const plan::ContentDigests& digests) override;

 private:
  struct Version {
    uint64_t inode = 0;
    std::string word;
    bool sampled = true;
  };

  std::shared_ptr<const plan::LoadPlan> PlanOf(const std::string& word, bool sampled);

  Chance& chance_;
  bool fail_some_ = true;
  uint64_t last_inode_ = 0;
  std::map<std::string, std::vector<Version>> files_;
  std::map<std::string, std::string> words_;  // by content key
  std::set<std::string> known_;               // content keys
  std::map<std::pair<std::string, bool>, std::shared_ptr<const plan::LoadPlan>> plans_;
};

}  // namespace modeld::residency::model
