#include "checkpoint/gguf_header.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <tuple>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "checkpoint/gguf.h"
#include "checkpoint/malformed.h"
#include "checkpoint/mistaken.h"
#include "checkpoint/read_file.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/tensor_table.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr char kUnusualGguf[] =
    "no writer of GGUF is known to make this: check where the file comes from";

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kMaxKeyBytes = 65'535;  // the format's
constexpr size_t kMaxDims = 4;           // ggml's
constexpr int kMaxArrayDepth = 8;
// Arrays are told in full up to this many elements: shapes and layer lists, not vocabularies.
constexpr uint64_t kMaxArrayElementsTold = 64;

// The types of metadata values, by number.
enum GgufType : uint32_t { kBool = 7, kString = 8, kArray = 9 };

struct ValueType {
  const char* name;
  uint32_t bytes;  // 0: not fixed
};
constexpr ValueType kTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

template <typename T>
std::string NumberText(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  if constexpr (std::is_floating_point_v<T>) {
    char text[64];  // the shortest that reads back as the same
    const auto end = std::to_chars(text, text + sizeof(text), value);
    return std::string(text, end.ptr);
  } else {
    return std::to_string(value);
  }
}

// REQUIRES: a type of fixed size, and its bytes.
std::string ScalarText(uint32_t type, const char* bytes) {
  switch (type) {
    case 0:
      return NumberText<uint8_t>(bytes);
    case 1:
      return NumberText<int8_t>(bytes);
    case 2:
      return NumberText<uint16_t>(bytes);
    case 3:
      return NumberText<int16_t>(bytes);
    case 4:
      return NumberText<uint32_t>(bytes);
    case 5:
      return NumberText<int32_t>(bytes);
    case 6:
      return NumberText<float>(bytes);
    case kBool:
      return *bytes == 0 ? "false" : "true";
    case 10:
      return NumberText<uint64_t>(bytes);
    case 11:
      return NumberText<int64_t>(bytes);
    default:
      return NumberText<double>(bytes);
  }
}

// ggml's number to a dtype; nullopt: none that files have.
std::optional<wire::DType> DTypeOfGgml(uint32_t type) {
  switch (type) {
    case 0:
      return wire::DType::kF32;
    case 1:
      return wire::DType::kF16;
    case 24:
      return wire::DType::kI8;
    case 25:
      return wire::DType::kI16;
    case 26:
      return wire::DType::kI32;
    case 27:
      return wire::DType::kI64;
    case 28:
      return wire::DType::kF64;
    case 30:
      return wire::DType::kBF16;
    default:
      break;
  }
  if (type > UINT16_MAX - wire::kFirstGgmlDType) return std::nullopt;
  const auto value = static_cast<uint16_t>(wire::kFirstGgmlDType + type);
  return wire::IsDType(value) ? std::optional(static_cast<wire::DType>(value)) : std::nullopt;
}

}  // namespace

absl::Status GgufHeader::Read(const Limits& limits) {
  uint64_t tensor_count = 0;
  uint64_t pair_count = 0;
  if (auto status = ReadStart(&tensor_count, &pair_count, limits); !status.ok()) return status;
  for (uint64_t i = 0; i < pair_count; ++i) {
    if (auto status = ReadPair(); !status.ok()) return status;
  }
  absl::flat_hash_set<std::string_view> keys;
  for (const Pair& pair : metadata_) {
    if (!keys.insert(View(pair.key)).second) {
      return MalformedAt(pair.key.at, absl::StrCat("a second key ", Quoted(View(pair.key))));
    }
  }
  for (uint64_t i = 0; i < tensor_count; ++i) {
    if (auto status = ReadTensor(limits); !status.ok()) return status;
  }
  current_.reset();
  if (auto status = CheckNames(); !status.ok()) return status;
  return CheckPlaces();
}

absl::Status GgufHeader::ReadStart(uint64_t* tensor_count, uint64_t* pair_count,
                                   const Limits& limits) {
  if (auto status = Need(4, "the magic"); !status.ok()) return status;
  if (std::string_view(bytes_).substr(0, 4) != "GGUF") {
    const auto start = std::as_bytes(std::span(bytes_)).first(std::min(bytes_.size(), kSniffBytes));
    return MalformedAt(0, "the file must start with \"GGUF\"", MistakenForModel(start));
  }
  at_ = 4;
  uint32_t version = 0;
  if (auto status = Integer(&version, "the version"); !status.ok()) return status;
  if (version != 2 && version != 3) {
    if (version == 0) return MalformedAt(4, "version 0");
    if ((version & 0xFFFF) == 0) {
      return Unsupported("is in big-endian byte order",
                         "convert it with gguf-py's gguf_convert_endian.py");
    }
    return Unsupported(
        absl::StrCat("is of GGUF version ", version, ", and modeld reads 2 and 3"),
        version == 1 ? "write it anew with a current llama.cpp" : "use a newer modeld");
  }
  if (auto status = Integer(tensor_count, "the number of tensors"); !status.ok()) return status;
  if (*tensor_count > limits.tensors) {
    return MalformedAt(8, absl::StrCat(*tensor_count, " tensors, more than ", kMaxTensors),
                       kUnusualGguf);
  }
  if (auto status = Integer(pair_count, "the number of metadata pairs"); !status.ok()) {
    return status;
  }
  if (*pair_count > kMaxMetadata) {
    return MalformedAt(16, absl::StrCat(*pair_count, " metadata pairs, more than ", kMaxMetadata),
                       kUnusualGguf);
  }
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadPair() {
  Pair pair;
  const size_t position = at_;
  if (auto status = String(&pair.key, "a key"); !status.ok()) return status;
  if (pair.key.bytes == 0 || pair.key.bytes > kMaxKeyBytes) {
    return MalformedAt(position, absl::StrCat("a key of ", pair.key.bytes, " bytes; it has from 1 ",
                                              "to ", kMaxKeyBytes));
  }
  if (!wire::IsUtf8(View(pair.key))) return MalformedAt(pair.key.at, "a key that is not UTF-8");
  uint32_t type = 0;
  const size_t type_position = at_;
  if (auto status = Integer(&type, "the type of a value"); !status.ok()) return status;
  const std::string key(View(pair.key));
  const size_t value_at = at_;
  if (type == kString) {
    Text text;
    if (auto status = String(&text, "a string"); !status.ok()) return status;
    // Descriptions that were cut off in the middle of a character exist.
    if (wire::IsUtf8(View(text))) {
      pair.text = text;
    } else {
      pair.value = wire::ToUtf8(View(text));
    }
  } else if (auto status = ReadValue(type, type_position, 0, &pair.value); !status.ok()) {
    return status;
  }
  if (key == "general.alignment") {
    at_ = value_at;
    if (auto status = ReadAlignment(type, type_position); !status.ok()) return status;
  } else if (key == "split.count" && type < kString) {
    uint64_t count = 0;
    const char* const end = pair.value.data() + pair.value.size();
    if (std::from_chars(pair.value.data(), end, count).ptr == end) split_count_ = count;
  }
  metadata_.push_back(std::move(pair));
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadAlignment(uint32_t type, size_t type_position) {
  if (type != 4) {
    return MalformedAt(type_position, "general.alignment must be a u32");
  }
  uint32_t alignment = 0;
  const size_t position = at_;
  if (auto status = Integer(&alignment, "the alignment"); !status.ok()) return status;
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
    return MalformedAt(position,
                       absl::StrCat("an alignment of ", alignment, ", which is no power of two"));
  }
  alignment_ = alignment;
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadValue(uint32_t type, size_t type_position, int depth,
                                   std::string* out) {
  if (type >= std::size(kTypes)) {
    return MalformedAt(type_position, absl::StrCat("a value of the unknown type ", type));
  }
  if (type == kArray) return ReadArray(depth, out);
  if (type == kString) {
    Text text;
    if (auto status = String(&text, "a string"); !status.ok()) return status;
    if (out != nullptr) *out = wire::ToUtf8(View(text));
    return absl::OkStatus();
  }
  if (auto status = Need(kTypes[type].bytes, "a value"); !status.ok()) return status;
  const char* const bytes = bytes_.data() + at_;
  if (type == kBool && static_cast<unsigned char>(*bytes) > 1) {
    return MalformedAt(at_, "a bool that is neither 0 nor 1");
  }
  if (out != nullptr) *out = ScalarText(type, bytes);
  at_ += kTypes[type].bytes;
  return absl::OkStatus();
}

// Told as JSON where it is short, or else as what it is: `string[32000]`.
absl::Status GgufHeader::ReadArray(int depth, std::string* out) {
  const size_t position = at_;
  if (depth == kMaxArrayDepth) {
    return MalformedAt(position,
                       absl::StrCat("arrays nested more than ", kMaxArrayDepth, " levels deep"),
                       kUnusualGguf);
  }
  uint32_t type = 0;
  uint64_t count = 0;
  if (auto status = Integer(&type, "the type of an array"); !status.ok()) return status;
  if (type >= std::size(kTypes)) {
    return MalformedAt(position, absl::StrCat("an array of the unknown type ", type));
  }
  const size_t count_position = at_;
  if (auto status = Integer(&count, "the length of an array"); !status.ok()) return status;
  // The least that an element takes: nothing is counted through that cannot be there.
  const uint32_t least = type == kString ? 8 : type == kArray ? 12 : kTypes[type].bytes;
  if (count > file_.size_bytes / least) {
    return MalformedAt(count_position,
                       absl::StrCat("an array of ", count, " elements of at least ", least,
                                    " bytes, in a file of ", file_.size_bytes));
  }
  const bool told = out != nullptr && count <= kMaxArrayElementsTold && type != kArray;
  if (kTypes[type].bytes > 0 && !told) {
    if (auto status = Need(count * least, "an array"); !status.ok()) return status;
    at_ += count * least;
  } else {
    std::vector<std::string> values;
    for (uint64_t i = 0; i < count; ++i) {
      std::string value;
      if (auto status = ReadValue(type, position, depth + 1, told ? &value : nullptr);
          !status.ok()) {
        return status;
      }
      if (!told) continue;
      values.push_back(type == kString ? absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\"")
                                       : std::move(value));
    }
    if (told) *out = absl::StrCat("[", absl::StrJoin(values, ", "), "]");
  }
  if (out != nullptr && !told) *out = absl::StrCat(kTypes[type].name, "[", count, "]");
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadTensor(const Limits& limits) {
  current_.reset();
  Tensor tensor;
  if (auto status = String(&tensor.name, "a tensor's name"); !status.ok()) return status;
  if (!wire::IsUtf8(View(tensor.name))) {
    return MalformedAt(tensor.name.at, "a tensor's name that is not UTF-8");
  }
  current_ = tensor.name;
  const size_t shape_position = at_;
  if (auto status = ReadShape(limits, &tensor); !status.ok()) return status;
  if (auto status = ReadType(&tensor, shape_position); !status.ok()) return status;
  tensor.offset_position = static_cast<uint32_t>(at_);
  if (auto status = Integer(&tensor.begin, "a tensor's offset"); !status.ok()) return status;
  if (tensor.begin % alignment_ != 0) {
    return MalformedAt(
        tensor.offset_position,
        absl::StrCat("offset ", tensor.begin, " is no multiple of the alignment, ", alignment_));
  }
  tensors_.push_back(tensor);
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadShape(const Limits& limits, Tensor* tensor) {
  const size_t position = at_;
  uint32_t rank = 0;
  if (auto status = Integer(&rank, "the number of dimensions"); !status.ok()) return status;
  if (rank > kMaxDims) {
    return MalformedAt(
        position, absl::StrCat(rank, " dimensions, more than the ", kMaxDims, " that ggml has"));
  }
  if (rank > limits.dimensions - std::min(limits.dimensions, dims_.size())) {
    return MalformedAt(
        position, absl::StrCat("more than ", kMaxDimensions, " dimensions in all shapes together"),
        kUnusualGguf);
  }
  tensor->dims_at = static_cast<uint32_t>(dims_.size());
  tensor->rank = static_cast<uint16_t>(rank);
  for (uint32_t i = 0; i < rank; ++i) {
    uint64_t dimension = 0;
    const size_t dimension_position = at_;
    if (auto status = Integer(&dimension, "a dimension"); !status.ok()) return status;
    if (dimension > static_cast<uint64_t>(INT64_MAX)) {
      return MalformedAt(dimension_position, "a dimension does not fit 63 bits");
    }
    dims_.push_back(static_cast<int64_t>(dimension));
  }
  // ggml counts from the innermost dimension.
  std::reverse(dims_.end() - rank, dims_.end());
  return absl::OkStatus();
}

absl::Status GgufHeader::ReadType(Tensor* tensor, size_t shape_position) {
  const size_t position = at_;
  uint32_t type = 0;
  if (auto status = Integer(&type, "a tensor's type"); !status.ok()) return status;
  const auto dtype = DTypeOfGgml(type);
  if (!dtype) {
    const std::string name = Quoted(View(*current_));
    return Unsupported(absl::StrCat("has tensor ", name, " of ggml type ", type, " at byte ",
                                    position, ", which modeld does not know"),
                       "docs/tensor-table.md lists the types that modeld knows: quantize it anew "
                       "with a current llama.cpp, or use a newer modeld");
  }
  tensor->dtype = *dtype;
  const auto bytes = wire::ContiguousBytes(*dtype, shape(*tensor));
  if (!bytes) {
    return MalformedAt(shape_position,
                       absl::StrCat("shape [", absl::StrJoin(shape(*tensor), ","), "] of ",
                                    std::string(wire::DTypeName(*dtype)),
                                    wire::IsBlockDType(*dtype)
                                        ? absl::StrCat(" is too large for 64 bits or does not fill "
                                                       "whole blocks of ",
                                                       wire::DTypeBlockOf(*dtype).elements)
                                        : " is too large for 64 bits"));
  }
  tensor->size_bytes = *bytes;
  return absl::OkStatus();
}

absl::Status GgufHeader::CheckNames() const {
  absl::flat_hash_set<std::string_view> names;
  names.reserve(tensors_.size());
  for (const Tensor& tensor : tensors_) {
    const std::string_view name = View(tensor.name);
    if (!names.insert(name).second) {
      return Malformed(file_.path, tensor.name.at, "a second tensor of this name", name,
                       "give each tensor a name of its own");
    }
  }
  return absl::OkStatus();
}

// Each tensor begins at the first multiple of the alignment behind the one before.
absl::Status GgufHeader::CheckPlaces() {
  data_at_ = wire::CheckedAlignUp(at_, alignment_).value_or(UINT64_MAX);
  const auto by_bytes = [](const Tensor& a, const Tensor& b) {
    return std::tie(a.begin, a.size_bytes, a.offset_position) <
           std::tie(b.begin, b.size_bytes, b.offset_position);
  };
  if (!std::is_sorted(tensors_.begin(), tensors_.end(), by_bytes)) {
    std::sort(tensors_.begin(), tensors_.end(), by_bytes);
  }
  uint64_t covered = 0;
  for (const Tensor& tensor : tensors_) {
    current_ = tensor.name;
    const auto expected = wire::CheckedAlignUp(covered, alignment_);
    if (!expected || tensor.begin != *expected) {
      return MalformedAt(tensor.offset_position,
                         absl::StrCat("offset ", tensor.begin, " ",
                                      tensor.begin < covered ? "overlaps" : "leaves a hole behind",
                                      " what ends at byte ", covered, " of the data"));
    }
    const uint64_t data_bytes = file_.size_bytes > data_at_ ? file_.size_bytes - data_at_ : 0;
    if (!wire::RangeFits(tensor.begin, tensor.size_bytes, data_bytes)) {
      return MalformedAt(tensor.offset_position,
                         absl::StrCat(tensor.size_bytes, " bytes at offset ", tensor.begin,
                                      " go past the end of the file, which holds ", data_bytes,
                                      " bytes of tensors"));
    }
    covered = tensor.begin + tensor.size_bytes;
  }
  current_.reset();
  // Writers pad the last tensor, too.
  const uint64_t end = tensors_.empty() ? at_ : data_at_ + covered;
  const uint64_t padded = wire::CheckedAlignUp(end, alignment_).value_or(UINT64_MAX);
  if (file_.size_bytes > padded) {
    return MalformedAt(end, absl::StrCat("the last tensor ends here, but the file goes on for ",
                                         file_.size_bytes - end, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status GgufHeader::Need(uint64_t count, const char* what) {
  if (count <= bytes_.size() - at_) return absl::OkStatus();
  if (count > file_.size_bytes - at_) {
    return MalformedAt(file_.size_bytes, absl::StrCat("the file ends within ", what));
  }
  const uint64_t end = at_ + count;
  if (end > kMaxGgufHeaderBytes) {
    return MalformedAt(at_,
                       absl::StrCat("with ", what, " of ", count, " bytes what lies before the ",
                                    "tensors takes more than ", kMaxGgufHeaderBytes, " bytes"),
                       kUnusualGguf);
  }
  const uint64_t have = bytes_.size();
  const uint64_t wanted = std::min({std::max(end, have + std::max<uint64_t>(have, kPieceBytes)),
                                    file_.size_bytes, kMaxGgufHeaderBytes});
  bytes_.resize(wanted);
  return ReadFully(file_, have,
                   std::as_writable_bytes(std::span(bytes_)).subspan(static_cast<size_t>(have)));
}

template <typename T>
absl::Status GgufHeader::Integer(T* value, const char* what) {
  if (auto status = Need(sizeof(T), what); !status.ok()) return status;
  std::memcpy(value, bytes_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return absl::OkStatus();
}

absl::Status GgufHeader::String(Text* text, const char* what) {
  uint64_t length = 0;
  if (auto status = Integer(&length, what); !status.ok()) return status;
  if (auto status = Need(length, what); !status.ok()) return status;
  text->at = static_cast<uint32_t>(at_);
  text->bytes = static_cast<uint32_t>(length);
  at_ += length;
  return absl::OkStatus();
}

absl::Status GgufHeader::MalformedAt(uint64_t position, const std::string& what,
                                     const std::string& hint) const {
  return Malformed(file_.path, position, what, current_ ? View(*current_) : std::string_view(),
                   hint);
}

absl::Status GgufHeader::Unsupported(const std::string& what, const std::string& hint) const {
  const std::string path = wire::ToUtf8(file_.path);
  return wire::MakeError(wire::Reason::kFormatUnsupported, absl::StrCat(path, " ", what),
                         {{"file", path}}, hint);
}

}  // namespace modeld::checkpoint
