#include "plan/layout.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::plan {
namespace {

// The unit of direct reads, and of the host's smallest page.
constexpr uint64_t kPageBytes = 4096;
// A cache line: enough for every dtype and for vector loads.
constexpr uint64_t kHostAlignmentBytes = 64;
// What cudaMalloc promises at least 256 of, and what loads of 16 bytes by a warp of 32 want.
constexpr uint64_t kDeviceAlignmentBytes = 512;
// Strides of 0 and aliases can name one byte any number of times, and a digest reads it each time.
// Real checkpoints tie a few tensors.
constexpr uint64_t kMaxReadsOfAByte = 64;
// A file of whose bytes more than one in so many belong to no tensor is not moved as a whole,
// unless that is next to nothing.
constexpr uint64_t kLargestShareOfGaps = 16;
constexpr uint64_t kGapsOfNoConcern = 64 << 10;
// Of a tensor's name in an error message.
constexpr size_t kMostNameBytes = 256;

// One tensor on its way from a file to the segment.
struct Item {
  size_t index;  // in the source table
  uint32_t file;
  uint64_t file_offset;
  uint64_t size_bytes;
  wire::DType stored;
  wire::DType resident;
  uint64_t segment_offset = 0;

  uint64_t file_end() const { return file_offset + size_bytes; }
  uint64_t alignment_bytes() const { return wire::DTypeAlignmentBytes(resident); }
  std::optional<Cast> cast() const {
    return stored == resident ? std::nullopt : std::optional(Cast{stored, resident});
  }
};

// What `size_bytes` bytes of a file take when they are cast; nullopt where that overflows.
std::optional<uint64_t> CastBytes(const std::optional<Cast>& cast, uint64_t size_bytes) {
  if (!cast) return size_bytes;
  return wire::CheckedMul(size_bytes / cast->from_bytes(), cast->to_bytes());
}

// How many of the items, from the first on, share bytes with one another. REQUIRES: not empty,
// sorted by offset
size_t SharingCount(std::span<const Item> items) {
  uint64_t file_end = items.front().file_end();
  size_t count = 1;
  while (count < items.size() && items[count].file_offset < file_end) {
    file_end = std::max(file_end, items[count++].file_end());
  }
  return count;
}

uint64_t FileEnd(std::span<const Item> items) {
  uint64_t file_end = 0;
  for (const Item& item : items) file_end = std::max(file_end, item.file_end());
  return file_end;
}

// Lays items out one file after another. `false` from a method means that the sizes do not fit 64
// bits.
class Layout {
 public:
  explicit Layout(Place place) : place_(place) {}

  // REQUIRES: the items are one file's, sorted by offset, and not empty. What overlaps is cast
  // alike (CheckCasts).
  bool AddFile(std::span<Item> items) {
    return KeepsItsLayout(items) ? AddAsItIs(items) : AddPacked(items);
  }

  std::optional<uint64_t> SegmentBytes() const {
    // An empty checkpoint has a segment too: whoever maps a residency maps one.
    const auto bytes = wire::CheckedAlignUp(std::max<uint64_t>(end_, 1), wire::kSegmentUnitBytes);
    // What files and mappings can be at most.
    return bytes && *bytes <= static_cast<uint64_t>(INT64_MAX) ? bytes : std::nullopt;
  }

  std::vector<CopyRange> TakeRanges() { return std::move(ranges_); }

 private:
  // Are all tensors aligned when the file is moved as a whole, and is what lies between them
  // little? On the host it moves by pages, on a device so that its first tensor is aligned.
  bool KeepsItsLayout(std::span<const Item> items) const {
    const uint64_t first = items.front().file_offset;
    if (HasLargeGaps(items)) return false;
    return std::all_of(items.begin(), items.end(), [&](const Item& item) {
      if (item.size_bytes == 0) return true;
      if (item.cast()) return false;
      return place_ == Place::kHost ? item.file_offset % item.alignment_bytes() == 0
                                    : (item.file_offset - first) % kDeviceAlignmentBytes == 0;
    });
  }

  // Of a training checkpoint perhaps a part is wanted, and the optimizer's state lies in between.
  static bool HasLargeGaps(std::span<const Item> items) {
    uint64_t gaps = 0;
    uint64_t covered = items.front().file_offset;
    for (const Item& item : items) {
      if (item.file_offset > covered) gaps += item.file_offset - covered;
      covered = std::max(covered, item.file_end());
    }
    return gaps >
           std::max((covered - items.front().file_offset) / kLargestShareOfGaps, kGapsOfNoConcern);
  }

  bool AddAsItIs(std::span<Item> items) {
    const uint64_t file_end = FileEnd(items);
    const uint64_t first = items.front().file_offset;
    const uint64_t file_begin = place_ == Place::kHost ? wire::AlignDown(first, kPageBytes) : first;
    const auto begin =
        wire::CheckedAlignUp(end_, place_ == Place::kHost ? kPageBytes : kDeviceAlignmentBytes);
    if (!begin || !wire::CheckedAdd(*begin, file_end - file_begin)) return false;
    for (Item& item : items) {
      PlaceAt(*begin + (item.file_offset - file_begin), item);
    }
    // A file of empty tensors alone has nothing to read.
    const bool has_bytes = std::any_of(items.begin(), items.end(),
                                       [](const Item& item) { return item.size_bytes > 0; });
    if (has_bytes) {
      AddRange({.file_index = items.front().file,
                .file_offset = file_begin,
                .segment_offset = *begin,
                .size_bytes = file_end - file_begin});
    }
    end_ = *begin + (file_end - file_begin);
    return true;
  }

  bool AddPacked(std::span<Item> items) {
    while (!items.empty()) {
      const std::span<Item> group = items.first(SharingCount(items));
      items = items.subspan(group.size());
      const uint64_t file_begin = group.front().file_offset;
      const std::optional<Cast> cast = group.front().cast();
      const auto begin = wire::CheckedAlignUp(
          end_, place_ == Place::kHost ? kHostAlignmentBytes : kDeviceAlignmentBytes);
      const auto bytes = CastBytes(cast, FileEnd(group) - file_begin);
      const auto end = begin && bytes ? wire::CheckedAdd(*begin, *bytes) : std::nullopt;
      if (!end) return false;
      for (Item& item : group) {
        PlaceAt(*begin + *CastBytes(cast, item.file_offset - file_begin), item);
      }
      AddRange({.file_index = group.front().file,
                .file_offset = file_begin,
                .segment_offset = *begin,
                .size_bytes = FileEnd(group) - file_begin,
                .cast = cast});
      end_ = *end;
    }
    return true;
  }

  // An empty tensor may lie at an odd place; it has no bytes, but it has an address.
  static void PlaceAt(uint64_t segment_offset, Item& item) {
    item.segment_offset = item.size_bytes > 0
                              ? segment_offset
                              : wire::AlignDown(segment_offset, item.alignment_bytes());
  }

  void AddRange(const CopyRange& range) {
    if (range.size_bytes == 0) return;
    if (!ranges_.empty()) {
      CopyRange& before = ranges_.back();
      if (before.file_index == range.file_index && before.cast == range.cast &&
          before.file_offset + before.size_bytes == range.file_offset &&
          before.segment_offset + before.placed_bytes() == range.segment_offset) {
        before.size_bytes += range.size_bytes;
        return;
      }
    }
    ranges_.push_back(range);
  }

  const Place place_;
  uint64_t end_ = 0;  // of what is laid out so far
  std::vector<CopyRange> ranges_;
};

absl::Status TooLarge() {
  return wire::MakeError(wire::Reason::kBudgetExceeded,
                         "the checkpoint's tensors add up to more bytes than a segment can have",
                         {}, "check that its files are what they should be");
}

std::string Readable(std::string_view name) {
  return absl::Utf8SafeCEscape(wire::ToUtf8(name.substr(0, kMostNameBytes)));
}

// Whoever shares bytes must see the same elements in them, or casting the one would spoil the
// other. REQUIRES: the items are one file's, sorted by offset
absl::Status CheckCasts(const wire::TableView& source, std::span<const Item> items) {
  while (!items.empty()) {
    const std::span<const Item> group = items.first(SharingCount(items));
    items = items.subspan(group.size());
    const auto cast = std::find_if(group.begin(), group.end(), [](const Item& item) {
      return item.size_bytes > 0 && item.cast();
    });
    if (cast == group.end()) continue;
    const uint64_t element_bytes = cast->cast()->from_bytes();
    const auto other = std::find_if(group.begin(), group.end(), [&](const Item& item) {
      if (item.size_bytes == 0) return false;
      return item.stored != cast->stored ||
             (item.file_offset - group.front().file_offset) % element_bytes != 0;
    });
    if (other == group.end()) continue;
    // Of two that begin at different places neither need be the one that was found to be cast.
    const Item& one = other->stored == cast->stored ? group.front() : *cast;
    const std::string names[] = {Readable(source.entry(one.index).name),
                                 Readable(source.entry(other->index).name)};
    return wire::MakeError(
        wire::Reason::kFormatUnsupported,
        wire::StrCat("tensors \"", names[0], "\" (", wire::DTypeName(one.stored), ") and \"",
                     names[1], "\" (", wire::DTypeName(other->stored),
                     ") share bytes but not their elements, so they cannot be cast"),
        {{"tensor", names[1]}}, "load it without a cast, or save it with contiguous tensors");
  }
  return absl::OkStatus();
}

// Whoever reads every tensor once must be done in a time that the segment's size bounds.
absl::Status CheckReads(const wire::TableView& source, const LoadConfig& config,
                        uint64_t segment_bytes) {
  const auto most = wire::CheckedMul(segment_bytes, kMaxReadsOfAByte);
  uint64_t sum = 0;
  for (size_t index = 0; index < source.size(); ++index) {
    const wire::TensorEntry entry = source.entry(index);
    const auto bytes = wire::ContiguousBytes(config.TypeOf(entry.dtype), entry.shape);
    const auto next = bytes ? wire::CheckedAdd(sum, *bytes) : std::nullopt;
    if (!next || (most && *next > *most)) {
      return wire::MakeError(
          wire::Reason::kCheckpointMalformed,
          wire::StrCat("with tensor \"", Readable(entry.name), "\" its tensors have more than ",
                       kMaxReadsOfAByte, " times the ", segment_bytes,
                       " bytes that they are made of"),
          {}, "save it with contiguous tensors");
    }
    sum = *next;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadPlan> MakeLayout(const wire::TableView& source, const std::string& format,
                                    Place place, const LoadConfig& config) {
  std::vector<Item> items;
  items.reserve(source.size());
  for (size_t position = 0; position < source.size(); ++position) {
    const size_t index = source.in_order(position);
    const wire::TensorEntry entry = source.entry(index);
    items.push_back({.index = index,
                     .file = entry.region,
                     .file_offset = entry.offset,
                     .size_bytes = entry.size_bytes,
                     .stored = entry.dtype,
                     .resident = config.TypeOf(entry.dtype)});
  }
  // By place; tensors that start at one place (an empty one and its neighbour) keep their order.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::pair(a.file, a.file_offset) < std::pair(b.file, b.file_offset);
  });

  Layout layout(place);
  for (auto first = items.begin(); first != items.end();) {
    const auto last = std::find_if(first, items.end(),
                                   [&](const Item& item) { return item.file != first->file; });
    if (auto status = CheckCasts(source, {first, last}); !status.ok()) return status;
    if (!layout.AddFile({first, last})) return TooLarge();
    first = last;
  }
  const auto segment_bytes = layout.SegmentBytes();
  if (!segment_bytes) return TooLarge();
  if (absl::Status status = CheckReads(source, config, *segment_bytes); !status.ok()) {
    return status;
  }

  std::vector<const Item*> laid_out(source.size());
  for (const Item& item : items) laid_out[item.index] = &item;
  wire::TableBuilder builder;
  builder.AddRegion(*segment_bytes);
  for (size_t position = 0; position < source.size(); ++position) {
    const size_t index = source.in_order(position);
    wire::TensorEntry entry = source.entry(index);
    const Item& item = *laid_out[index];
    entry.dtype = item.resident;
    entry.region = 0;
    entry.offset = item.segment_offset;
    entry.size_bytes = *CastBytes(item.cast(), item.size_bytes);
    builder.Add(entry);
  }

  const uint64_t region_sizes[] = {*segment_bytes};
  auto table =
      SealedTable::Make(builder.Build(), {.require_alignment = true, .region_sizes = region_sizes});
  if (!table.ok()) return table.status();
  LoadPlan plan;
  plan.format = format;
  plan.segment_sizes = {*segment_bytes};
  plan.ranges = layout.TakeRanges();
  plan.table = *std::move(table);
  return plan;
}

}  // namespace modeld::plan
