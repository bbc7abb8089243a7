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

// One tensor on its way from a file to the segment.
struct Item {
  size_t index;  // in the source table
  uint32_t file;
  uint64_t file_offset;
  uint64_t size_bytes;
  uint64_t alignment_bytes;
  uint64_t segment_offset = 0;

  uint64_t file_end() const { return file_offset + size_bytes; }
};

// Lays items out one file after another. `false` from a method means that the sizes do not fit 64
// bits.
class Layout {
 public:
  explicit Layout(Place place) : place_(place) {}

  // REQUIRES: the items are one file's, sorted by offset, and not empty.
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
  // Are all tensors aligned when the file is moved as a whole? On the host it moves by pages, on a
  // device so that its first tensor is aligned.
  bool KeepsItsLayout(std::span<const Item> items) const {
    const uint64_t first = items.front().file_offset;
    return std::all_of(items.begin(), items.end(), [&](const Item& item) {
      if (item.size_bytes == 0) return true;
      return place_ == Place::kHost ? item.file_offset % item.alignment_bytes == 0
                                    : (item.file_offset - first) % kDeviceAlignmentBytes == 0;
    });
  }

  bool AddAsItIs(std::span<Item> items) {
    uint64_t file_end = 0;
    for (const Item& item : items) file_end = std::max(file_end, item.file_end());
    const uint64_t first = items.front().file_offset;
    const uint64_t file_begin = place_ == Place::kHost ? wire::AlignDown(first, kPageBytes) : first;
    const auto begin =
        wire::CheckedAlignUp(end_, place_ == Place::kHost ? kPageBytes : kDeviceAlignmentBytes);
    if (!begin || !wire::CheckedAdd(*begin, file_end - file_begin)) return false;
    for (Item& item : items) {
      item.segment_offset = *begin + (item.file_offset - file_begin);
      // An empty tensor may lie at an odd place in an aligned file; it has no bytes, but it has an
      // address.
      if (item.size_bytes == 0) {
        item.segment_offset = wire::AlignDown(item.segment_offset, item.alignment_bytes);
      }
    }
    // A file of empty tensors alone has nothing to read.
    const bool has_bytes = std::any_of(items.begin(), items.end(),
                                       [](const Item& item) { return item.size_bytes > 0; });
    if (has_bytes) AddRange(items.front().file, file_begin, *begin, file_end - file_begin);
    end_ = *begin + (file_end - file_begin);
    return true;
  }

  bool AddPacked(std::span<Item> items) {
    for (size_t first = 0; first < items.size();) {
      // Aliases share bytes: those that overlap move together.
      uint64_t file_end = items[first].file_end();
      size_t last = first + 1;
      while (last < items.size() && items[last].file_offset < file_end) {
        file_end = std::max(file_end, items[last++].file_end());
      }
      const uint64_t file_begin = items[first].file_offset;
      const auto begin = wire::CheckedAlignUp(
          end_, place_ == Place::kHost ? kHostAlignmentBytes : kDeviceAlignmentBytes);
      if (!begin || !wire::CheckedAdd(*begin, file_end - file_begin)) return false;
      for (Item& item : items.subspan(first, last - first)) {
        item.segment_offset = *begin + (item.file_offset - file_begin);
      }
      AddRange(items[first].file, file_begin, *begin, file_end - file_begin);
      end_ = *begin + (file_end - file_begin);
      first = last;
    }
    return true;
  }

  void AddRange(uint32_t file, uint64_t file_offset, uint64_t segment_offset, uint64_t size_bytes) {
    if (size_bytes == 0) return;
    if (!ranges_.empty()) {
      CopyRange& before = ranges_.back();
      if (before.file_index == file && before.file_offset + before.size_bytes == file_offset &&
          before.segment_offset + before.size_bytes == segment_offset) {
        before.size_bytes += size_bytes;
        return;
      }
    }
    ranges_.push_back({.file_index = file,
                       .file_offset = file_offset,
                       .segment_index = 0,
                       .segment_offset = segment_offset,
                       .size_bytes = size_bytes});
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

// Whoever reads every tensor once must be done in a time that the segment's size bounds.
absl::Status CheckReads(const wire::TableView& source, uint64_t segment_bytes) {
  const auto most = wire::CheckedMul(segment_bytes, kMaxReadsOfAByte);
  uint64_t sum = 0;
  for (size_t index = 0; index < source.size(); ++index) {
    const wire::TensorEntry entry = source.entry(index);
    const auto bytes = wire::ContiguousBytes(entry.dtype, entry.shape);
    const auto next = bytes ? wire::CheckedAdd(sum, *bytes) : std::nullopt;
    if (!next || (most && *next > *most)) {
      return wire::MakeError(
          wire::Reason::kCheckpointMalformed,
          wire::StrCat("with tensor \"", absl::Utf8SafeCEscape(wire::ToAbsl(entry.name)),
                       "\" its tensors have more than ", kMaxReadsOfAByte, " times the ",
                       segment_bytes, " bytes that they are made of"),
          {}, "save it with contiguous tensors");
    }
    sum = *next;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadPlan> MakeLayout(const wire::TableView& source, const std::string& format,
                                    Place place) {
  std::vector<Item> items;
  items.reserve(source.size());
  for (size_t position = 0; position < source.size(); ++position) {
    const size_t index = source.in_order(position);
    const wire::TensorEntry entry = source.entry(index);
    items.push_back({.index = index,
                     .file = entry.region,
                     .file_offset = entry.offset,
                     .size_bytes = entry.size_bytes,
                     .alignment_bytes = wire::DTypeAlignmentBytes(entry.dtype)});
  }
  // By place; tensors that start at one place (an empty one and its neighbour) keep their order.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::pair(a.file, a.file_offset) < std::pair(b.file, b.file_offset);
  });

  Layout layout(place);
  for (auto first = items.begin(); first != items.end();) {
    const auto last = std::find_if(first, items.end(),
                                   [&](const Item& item) { return item.file != first->file; });
    if (!layout.AddFile({first, last})) return TooLarge();
    first = last;
  }
  const auto segment_bytes = layout.SegmentBytes();
  if (!segment_bytes) return TooLarge();
  if (absl::Status status = CheckReads(source, *segment_bytes); !status.ok()) return status;

  std::vector<uint64_t> segment_offsets(source.size());
  for (const Item& item : items) segment_offsets[item.index] = item.segment_offset;
  wire::TableBuilder builder;
  builder.AddRegion(*segment_bytes);
  for (size_t position = 0; position < source.size(); ++position) {
    const size_t index = source.in_order(position);
    wire::TensorEntry entry = source.entry(index);
    entry.region = 0;
    entry.offset = segment_offsets[index];
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
