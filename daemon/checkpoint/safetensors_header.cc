#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "checkpoint/malformed.h"
#include "checkpoint/safetensors.h"
#include "wire/tensor_table.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr char kUnusual[] =
    "no writer of safetensors is known to make this: check where the file comes from";

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

std::string OffsetsText(const SafetensorsHeader::Tensor& tensor) {
  return absl::StrCat("data_offsets [", tensor.begin, ",", tensor.end, "]");
}

}  // namespace

absl::Status SafetensorsHeader::Read(const Limits& limits) {
  if (!wire::IsUtf8(text_)) {
    return MalformedAt(FirstInvalidUtf8(text_), "the header is not UTF-8");
  }
  if (!ReadAll(limits)) {
    return MalformedAt(reader_.error_position(), reader_.error(), current_, hint_);
  }
  return CheckCoverage();
}

bool SafetensorsHeader::ReadAll(const Limits& limits) {
  if (text_.empty() || text_[0] != '{') return reader_.Fail(0, "the header must start with '{'");
  reader_.Take('{');
  absl::flat_hash_set<std::string_view> names;
  names.reserve(text_.size() / 128);  // about what a tensor takes
  bool have_metadata = false;
  if (!reader_.TakeIf('}')) {
    do {
      current_ = {};
      const size_t position = reader_.NextPosition();
      const auto name = reader_.String();
      if (!name || !reader_.Take(':')) return false;
      if (*name == "__metadata__") {
        if (std::exchange(have_metadata, true)) {
          return reader_.Fail(position, "a second __metadata__");
        }
        if (!ReadMetadata()) return false;
        continue;
      }
      current_ = *name;
      if (!names.insert(*name).second) {
        hint_ = "give each tensor a name of its own";
        return reader_.Fail(position, "a second tensor of this name");
      }
      if (!ReadTensor(*name, position, limits)) return false;
    } while (reader_.TakeIf(','));
    current_ = {};
    if (!reader_.Take('}')) return false;
  }
  return reader_.AtEnd() ||
         reader_.Fail(reader_.NextPosition(), "text behind the header's last '}'");
}

bool SafetensorsHeader::ReadMetadata() {
  // The reference implementation takes null for none.
  if (reader_.Peek() == 'n') return reader_.Null();
  if (!reader_.Take('{')) return false;
  if (reader_.TakeIf('}')) return true;
  absl::flat_hash_set<std::string_view> keys;
  do {
    const size_t position = reader_.NextPosition();
    const auto key = reader_.String();
    if (!key || !reader_.Take(':')) return false;
    const auto value = reader_.String();
    if (!value) {
      hint_ = "write every value of __metadata__ as a string";
      return false;
    }
    if (!keys.insert(*key).second) {
      return reader_.Fail(position, absl::StrCat("a second ", Quoted(*key), " in __metadata__"));
    }
    if (keys.size() > kMaxMetadata) {
      hint_ = kUnusual;
      return reader_.Fail(position,
                          absl::StrCat("more than ", kMaxMetadata, " entries in __metadata__"));
    }
    metadata_.emplace_back(*key, *value);
  } while (reader_.TakeIf(','));
  return reader_.Take('}');
}

bool SafetensorsHeader::ReadTensor(std::string_view name, size_t name_position,
                                   const Limits& limits) {
  if (tensors_.size() >= limits.tensors) {
    hint_ = kUnusual;
    return reader_.Fail(name_position, absl::StrCat("more than ", kMaxTensors, " tensors"));
  }
  Tensor tensor;
  tensor.name = name;
  tensor.name_position = static_cast<uint32_t>(name_position);
  tensor.dims_at = static_cast<uint32_t>(dims_.size());
  bool have_dtype = false;
  bool have_shape = false;
  bool have_offsets = false;
  size_t shape_position = 0;
  if (!reader_.Take('{')) return false;
  if (!reader_.TakeIf('}')) {
    do {
      const size_t position = reader_.NextPosition();
      const auto field = reader_.String();
      if (!field || !reader_.Take(':')) return false;
      bool good = false;
      bool again = false;
      if (*field == "dtype") {
        again = std::exchange(have_dtype, true);
        good = again || ReadDType(&tensor.dtype);
      } else if (*field == "shape") {
        again = std::exchange(have_shape, true);
        shape_position = reader_.NextPosition();
        good = again || ReadShape(limits);
      } else if (*field == "data_offsets") {
        again = std::exchange(have_offsets, true);
        tensor.offsets_position = static_cast<uint32_t>(reader_.NextPosition());
        good = again || ReadOffsets(&tensor);
      } else {
        good = reader_.SkipValue();  // as the reference implementation does
      }
      if (again) return reader_.Fail(position, absl::StrCat("a second ", Quoted(*field)));
      if (!good) return false;
    } while (reader_.TakeIf(','));
    if (!reader_.Take('}')) return false;
  }
  if (!have_dtype || !have_shape || !have_offsets) {
    return reader_.Fail(name_position, absl::StrCat("no ", !have_dtype   ? "dtype"
                                                           : !have_shape ? "shape"
                                                                         : "data_offsets"));
  }
  tensor.rank = static_cast<uint16_t>(dims_.size() - tensor.dims_at);
  if (!CheckTensor(tensor, shape_position)) return false;
  tensors_.push_back(tensor);
  return true;
}

bool SafetensorsHeader::ReadDType(wire::DType* dtype) {
  const size_t position = reader_.NextPosition();
  const auto name = reader_.String();
  if (!name) return false;
  const auto known = wire::DTypeFromName(*name);
  if (!known || !wire::IsSafetensorsDType(*known)) {
    hint_ =
        "docs/formats.md lists the dtypes that modeld knows: convert the tensor, or use a newer "
        "modeld";
    return reader_.Fail(position, absl::StrCat("unknown dtype ", Quoted(*name)));
  }
  *dtype = *known;
  return true;
}

bool SafetensorsHeader::ReadShape(const Limits& limits) {
  if (!reader_.Take('[')) return false;
  if (reader_.TakeIf(']')) return true;
  size_t rank = 0;
  do {
    const size_t position = reader_.NextPosition();
    const auto dimension = reader_.Unsigned("a dimension");
    if (!dimension) return false;
    if (*dimension > static_cast<uint64_t>(INT64_MAX)) {
      return reader_.Fail(position, "a dimension does not fit 63 bits");
    }
    if (++rank > kMaxRank) {
      hint_ = kUnusual;
      return reader_.Fail(position, absl::StrCat("more than ", kMaxRank, " dimensions"));
    }
    if (dims_.size() >= limits.dimensions) {
      hint_ = kUnusual;
      return reader_.Fail(position, absl::StrCat("more than ", kMaxDimensions,
                                                 " dimensions in all shapes together"));
    }
    dims_.push_back(static_cast<int64_t>(*dimension));
  } while (reader_.TakeIf(','));
  return reader_.Take(']');
}

bool SafetensorsHeader::ReadOffsets(Tensor* tensor) {
  if (!reader_.Take('[')) return false;
  const auto begin = reader_.Unsigned("an offset");
  if (!begin || !reader_.Take(',')) return false;
  const auto end = reader_.Unsigned("an offset");
  if (!end || !reader_.Take(']')) return false;
  tensor->begin = *begin;
  tensor->end = *end;
  return true;
}

bool SafetensorsHeader::CheckTensor(const Tensor& tensor, size_t shape_position) {
  const auto dtype = [&tensor] { return std::string(wire::DTypeName(tensor.dtype)); };
  const auto bytes = wire::ContiguousBytes(tensor.dtype, shape(tensor));
  if (!bytes) {
    return reader_.Fail(
        shape_position,
        absl::StrCat("shape ", ShapeText(shape(tensor)), " of ", dtype(),
                     wire::DTypeBits(tensor.dtype) % 8 == 0
                         ? " is too large for 64 bits"
                         : " is too large for 64 bits or does not fill whole bytes"));
  }
  if (tensor.end < tensor.begin) {
    return reader_.Fail(tensor.offsets_position,
                        absl::StrCat(OffsetsText(tensor), " end before they begin"));
  }
  if (tensor.end - tensor.begin != *bytes) {
    return reader_.Fail(
        tensor.offsets_position,
        absl::StrCat(OffsetsText(tensor), " hold ", tensor.end - tensor.begin, " bytes, but ",
                     dtype(), " ", ShapeText(shape(tensor)), " takes ", *bytes));
  }
  if (tensor.end > data_bytes_) {
    return reader_.Fail(
        tensor.offsets_position,
        absl::StrCat(OffsetsText(tensor), " go past the end of the file, which holds ", data_bytes_,
                     " bytes of tensors"));
  }
  return true;
}

absl::Status SafetensorsHeader::CheckCoverage() {
  const auto by_bytes = [](const Tensor& a, const Tensor& b) {
    return std::tie(a.begin, a.end, a.name_position) < std::tie(b.begin, b.end, b.name_position);
  };
  // Writers put tensors in this order, so there is usually nothing to sort.
  if (!std::is_sorted(tensors_.begin(), tensors_.end(), by_bytes)) {
    std::sort(tensors_.begin(), tensors_.end(), by_bytes);
  }
  uint64_t covered = 0;
  for (const Tensor& tensor : tensors_) {
    if (tensor.begin != covered) {
      return MalformedAt(
          tensor.offsets_position,
          absl::StrCat(OffsetsText(tensor), " ",
                       tensor.begin > covered ? "leave a hole behind" : "overlap what ends at",
                       " byte ", covered, " of the data"),
          tensor.name);
    }
    covered = tensor.end;
  }
  if (covered == data_bytes_) return absl::OkStatus();
  return Malformed(path_, FileByte(text_.size()) + covered,
                   absl::StrCat("the last tensor ends here, but the file goes on for ",
                                data_bytes_ - covered, " bytes"));
}

absl::Status SafetensorsHeader::MalformedAt(uint64_t position, const std::string& what,
                                            std::string_view tensor,
                                            const std::string& hint) const {
  return Malformed(path_, FileByte(position), what, tensor, hint);
}

}  // namespace modeld::checkpoint
