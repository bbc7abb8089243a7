// The one judge of tensor tables. The bytes may come from a hostile parser or peer: nothing in them
// is used before it was compared with what is there.

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/table_format.h"
#include "wire/tensor_table.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::wire {
namespace {

// Regions are files and mappings: their sizes, and the sum of them, are off_t's.
constexpr uint64_t kMaxRegionBytes = std::numeric_limits<int64_t>::max();

// For a message: no control characters, no megabytes.
std::string Quoted(std::string_view name) {
  constexpr size_t kMaxBytes = 200;
  const bool cut = name.size() > kMaxBytes;
  return StrCat("\"", absl::Utf8SafeCEscape(ToAbsl(name.substr(0, kMaxBytes))),
                cut ? "...\"" : "\"");
}

absl::Status MalformedTable(std::string_view what) {
  return MakeError(Reason::kCheckpointMalformed, StrCat("tensor table: ", what));
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

class Validator {
 public:
  Validator(std::span<const std::byte> bytes, const ValidateOptions& options)
      : bytes_(bytes), options_(options) {}

  absl::Status Run();

 private:
  // Each relies on those before it.
  absl::Status CheckHeader();
  absl::Status CheckRegions();
  absl::Status CheckTensors();
  absl::Status CheckMetadata();
  absl::Status CheckPadding() const;
  absl::Status CheckOrder() const;
  absl::Status CheckOverlap() const;

  absl::Status CheckName(const format::Tensor& tensor, size_t index);
  absl::Status CheckTensor(const format::Tensor& tensor);
  absl::Status CheckSize(const format::Tensor& tensor) const;
  absl::Status CheckPlace(const format::Tensor& tensor) const;
  absl::Status CheckText(uint32_t offset, uint32_t size, std::string_view what);

  absl::Status Wrong(const format::Tensor& tensor, std::string_view what) const;

  format::Tensor TensorAt(size_t index) const {
    return format::Read<format::Tensor>(bytes_, sections_.tensors + index * sizeof(format::Tensor));
  }
  uint32_t OrderAt(size_t position) const {
    return format::Read<uint32_t>(bytes_, sections_.order + position * sizeof(uint32_t));
  }
  uint64_t RegionSize(size_t region) const {
    return format::Read<uint64_t>(bytes_, sections_.regions + region * sizeof(uint64_t));
  }
  std::string_view Text(uint32_t offset, uint32_t size) const {
    return {reinterpret_cast<const char*>(bytes_.data()) + sections_.strings + offset, size};
  }
  std::span<const int64_t> Dims(uint64_t begin, size_t count) const {
    return {reinterpret_cast<const int64_t*>(bytes_.data() + sections_.dims) + begin, count};
  }

  const std::span<const std::byte> bytes_;
  const ValidateOptions& options_;
  format::Header header_ = {};
  format::Sections sections_;
  std::string_view previous_name_;
  // How much of the strings and of the dimensions the entries so far account for.
  uint64_t strings_used_ = 0;
  uint64_t dims_used_ = 0;
};

absl::Status Validator::Run() {
  if (auto status = CheckHeader(); !status.ok()) return status;
  if (auto status = CheckRegions(); !status.ok()) return status;
  if (auto status = CheckTensors(); !status.ok()) return status;
  if (auto status = CheckMetadata(); !status.ok()) return status;
  if (auto status = CheckPadding(); !status.ok()) return status;
  if (auto status = CheckOrder(); !status.ok()) return status;
  return CheckOverlap();
}

absl::Status Validator::CheckHeader() {
  if (reinterpret_cast<uintptr_t>(bytes_.data()) % alignof(int64_t) != 0) {
    return MakeError(Reason::kInternal, "tensor table: its address is not a multiple of 8");
  }
  if (bytes_.size() < sizeof(format::Header)) {
    return MalformedTable(StrCat("it has ", bytes_.size(), " bytes, its header alone takes ",
                                 sizeof(format::Header)));
  }
  header_ = format::Read<format::Header>(bytes_, 0);
  if (std::memcmp(header_.magic, format::kMagic, sizeof(header_.magic)) != 0) {
    return MalformedTable("it does not begin like one");
  }
  if (header_.version != format::kVersion) {
    return MalformedTable(
        StrCat("it is of version ", header_.version, ", this build reads ", format::kVersion));
  }
  if (header_.reserved0 != 0 || header_.reserved1 != 0 || header_.reserved2 != 0) {
    return MalformedTable("a reserved field of the header is not zero");
  }
  if (header_.dim_count > std::numeric_limits<uint32_t>::max() ||
      header_.string_bytes > std::numeric_limits<uint32_t>::max()) {
    return MalformedTable("it has more than 2^32-1 dimensions or bytes of names");
  }
  sections_ = format::Layout(header_);
  if (header_.total_bytes != bytes_.size() || sections_.end != bytes_.size()) {
    return MalformedTable(StrCat("its counts ask for ", sections_.end, " bytes, it says ",
                                 header_.total_bytes, " and has ", bytes_.size()));
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckRegions() {
  if (options_.region_sizes && header_.region_count > options_.region_sizes->size()) {
    return MalformedTable(StrCat("it has ", header_.region_count, " regions, there are ",
                                 options_.region_sizes->size()));
  }
  uint64_t sum = 0;
  for (size_t i = 0; i < header_.region_count; ++i) {
    const uint64_t size = RegionSize(i);
    if (options_.region_sizes && size > (*options_.region_sizes)[i]) {
      return MalformedTable(
          StrCat("region ", i, " takes ", size, " bytes, there are ", (*options_.region_sizes)[i]));
    }
    const auto next = CheckedAdd(sum, size);
    if (!next || *next > kMaxRegionBytes) {
      return MalformedTable(StrCat("the regions up to ", i, " take more than 2^63-1 bytes"));
    }
    sum = *next;
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckTensors() {
  for (size_t i = 0; i < header_.tensor_count; ++i) {
    const format::Tensor tensor = TensorAt(i);
    if (auto status = CheckName(tensor, i); !status.ok()) return status;
    if (auto status = CheckTensor(tensor); !status.ok()) return status;
  }
  if (dims_used_ != header_.dim_count) {
    return MalformedTable("it has dimensions that belong to no tensor");
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckText(uint32_t offset, uint32_t size, std::string_view what) {
  if (offset != strings_used_ || !RangeFits(offset, size, header_.string_bytes)) {
    return MalformedTable(StrCat(what, " is not where it should be"));
  }
  strings_used_ += size;
  if (!IsUtf8(Text(offset, size))) return MalformedTable(StrCat(what, " is not UTF-8"));
  return absl::OkStatus();
}

absl::Status Validator::CheckName(const format::Tensor& tensor, size_t index) {
  if (auto status = CheckText(tensor.name_offset, tensor.name_bytes, "a tensor's name");
      !status.ok()) {
    return status;
  }
  const std::string_view name = Text(tensor.name_offset, tensor.name_bytes);
  const int compared = index > 0 ? previous_name_.compare(name) : -1;
  if (compared == 0) return Wrong(tensor, "is there twice");
  if (compared > 0) return Wrong(tensor, "is not in the order of names");
  previous_name_ = name;
  return absl::OkStatus();
}

absl::Status Validator::CheckTensor(const format::Tensor& tensor) {
  if (!IsDType(tensor.dtype)) {
    return Wrong(tensor, StrCat("has the unknown dtype ", tensor.dtype));
  }
  if ((tensor.flags & ~format::kFlagAlias) != 0 || tensor.reserved != 0) {
    return Wrong(tensor, "has unknown flags");
  }
  if (tensor.rank > format::kMaxRank) {
    return Wrong(tensor, StrCat("has ", tensor.rank, " dimensions, more than ", format::kMaxRank));
  }
  if (tensor.dim_begin != dims_used_ ||
      !RangeFits(tensor.dim_begin, uint64_t{2} * tensor.rank, header_.dim_count)) {
    return Wrong(tensor, "has its dimensions elsewhere");
  }
  dims_used_ += uint64_t{2} * tensor.rank;
  if (auto status = CheckSize(tensor); !status.ok()) return status;
  return CheckPlace(tensor);
}

// Bytes from the first to one past the last element; nullopt where that overflows.
std::optional<uint64_t> Extent(DType dtype, std::span<const int64_t> shape,
                               std::span<const int64_t> strides) {
  const auto contiguous = ContiguousBytes(dtype, shape);
  if (!contiguous || *contiguous == 0) return contiguous;
  const uint64_t element_bytes = DTypeElementBytes(dtype);
  if (element_bytes == 0) return contiguous;  // CheckSize asks for their strides
  uint64_t last = 0;                          // the last element, in elements
  for (size_t i = 0; i < shape.size(); ++i) {
    const auto step =
        CheckedMul(static_cast<uint64_t>(shape[i] - 1), static_cast<uint64_t>(strides[i]));
    const auto next = step ? CheckedAdd(last, *step) : std::nullopt;
    if (!next) return std::nullopt;
    last = *next;
  }
  const auto count = CheckedAdd(last, 1);
  return count ? CheckedMul(*count, element_bytes) : std::nullopt;
}

absl::Status Validator::CheckSize(const format::Tensor& tensor) const {
  const DType dtype = static_cast<DType>(tensor.dtype);
  const auto shape = Dims(tensor.dim_begin, tensor.rank);
  const auto strides = Dims(uint64_t{tensor.dim_begin} + tensor.rank, tensor.rank);
  const auto negative = [](int64_t value) { return value < 0; };
  if (std::ranges::any_of(shape, negative)) return Wrong(tensor, "has a negative dimension");
  if (std::ranges::any_of(strides, negative)) return Wrong(tensor, "has a negative stride");
  if (DTypeElementBytes(dtype) == 0 && !std::ranges::equal(strides, ContiguousStrides(shape))) {
    return Wrong(tensor, IsBlockDType(dtype)
                             ? "has blocks of elements and is not contiguous"
                             : "has elements of less than a byte and is not contiguous");
  }
  const auto extent = Extent(dtype, shape, strides);
  if (!extent) {
    return Wrong(
        tensor, IsBlockDType(dtype)
                    ? "has a shape whose bytes overflow or whose rows do not fill whole blocks"
                    : "has a shape whose bytes overflow or whose elements do not fill whole bytes");
  }
  if (*extent != tensor.size_bytes) {
    return Wrong(tensor, StrCat("says that it has ", tensor.size_bytes, " bytes, its shape takes ",
                                *extent));
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckPlace(const format::Tensor& tensor) const {
  if (tensor.region >= header_.region_count) {
    return Wrong(tensor, StrCat("lies in region ", tensor.region, " of ", header_.region_count));
  }
  const uint64_t limit = RegionSize(tensor.region);
  if (!RangeFits(tensor.offset, tensor.size_bytes, limit)) {
    return Wrong(tensor, StrCat("reaches beyond its region: ", tensor.size_bytes, " bytes at ",
                                tensor.offset, " of ", limit));
  }
  const uint32_t alignment = DTypeAlignmentBytes(static_cast<DType>(tensor.dtype));
  if (options_.require_alignment && tensor.offset % alignment != 0) {
    return Wrong(tensor,
                 StrCat("lies at ", tensor.offset, ", which is no multiple of ", alignment));
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckMetadata() {
  for (size_t i = 0; i < header_.metadata_count; ++i) {
    const auto record =
        format::Read<format::Metadata>(bytes_, sections_.metadata + i * sizeof(format::Metadata));
    if (auto status = CheckText(record.key_offset, record.key_bytes, "a metadata key");
        !status.ok()) {
      return status;
    }
    if (auto status = CheckText(record.value_offset, record.value_bytes, "a metadata value");
        !status.ok()) {
      return status;
    }
  }
  if (strings_used_ != header_.string_bytes) {
    return MalformedTable("it has text that belongs to no tensor and no metadata");
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckPadding() const {
  const uint64_t order_end = sections_.order + sizeof(uint32_t) * uint64_t{header_.tensor_count};
  const uint64_t strings_end = sections_.strings + header_.string_bytes;
  if (!AllZero(bytes_.subspan(order_end, sections_.dims - order_end)) ||
      !AllZero(bytes_.subspan(strings_end, sections_.end - strings_end))) {
    return MalformedTable("its padding is not zero");
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckOrder() const {
  std::vector<bool> seen(header_.tensor_count);
  for (size_t i = 0; i < header_.tensor_count; ++i) {
    const uint32_t index = OrderAt(i);
    if (index >= header_.tensor_count || seen[index]) {
      return MalformedTable(StrCat("its file order is no permutation at position ", i));
    }
    seen[index] = true;
  }
  return absl::OkStatus();
}

absl::Status Validator::CheckOverlap() const {
  // Tables are almost always in the order of offsets already when they are read in file order.
  std::vector<uint32_t> by_offset(header_.tensor_count);
  for (size_t i = 0; i < by_offset.size(); ++i) by_offset[i] = OrderAt(i);
  const auto before = [&](uint32_t a, uint32_t b) {
    const format::Tensor left = TensorAt(a);
    const format::Tensor right = TensorAt(b);
    return std::pair(left.region, left.offset) < std::pair(right.region, right.offset);
  };
  if (!std::ranges::is_sorted(by_offset, before)) std::ranges::sort(by_offset, before);

  // The entry that reaches furthest so far, of all and of those that are no alias.
  struct Reach {
    uint64_t end = 0;
    uint32_t index = 0;
  };
  Reach any;
  Reach exclusive;
  uint32_t region = 0;
  for (const uint32_t index : by_offset) {
    const format::Tensor tensor = TensorAt(index);
    if (tensor.size_bytes == 0) continue;
    if (tensor.region != region) {
      region = tensor.region;
      any = exclusive = {};
    }
    const bool alias = (tensor.flags & format::kFlagAlias) != 0;
    const Reach& reach = alias ? exclusive : any;
    if (tensor.offset < reach.end) {
      const format::Tensor other = TensorAt(reach.index);
      return Wrong(tensor, StrCat("overlaps ", Quoted(Text(other.name_offset, other.name_bytes)),
                                  " and not both are aliases"));
    }
    const uint64_t end = tensor.offset + tensor.size_bytes;  // within its region
    if (end > any.end) any = {end, index};
    if (!alias && end > exclusive.end) exclusive = {end, index};
  }
  return absl::OkStatus();
}

absl::Status Validator::Wrong(const format::Tensor& tensor, std::string_view what) const {
  const std::string_view name = Text(tensor.name_offset, tensor.name_bytes);
  return MakeError(Reason::kCheckpointMalformed, StrCat("tensor ", Quoted(name), " ", what),
                   {{"tensor", std::string(name.substr(0, 1024))}});
}

}  // namespace

absl::StatusOr<TableView> TableView::Validate(std::span<const std::byte> bytes,
                                              const ValidateOptions& options) {
  if (auto status = Validator(bytes, options).Run(); !status.ok()) return status;
  TableView view;
  view.bytes_ = bytes;
  return view;
}

}  // namespace modeld::wire
