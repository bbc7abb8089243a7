// Which residencies there are, by id, by key, and by what people type.

#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "residency/residency.h"

namespace modeld::residency {

// Of ids and digests. What is shorter is more likely the name of something that is not resident.
inline constexpr size_t kMinPrefixLength = 4;

// Is `selector` an id (or a digest without `sha256:`), or enough of one?
bool Abbreviates(std::string_view selector, std::string_view id);

// Owns the residencies that have not ended, and remembers the last kRemembered that have. At most
// one residency per key is current: the one that an acquire of that key joins. Externally
// synchronised (the manager's strand).
class Registry {
 public:
  static constexpr size_t kRemembered = 64;

  // The new residency is current for its keys unless it is a private copy or DRAINING. REQUIRES: no
  // other is.
  Residency& Add(std::unique_ptr<Residency> residency);

  // The one to join; nullptr if there is none.
  Residency* Current(const Key& key);
  // Makes it current for the keys of all its sources that have no other. REQUIRES: it is current
  void Recognize(Residency& residency);
  // Is it handed out? Never true of a private copy.
  bool IsCurrent(const Residency& residency) const;
  // It is not handed out any more. Idempotent.
  void Retire(const Residency& residency);
  // REQUIRES: it has ended. Its last Info is remembered; the reference is dangling afterwards.
  void Remove(const Residency& residency);
  // It has become part of another one and is not remembered. The reference is dangling afterwards.
  void Forget(const Residency& residency);

  Residency* Get(const std::string& id);

  // By a reference that leads to it, an id or a unique prefix of one, a digest (with `sha256:` or
  // without) or a unique prefix of one, in this order. kResidencyNotFound; kFieldInvalid naming the
  // candidates when several fit.
  absl::StatusOr<Residency*> Find(const std::string& selector);

  // By creation.
  std::vector<Residency*> All();
  size_t size() const { return by_age_.size(); }
  const std::deque<ResidencyInfo>& ended() const { return ended_; }

 private:
  std::unordered_map<std::string, std::unique_ptr<Residency>> by_id_;
  std::map<std::pair<uint64_t, std::string>, Residency*> by_age_;  // by generation and id
  std::map<Key, Residency*> current_;
  std::deque<ResidencyInfo> ended_;
};

}  // namespace modeld::residency
