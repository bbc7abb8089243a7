#include "plan/load_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace modeld::plan {
namespace {

// With its length, so that no two lists read alike.
void AppendText(std::string_view text, std::string& key) {
  absl::StrAppend(&key, text.size(), ":", absl::string_view(text.data(), text.size()));
}

void AppendSorted(std::vector<std::string> texts, std::string& key) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  absl::StrAppend(&key, ";", texts.size());
  for (const std::string& text : texts) AppendText(text, key);
}

bool AnyMatches(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return GlobMatches(pattern, name); });
}

}  // namespace

std::string LoadConfig::Key() const {
  if (empty()) return {};
  std::string key;
  AppendText(cast ? wire::DTypeName(*cast) : std::string_view(), key);
  AppendText(key_prefix, key);
  AppendSorted(include, key);
  AppendSorted(exclude, key);
  return key;
}

std::optional<std::string_view> LoadConfig::NameOf(std::string_view name) const {
  if (!name.starts_with(key_prefix)) return std::nullopt;
  name.remove_prefix(key_prefix.size());
  if (!include.empty() && !AnyMatches(include, name)) return std::nullopt;
  if (AnyMatches(exclude, name)) return std::nullopt;
  return name;
}

wire::DType LoadConfig::TypeOf(wire::DType stored) const {
  switch (stored) {
    case wire::DType::kF64:
    case wire::DType::kF32:
    case wire::DType::kF16:
    case wire::DType::kBF16:
      return cast.value_or(stored);
    default:
      return stored;
  }
}

bool GlobMatches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  // Where the last star stands, and what it stands for so far ends.
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace modeld::plan
