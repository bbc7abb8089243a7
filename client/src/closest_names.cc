#include "closest_names.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace modeld::client {
namespace {

// Single-character edits from a to b, or limit + 1 if there are more. `row` is scratch.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit,
                    std::vector<size_t>& row) {
  const size_t difference = a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
  if (difference > limit) return limit + 1;
  row.resize(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    size_t best = row[0];
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t edited =
          std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = std::exchange(row[j], edited);
      best = std::min(best, edited);
    }
    if (best > limit) return limit + 1;
  }
  return row[b.size()];
}

// A missing or superfluous prefix (`model.`, `module.`) is the usual mistake and counts as one
// edit.
bool DiffersByPrefix(std::string_view a, std::string_view b) {
  return !a.empty() && !b.empty() && (a.ends_with(b) || b.ends_with(a));
}

}  // namespace

std::vector<std::string> ClosestNames(std::string_view name, size_t count,
                                      const std::function<std::string_view(size_t)>& name_at,
                                      size_t limit) {
  const size_t most_edits = std::clamp<size_t>(name.size() / 3, 2, 12);
  std::vector<std::pair<size_t, size_t>> found;  // edits, index
  std::vector<size_t> row;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view candidate = name_at(i);
    const size_t edits =
        DiffersByPrefix(name, candidate) ? 1 : EditDistance(name, candidate, most_edits, row);
    if (edits > most_edits) continue;
    found.emplace_back(edits, i);
    std::push_heap(found.begin(), found.end());
    if (found.size() > limit) {
      std::pop_heap(found.begin(), found.end());
      found.pop_back();
    }
  }
  std::sort_heap(found.begin(), found.end());
  std::vector<std::string> names;
  for (const auto& [edits, index] : found) names.emplace_back(name_at(index));
  return names;
}

}  // namespace modeld::client
