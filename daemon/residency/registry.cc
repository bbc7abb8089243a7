#include "residency/registry.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "wire/error.h"

namespace modeld::residency {
namespace {

bool HasReference(const Residency& residency, const std::string& reference) {
  const auto& sources = residency.record().sources;
  return std::any_of(sources.begin(), sources.end(), [&](const Source& source) {
    return std::find(source.references.begin(), source.references.end(), reference) !=
           source.references.end();
  });
}

// Without the name of its algorithm.
std::string_view HexOf(std::string_view digest) {
  constexpr std::string_view kAlgorithm = "sha256:";
  return digest.substr(digest.starts_with(kAlgorithm) ? kAlgorithm.size() : 0);
}

// Generations of an earlier modeld may be there more than once.
std::pair<uint64_t, std::string> AgeOf(const Residency& residency) {
  return {residency.record().generation, residency.id()};
}

absl::Status Ambiguous(const std::string& selector, const std::vector<Residency*>& found) {
  const std::string ids = absl::StrJoin(
      found, ", ", [](std::string* out, const Residency* r) { absl::StrAppend(out, r->id()); });
  return wire::MakeError(
      wire::Reason::kFieldInvalid,
      absl::StrCat("\"", selector, "\" fits ", found.size(), " residencies: ", ids),
      {{"selector", selector}, {"candidates", ids}}, "name one by its id: modelctl ps");
}

}  // namespace

bool Abbreviates(std::string_view selector, std::string_view id) {
  return selector.size() >= kMinPrefixLength && id.starts_with(selector);
}

Residency& Registry::Add(std::unique_ptr<Residency> residency) {
  Residency& added = *residency;
  if (!added.record().private_copy && added.state() != State::kDraining) {
    for (const Source& source : added.record().sources) {
      [[maybe_unused]] const bool first = current_.emplace(added.KeyOf(source), &added).second;
      assert(first);
    }
  }
  by_age_.emplace(AgeOf(added), &added);
  by_id_.emplace(added.id(), std::move(residency));
  return added;
}

void Registry::Recognize(Residency& residency) {
  for (const Source& source : residency.record().sources) {
    current_.try_emplace(residency.KeyOf(source), &residency);
  }
}

bool Registry::IsCurrent(const Residency& residency) const {
  const auto& sources = residency.record().sources;
  return std::any_of(sources.begin(), sources.end(), [&](const Source& source) {
    const auto found = current_.find(residency.KeyOf(source));
    return found != current_.end() && found->second == &residency;
  });
}

Residency* Registry::Current(const Key& key) {
  const auto found = current_.find(key);
  return found == current_.end() ? nullptr : found->second;
}

void Registry::Retire(const Residency& residency) {
  for (const Source& source : residency.record().sources) {
    const auto found = current_.find(residency.KeyOf(source));
    if (found != current_.end() && found->second == &residency) current_.erase(found);
  }
}

void Registry::Remove(const Residency& residency) {
  assert(IsEnded(residency.state()));
  ended_.push_back(residency.Info());
  if (ended_.size() > kRemembered) ended_.pop_front();
  Forget(residency);
}

void Registry::Forget(const Residency& residency) {
  Retire(residency);
  by_age_.erase(AgeOf(residency));
  by_id_.erase(residency.id());
}

Residency* Registry::Get(const std::string& id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

absl::StatusOr<Residency*> Registry::Find(const std::string& selector) {
  const std::function<bool(const Residency&)> rules[] = {
      [&](const Residency& r) { return HasReference(r, selector); },
      [&](const Residency& r) { return Abbreviates(selector, r.id()); },
      [&](const Residency& r) {
        const std::string digest = r.digest_text();
        return Abbreviates(HexOf(selector), HexOf(digest));
      },
  };
  if (!selector.empty()) {
    for (const auto& fits : rules) {
      std::vector<Residency*> found;
      for (Residency* residency : All()) {
        if (fits(*residency)) found.push_back(residency);
      }
      if (found.size() > 1) return Ambiguous(selector, found);
      if (found.size() == 1) return found.front();
    }
  }
  return wire::MakeError(wire::Reason::kResidencyNotFound,
                         absl::StrCat("nothing resident is called \"", selector, "\""),
                         {{"selector", selector}}, "see what is resident: modelctl ps");
}

std::vector<Residency*> Registry::All() {
  std::vector<Residency*> all;
  all.reserve(by_age_.size());
  for (const auto& [age, residency] : by_age_) all.push_back(residency);
  return all;
}

}  // namespace modeld::residency
