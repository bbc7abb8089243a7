#include "checkpoint/torch_tensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/collector.h"
#include "checkpoint/malformed.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/strided_reader.h"
#include "wire/tensor_table.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

using Kind = PickleReader::Kind;

// A tensor within a parameter within a tensor with attributes: real ones go two deep.
constexpr int kMaxWrappings = 8;

// Bytes from the first to one past the last element; nullopt where that overflows.
std::optional<uint64_t> ExtentBytes(const TorchTensor& tensor, uint64_t element_bytes) {
  const auto contiguous = wire::ContiguousBytes(wire::DType::kU8, tensor.shape);
  if (!contiguous) return std::nullopt;
  if (*contiguous == 0) return 0;
  uint64_t last = 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const auto step = wire::CheckedMul(static_cast<uint64_t>(tensor.shape[i] - 1),
                                       static_cast<uint64_t>(tensor.strides[i]));
    const auto next = step ? wire::CheckedAdd(last, *step) : std::nullopt;
    if (!next) return std::nullopt;
    last = *next;
  }
  const auto count = wire::CheckedAdd(last, 1);
  return count ? wire::CheckedMul(*count, element_bytes) : std::nullopt;
}

}  // namespace

absl::Status TorchPickle::Malformed(PickleReader::Value value, const std::string& what,
                                    std::string_view tensor) const {
  return checkpoint::Malformed(file->path, ByteOf(pickle->position(value)), what, tensor);
}

absl::Status TorchUnsupported(const InputFile& file, uint64_t byte, const std::string& what,
                              std::string_view global, std::string_view tensor) {
  const std::string path = wire::ToUtf8(file.path);
  wire::ErrorMetadata metadata = {{"file", path}, {"byte", absl::StrCat(byte)}};
  if (!global.empty()) metadata["global"] = wire::ToUtf8(global);
  std::string message = absl::StrCat(path, ": byte ", byte, ": ");
  if (!tensor.empty()) {
    metadata["tensor"] = wire::ToUtf8(tensor.substr(0, kMaxZipNameBytes));
    absl::StrAppend(&message, "tensor ", Quoted(tensor), ": ");
  }
  return wire::MakeError(
      wire::Reason::kFormatUnsupported, absl::StrCat(message, what), std::move(metadata),
      "if you trust the file (this runs what it holds), save its plain tensors: python3 -c "
      "\"import "
      "sys, torch; m = torch.load(sys.argv[1], 'cpu', weights_only=False); s = m.state_dict() if "
      "hasattr(m, 'state_dict') else m.get('state_dict', m); torch.save({k: v.contiguous() for k, "
      "v "
      "in s.items() if torch.is_tensor(v)}, sys.argv[2])\" OLD.pt NEW.pt");
}

absl::Status TorchTensors::Unsupported(Value value, const std::string& what,
                                       std::string_view name) const {
  return TorchUnsupported(*source_.file, source_.ByteOf(pickle_.position(value)), what, {}, name);
}

bool TorchTensors::IsTensor(Value value) const {
  if (pickle_.kind(value) != Kind::kCall) return false;
  switch (static_cast<TorchGlobal>(pickle_.global(pickle_.callee(value)).id)) {
    case TorchGlobal::kRebuildTensor:
    case TorchGlobal::kRebuildTensorV2:
    case TorchGlobal::kRebuildTensorV3:
    case TorchGlobal::kRebuildParameter:
    case TorchGlobal::kRebuildParameterWithState:
    case TorchGlobal::kRebuildFromType:
    case TorchGlobal::kRebuildFromCpuTensor:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<TorchTensor> TorchTensors::Read(Value value, std::string_view name) {
  auto tensor = ReadCall(value, name, 0);
  if (tensor.ok()) tensor->name = name;
  return tensor;
}

absl::StatusOr<TorchTensor> TorchTensors::ReadCall(Value value, std::string_view name, int depth) {
  if (!IsTensor(value)) {
    return source_.Malformed(value, "something else stands where a tensor should be", name);
  }
  const auto function = static_cast<TorchGlobal>(pickle_.global(pickle_.callee(value)).id);
  return ReadFunction(function, pickle_.items(pickle_.arguments(value)), value, name, depth);
}

absl::StatusOr<TorchTensor> TorchTensors::ReadFunction(TorchGlobal function,
                                                       std::span<const Value> arguments,
                                                       Value value, std::string_view name,
                                                       int depth) {
  if (depth > kMaxWrappings) {
    return source_.Malformed(value, "a tensor wrapped in tensors without end", name);
  }
  const auto wrong_count = [&] {
    return source_.Malformed(
        value, absl::StrCat("a tensor made of ", arguments.size(), " arguments"), name);
  };
  const auto element = [&](Value global) -> std::optional<TorchElement> {
    if (pickle_.kind(global) != Kind::kGlobal) return std::nullopt;
    return ElementOf(pickle_.global(global));
  };
  switch (function) {
    case TorchGlobal::kRebuildParameter:
    case TorchGlobal::kRebuildParameterWithState:
      if (arguments.size() != (function == TorchGlobal::kRebuildParameter ? 3 : 4)) {
        return wrong_count();
      }
      return ReadCall(arguments[0], name, depth + 1);
    case TorchGlobal::kRebuildFromCpuTensor: {
      if (arguments.size() != 4) return wrong_count();
      auto tensor = ReadCall(arguments[0], name, depth + 1);
      if (!tensor.ok()) return tensor;
      const auto wanted = element(arguments[1]);
      if (!wanted || wanted->storage || wanted->dtype != tensor->dtype) {
        return Unsupported(value, "a tensor that is to be converted when it is loaded", name);
      }
      return tensor;
    }
    case TorchGlobal::kRebuildFromType: {
      // What it has besides (attributes of its own) is not weights.
      if (arguments.size() != 4) return wrong_count();
      const auto is = [&](Value global, TorchGlobal meaning) {
        return pickle_.kind(global) == Kind::kGlobal &&
               pickle_.global(global).id == static_cast<uint32_t>(meaning);
      };
      if (pickle_.kind(arguments[0]) != Kind::kGlobal ||
          pickle_.kind(arguments[2]) != Kind::kTuple) {
        return source_.Malformed(value, "a tensor made by something that is no function", name);
      }
      if (!is(arguments[1], TorchGlobal::kTensorClass)) {
        return Unsupported(value, "a tensor of a class of its own", name);
      }
      return ReadFunction(static_cast<TorchGlobal>(pickle_.global(arguments[0]).id),
                          pickle_.items(arguments[2]), value, name, depth + 1);
    }
    case TorchGlobal::kRebuildTensor:
      if (arguments.size() != 4) return wrong_count();
      break;
    case TorchGlobal::kRebuildTensorV2:
      if (arguments.size() != 6 && arguments.size() != 7) return wrong_count();
      break;
    case TorchGlobal::kRebuildTensorV3:
      if (arguments.size() != 7 && arguments.size() != 8) return wrong_count();
      break;
    default:
      return source_.Malformed(value, "something else stands where a tensor should be", name);
  }
  return ReadRebuild(function, arguments, value, name);
}

absl::StatusOr<TorchTensor> TorchTensors::ReadRebuild(TorchGlobal function,
                                                      std::span<const Value> arguments, Value value,
                                                      std::string_view name) {
  const auto storage = ReadStorage(arguments[0], name);
  if (!storage.ok()) return storage.status();
  TorchTensor tensor;
  tensor.storage = storage->record;
  tensor.dtype = storage->dtype;
  size_t metadata_at = 6;
  if (function == TorchGlobal::kRebuildTensorV3) {
    metadata_at = 7;
    const auto element = pickle_.kind(arguments[6]) == Kind::kGlobal
                             ? ElementOf(pickle_.global(arguments[6]))
                             : std::nullopt;
    if (!element || element->storage) {
      return source_.Malformed(value, "a tensor whose dtype is none", name);
    }
    tensor.dtype = element->dtype;
  }
  if (metadata_at < arguments.size()) {
    if (auto status = CheckBits(arguments[metadata_at], name); !status.ok()) return status;
  }
  if (!IsInt(arguments[1]) || pickle_.integer(arguments[1]) < 0) {
    return source_.Malformed(value, "a tensor whose offset in its storage is no count", name);
  }
  if (auto status = ReadSizes(arguments[2], "dimension", name, &tensor.shape); !status.ok()) {
    return status;
  }
  if (auto status = ReadSizes(arguments[3], "stride", name, &tensor.strides); !status.ok()) {
    return status;
  }
  if (tensor.shape.size() != tensor.strides.size()) {
    return source_.Malformed(value,
                             absl::StrCat("a tensor of ", tensor.shape.size(), " dimensions and ",
                                          tensor.strides.size(), " strides"),
                             name);
  }
  // Two F4 to a byte: PyTorch counts the bytes.
  const uint64_t element_bytes =
      tensor.dtype == wire::DType::kF4 ? 1 : wire::DTypeBits(tensor.dtype) / 8;
  const auto begin =
      wire::CheckedMul(static_cast<uint64_t>(pickle_.integer(arguments[1])), element_bytes);
  const auto extent = ExtentBytes(tensor, element_bytes);
  if (!begin || !extent || !wire::RangeFits(*begin, *extent, storage->size_bytes)) {
    return source_.Malformed(
        value,
        absl::StrCat("a tensor that reaches beyond its storage of ", storage->size_bytes, " bytes"),
        name);
  }
  tensor.storage_offset = *begin;
  tensor.file_offset = storage->file_offset + *begin;
  tensor.size_bytes = *extent;
  if (tensor.dtype == wire::DType::kF4) {
    if (auto status = UnpackHalfBytes(value, &tensor); !status.ok()) return status;
  }
  return tensor;
}

absl::StatusOr<TorchTensors::Storage> TorchTensors::ReadStorage(Value value,
                                                                std::string_view name) {
  const auto malformed = [&](const std::string& what) {
    return source_.Malformed(value, what, name);
  };
  if (pickle_.kind(value) != Kind::kPersistent) return malformed("a tensor without a storage");
  const Value id = pickle_.items(value)[0];
  const auto parts = pickle_.items(id);
  if (pickle_.kind(id) != Kind::kTuple || parts.size() != 5 ||
      pickle_.kind(parts[0]) != Kind::kText || pickle_.text(parts[0]) != "storage" ||
      pickle_.kind(parts[1]) != Kind::kGlobal || pickle_.kind(parts[2]) != Kind::kText ||
      pickle_.kind(parts[3]) != Kind::kText || !IsInt(parts[4]) || pickle_.integer(parts[4]) < 0) {
    return malformed("a storage that is not told as (\"storage\", class, key, place, elements)");
  }
  const auto element = ElementOf(pickle_.global(parts[1]));
  if (!element || !element->storage) return malformed("a storage whose class is none");
  const std::string_view place = pickle_.text(parts[3]);
  if (place == "meta") {
    return Unsupported(value, "a tensor on the meta device, which has no bytes", name);
  }
  const ZipRecord* const record =
      zip_.Find(absl::StrCat(folder_, std::string(pickle_.text(parts[2]))));
  if (record == nullptr) {
    return malformed(absl::StrCat("its storage should be record ",
                                  Quoted(folder_ + std::string(pickle_.text(parts[2]))),
                                  ", which is not in the archive"));
  }
  if (record->deflated) {
    return TorchUnsupported(*source_.file, record->directory_entry,
                            absl::StrCat("its storage, record ", Quoted(record->name),
                                         ", is compressed: there is nothing to map"),
                            {}, name);
  }
  const uint64_t element_bytes = element->untyped || element->dtype == wire::DType::kF4
                                     ? 1
                                     : wire::DTypeBits(element->dtype) / 8;
  const auto bytes =
      wire::CheckedMul(static_cast<uint64_t>(pickle_.integer(parts[4])), element_bytes);
  if (!bytes || *bytes > record->size_bytes) {
    return malformed(absl::StrCat("its storage of ", pickle_.integer(parts[4]), " elements is in ",
                                  "record ", Quoted(record->name), " of ", record->size_bytes,
                                  " bytes"));
  }
  keys_.insert(parts[2]);
  const auto [located, is_new] = located_.try_emplace(record, 0);
  if (is_new) {
    const auto offset = zip_.Locate(*record);
    if (!offset.ok()) return offset.status();
    located->second = *offset;
  }
  return Storage{.record = record,
                 .file_offset = located->second,
                 .size_bytes = *bytes,
                 .dtype = element->dtype};
}

absl::Status TorchTensors::ReadSizes(Value value, std::string_view what, std::string_view name,
                                     std::vector<int64_t>* sizes) const {
  // torch.Size of a tuple is that tuple.
  if (pickle_.kind(value) == Kind::kCall &&
      pickle_.global(pickle_.callee(value)).id == static_cast<uint32_t>(TorchGlobal::kSize)) {
    const auto arguments = pickle_.items(pickle_.arguments(value));
    if (arguments.size() == 1) value = arguments[0];
  }
  if (pickle_.kind(value) != Kind::kTuple) {
    return source_.Malformed(value, absl::StrCat("a ", std::string(what), " list that is no tuple"),
                             name);
  }
  const auto items = pickle_.items(value);
  if (items.size() > kMaxRank) {
    return source_.Malformed(
        value, absl::StrCat("a tensor of ", items.size(), " dimensions, more than ", kMaxRank),
        name);
  }
  for (const Value item : items) {
    if (!IsInt(item) || pickle_.integer(item) < 0) {
      return source_.Malformed(value, absl::StrCat("a ", std::string(what), " that is no count"),
                               name);
    }
    sizes->push_back(pickle_.integer(item));
  }
  return absl::OkStatus();
}

// Views that are conjugated or negated only when they are read: their bytes are not their values.
absl::Status TorchTensors::CheckBits(Value metadata, std::string_view name) const {
  if (pickle_.kind(metadata) == Kind::kNone) return absl::OkStatus();
  const auto items = pickle_.items(metadata);
  if (pickle_.kind(metadata) != Kind::kDict) {
    return source_.Malformed(metadata, "a tensor whose metadata is no dict", name);
  }
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (pickle_.kind(items[i + 1]) == Kind::kBool && !pickle_.boolean(items[i + 1])) continue;
    const bool named = pickle_.kind(items[i]) == Kind::kText;
    return Unsupported(
        metadata,
        absl::StrCat("it was saved with its ", named ? Quoted(pickle_.text(items[i])) : "unknown",
                     " bit set: its bytes are not its values"),
        name);
  }
  return absl::OkStatus();
}

absl::Status TorchTensors::UnpackHalfBytes(Value value, TorchTensor* tensor) const {
  int64_t last = 0;
  if (tensor->shape.empty() || !wire::IsContiguous(tensor->shape, tensor->strides) ||
      __builtin_mul_overflow(tensor->shape.back(), 2, &last)) {
    return Unsupported(value, "two F4 to a byte in a tensor that is not contiguous", tensor->name);
  }
  tensor->shape.back() = last;
  tensor->strides = wire::ContiguousStrides(tensor->shape);
  return absl::OkStatus();
}

std::vector<PickleReader::Value> TorchTensors::StorageKeys() const {
  std::vector<Value> keys(keys_.begin(), keys_.end());
  std::ranges::sort(keys, {}, [this](Value key) { return pickle_.position(key); });
  return keys;
}

void SortAndMarkAliases(std::vector<TorchTensor>& tensors) {
  std::ranges::stable_sort(tensors, {}, &TorchTensor::file_offset);
  size_t first = 0;  // of those that overlap without a gap
  uint64_t end = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    TorchTensor& tensor = tensors[i];
    if (tensor.size_bytes == 0) continue;
    if (tensor.file_offset >= end) {
      first = i;
    } else {
      tensors[first].alias = true;
      tensor.alias = true;
    }
    end = std::max(end, tensor.file_offset + tensor.size_bytes);
  }
}

}  // namespace modeld::checkpoint
