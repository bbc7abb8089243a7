#include "plan/sharing.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "wire/checked.h"
#include "wire/strided_reader.h"

namespace modeld::plan {
namespace {

// Tensors keep their place within a page, so that what could be read directly still can.
constexpr uint64_t kKeptModulus = 4096;
// Kept tensors that lie this close stay together.
constexpr uint64_t kMaxGapBytes = 4096;

struct DigestHash {
  size_t operator()(const wire::Digest& digest) const {
    size_t hash = 0;
    std::memcpy(&hash, digest.data(), sizeof(hash));
    return hash;
  }
};

bool SameShape(const wire::TensorEntry& a, const wire::TensorEntry& b) {
  return a.dtype == b.dtype && std::ranges::equal(a.shape, b.shape);
}

bool CanBeBorrowed(const wire::TensorEntry& entry) {
  return entry.size_bytes > 0 && wire::IsContiguous(entry.shape, entry.strides);
}

// Where a tensor lies.
struct Spot {
  size_t lender;
  size_t segment;
  size_t entry;  // in the lender's table

  std::pair<size_t, size_t> place() const { return {lender, segment}; }
};

using Usage = std::map<std::pair<size_t, size_t>, uint64_t>;  // bytes by place

// For each tensor of the checkpoint where it is borrowed from; nullopt: it is not.
class Choice {
 public:
  Choice(const LoadPlan& whole, const ContentDigests& content, std::span<const Lender> lenders)
      : table_(whole.table->view()), lenders_(lenders) {
    std::unordered_map<wire::Digest, std::vector<Spot>, DigestHash> spots;
    for (size_t l = 0; l < lenders.size(); ++l) {
      const wire::TableView& table = *lenders[l].table;
      for (size_t i = 0; i < table.size(); ++i) {
        const wire::TensorEntry entry = table.entry(i);
        if (CanBeBorrowed(entry)) {
          spots[lenders[l].content->tensors[i]].push_back({l, entry.region, i});
        }
      }
    }
    options_.resize(table_.size());
    for (size_t i = 0; i < table_.size(); ++i) {
      const wire::TensorEntry entry = table_.entry(i);
      const auto found = spots.find(content.tensors[i]);
      if (!CanBeBorrowed(entry) || found == spots.end()) continue;
      for (const Spot& spot : found->second) {
        if (SameShape(entry, lenders[spot.lender].table->entry(spot.entry))) {
          options_[i].push_back(spot);
        }
      }
    }
  }

  // Gives up the place of least use as long as one is not worth it.
  std::vector<std::optional<Spot>> Make() {
    while (true) {
      const Usage usage = Used();
      std::optional<std::pair<size_t, size_t>> worst;
      for (const auto& [place, bytes] : usage) {
        const uint64_t whole = lenders_[place.first].segment_sizes[place.second];
        const bool worth_it = bytes >= whole / kBorrowedShare;
        if (!worth_it && (!worst || bytes < usage.at(*worst))) worst = place;
      }
      if (!worst) break;
      for (auto& spots : options_) {
        std::erase_if(spots, [&](const Spot& spot) { return spot.place() == *worst; });
      }
    }
    std::vector<std::optional<Spot>> chosen;
    for (const auto& spots : options_) {
      chosen.push_back(spots.empty() ? std::nullopt : std::optional(spots.front()));
    }
    return chosen;
  }

 private:
  Usage Used() const {
    Usage usage;
    for (size_t i = 0; i < options_.size(); ++i) {
      if (!options_[i].empty()) {
        usage[options_[i].front().place()] += table_.entry(i).size_bytes;
      }
    }
    return usage;
  }

  const wire::TableView table_;
  const std::span<const Lender> lenders_;
  std::vector<std::vector<Spot>> options_;  // by tensor
};

// A stretch of the whole segment that is kept.
struct Run {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t moved_to = 0;
};

// Disjoint, by offset.
std::vector<Run> KeptRuns(const wire::TableView& table,
                          const std::vector<std::optional<Spot>>& chosen) {
  std::vector<Run> runs;
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry entry = table.entry(i);
    if (!chosen[i]) runs.push_back({entry.offset, entry.offset + entry.size_bytes});
  }
  std::ranges::sort(runs, {}, &Run::begin);
  std::vector<Run> merged;
  for (const Run& run : runs) {
    if (!merged.empty() && run.begin <= merged.back().end + kMaxGapBytes) {
      merged.back().end = std::max(merged.back().end, run.end);
    } else {
      merged.push_back(run);
    }
  }
  uint64_t end = 0;
  for (Run& run : merged) {
    const uint64_t within = run.begin % kKeptModulus;
    const uint64_t page = end % kKeptModulus <= within
                              ? wire::AlignDown(end, kKeptModulus)
                              : wire::AlignDown(end, kKeptModulus) + kKeptModulus;
    run.moved_to = page + within;
    end = run.moved_to + (run.end - run.begin);
  }
  return merged;
}

const Run& RunOf(const std::vector<Run>& runs, uint64_t offset) {
  const auto after = std::ranges::upper_bound(runs, offset, {}, &Run::begin);
  return *std::prev(after);
}

// What of the ranges goes into the runs. REQUIRES: all ranges are of segment 0
std::vector<CopyRange> KeptRanges(const std::vector<CopyRange>& ranges,
                                  const std::vector<Run>& runs) {
  std::vector<CopyRange> kept;
  for (const CopyRange& range : ranges) {
    const uint64_t range_end = range.segment_offset + range.placed_bytes();
    auto run = std::ranges::lower_bound(runs, range.segment_offset, {},
                                        [](const Run& r) { return r.end; });
    for (; run != runs.end() && run->begin < range_end; ++run) {
      const uint64_t begin = std::max(run->begin, range.segment_offset);
      const uint64_t end = std::min(run->end, range_end);
      if (begin >= end) continue;
      // Runs begin and end with tensors, and so between elements.
      const auto in_file = [&](uint64_t placed) {
        return range.cast ? placed / range.cast->to_bytes() * range.cast->from_bytes() : placed;
      };
      CopyRange piece = range;
      piece.file_offset += in_file(begin - range.segment_offset);
      piece.segment_offset = run->moved_to + (begin - run->begin);
      piece.size_bytes = in_file(end - begin);
      kept.push_back(piece);
    }
  }
  return kept;
}

}  // namespace

std::vector<size_t> PromisingLenders(const wire::TableView& table, const Fingerprint& fingerprint,
                                     std::span<const Lender> lenders) {
  std::vector<std::pair<uint64_t, size_t>> promising;
  for (size_t l = 0; l < lenders.size(); ++l) {
    const Lender& lender = lenders[l];
    std::vector<uint64_t> used(lender.segment_sizes.size());
    const bool sampled = fingerprint.samples.size() == table.size() &&
                         lender.fingerprint->samples.size() == lender.table->size();
    // Both are sorted by name.
    for (size_t a = 0, b = 0; a < table.size() && b < lender.table->size();) {
      const wire::TensorEntry mine = table.entry(a);
      const wire::TensorEntry theirs = lender.table->entry(b);
      if (mine.name != theirs.name) {
        ++(mine.name < theirs.name ? a : b);
        continue;
      }
      const bool open =
          !sampled || MayBeEqual(fingerprint.samples[a], lender.fingerprint->samples[b]);
      if (open && SameShape(mine, theirs) && CanBeBorrowed(mine) && CanBeBorrowed(theirs)) {
        used[theirs.region] += theirs.size_bytes;
      }
      ++a;
      ++b;
    }
    uint64_t worth = 0;
    for (size_t segment = 0; segment < used.size(); ++segment) {
      if (used[segment] > 0 && used[segment] >= lender.segment_sizes[segment] / kBorrowedShare) {
        worth += used[segment];
      }
    }
    if (worth > 0) promising.emplace_back(worth, l);
  }
  std::ranges::sort(promising, std::greater());
  std::vector<size_t> result;
  for (const auto& [bytes, index] : promising) result.push_back(index);
  return result;
}

std::vector<uint64_t> UsedBytes(const wire::TableView& table) {
  std::vector<std::tuple<uint32_t, uint64_t, uint64_t>> spans;
  for (size_t i = 0; i < table.size(); ++i) {
    const wire::TensorEntry entry = table.entry(i);
    spans.emplace_back(entry.region, entry.offset, entry.offset + entry.size_bytes);
  }
  std::ranges::sort(spans);
  std::vector<uint64_t> used(table.region_count());
  uint32_t last_region = 0;
  uint64_t covered = 0;
  for (const auto& [region, begin, end] : spans) {
    if (region != last_region) covered = 0;
    last_region = region;
    const uint64_t from = std::max(begin, covered);
    if (end > from) used[region] += end - from;
    covered = std::max(covered, end);
  }
  return used;
}

absl::StatusOr<SharedPlan> MakeSharedPlan(const LoadPlan& whole, const ContentDigests& content,
                                          std::span<const Lender> lenders) {
  const wire::TableView& table = whole.table->view();
  const auto chosen = Choice(whole, content, lenders).Make();
  SharedPlan shared;
  std::map<std::pair<size_t, size_t>, size_t> regions;  // index into `borrowed`
  std::map<std::tuple<size_t, size_t, uint64_t>, int> users;
  for (size_t i = 0; i < chosen.size(); ++i) {
    if (!chosen[i]) continue;
    const auto [at, added] = regions.try_emplace(chosen[i]->place(), shared.borrowed.size());
    if (added) shared.borrowed.push_back({chosen[i]->lender, chosen[i]->segment, 0});
    const wire::TensorEntry theirs = lenders[chosen[i]->lender].table->entry(chosen[i]->entry);
    const bool first = users[{chosen[i]->lender, chosen[i]->segment, theirs.offset}]++ == 0;
    if (first) shared.borrowed[at->second].used_bytes += theirs.size_bytes;
  }
  if (shared.borrowed.empty()) return shared;

  const std::vector<Run> runs = KeptRuns(table, chosen);
  const uint64_t end =
      runs.empty() ? 1 : runs.back().moved_to + (runs.back().end - runs.back().begin);
  const auto segment_bytes =
      wire::CheckedAlignUp(std::max<uint64_t>(end, 1), wire::kSegmentUnitBytes);
  if (!segment_bytes) return absl::InternalError("a part that is larger than the whole");

  wire::TableBuilder builder;
  std::vector<uint64_t> region_sizes = {*segment_bytes};
  for (const Borrowed& borrowed : shared.borrowed) {
    region_sizes.push_back(lenders[borrowed.lender].segment_sizes[borrowed.segment]);
  }
  for (const uint64_t size : region_sizes) builder.AddRegion(size);
  for (size_t position = 0; position < table.size(); ++position) {
    const size_t i = table.in_order(position);
    wire::TensorEntry entry = table.entry(i);
    if (chosen[i]) {
      const wire::TensorEntry theirs = lenders[chosen[i]->lender].table->entry(chosen[i]->entry);
      entry.region = static_cast<uint32_t>(1 + regions.at(chosen[i]->place()));
      entry.offset = theirs.offset;
      entry.alias =
          theirs.alias || users.at({chosen[i]->lender, chosen[i]->segment, theirs.offset}) > 1;
    } else {
      const Run& run = RunOf(runs, entry.offset);
      entry.region = 0;
      entry.offset = run.moved_to + (entry.offset - run.begin);
    }
    builder.Add(entry);
  }
  auto sealed =
      SealedTable::Make(builder.Build(), {.require_alignment = true, .region_sizes = region_sizes});
  if (!sealed.ok()) return sealed.status();
  shared.plan = whole;
  shared.plan.table = *std::move(sealed);
  shared.plan.segment_sizes = {*segment_bytes};
  shared.plan.ranges = KeptRanges(whole.ranges, runs);
  return shared;
}

}  // namespace modeld::plan
