#include "checkpoint/torch_globals.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace modeld::checkpoint {
namespace {

using wire::DType;

constexpr uint32_t kDtypes = 1 << 16;    // plus the dtype's value
constexpr uint32_t kStorages = 1 << 17;  // plus the dtype's value
constexpr uint32_t kUntyped = 1 << 18;

struct Element {
  DType dtype;
  const char* dtype_name;
  // As Python's torch.save calls its storages, and as LibTorch does; nullptr: Python has none.
  const char* storage_name;
  const char* scalar_type_name;
};

// torch.float4_e2m1fn_x2 is here too: it is two F4 to a byte.
constexpr Element kElements[] = {
    {DType::kBool, "bool", "BoolStorage", "Bool"},
    {DType::kU8, "uint8", "ByteStorage", "Byte"},
    {DType::kI8, "int8", "CharStorage", "Char"},
    {DType::kI16, "int16", "ShortStorage", "Short"},
    {DType::kU16, "uint16", nullptr, "UInt16"},
    {DType::kF16, "float16", "HalfStorage", "Half"},
    {DType::kBF16, "bfloat16", "BFloat16Storage", "BFloat16"},
    {DType::kI32, "int32", "IntStorage", "Int"},
    {DType::kU32, "uint32", nullptr, "UInt32"},
    {DType::kF32, "float32", "FloatStorage", "Float"},
    {DType::kI64, "int64", "LongStorage", "Long"},
    {DType::kU64, "uint64", nullptr, "UInt64"},
    {DType::kF64, "float64", "DoubleStorage", "Double"},
    {DType::kC32, "complex32", nullptr, "ComplexHalf"},
    {DType::kC64, "complex64", "ComplexFloatStorage", "ComplexFloat"},
    {DType::kC128, "complex128", "ComplexDoubleStorage", "ComplexDouble"},
    {DType::kF8E4M3, "float8_e4m3fn", nullptr, "Float8_e4m3fn"},
    {DType::kF8E5M2, "float8_e5m2", nullptr, "Float8_e5m2"},
    {DType::kF8E8M0, "float8_e8m0fnu", nullptr, "Float8_e8m0fnu"},
    {DType::kF8E4M3Fnuz, "float8_e4m3fnuz", nullptr, "Float8_e4m3fnuz"},
    {DType::kF8E5M2Fnuz, "float8_e5m2fnuz", nullptr, "Float8_e5m2fnuz"},
    {DType::kF4, "float4_e2m1fn_x2", nullptr, "Float4_e2m1fn_x2"},
};

using Table = absl::flat_hash_map<std::string, PickleGlobal>;

void AddElements(Table* table) {
  for (const Element& element : kElements) {
    const auto value = static_cast<uint32_t>(element.dtype);
    (*table)[absl::StrCat("torch.", element.dtype_name)] = {PickleGlobal::Kind::kConstant,
                                                            kDtypes + value};
    const PickleGlobal storage = {PickleGlobal::Kind::kConstant, kStorages + value};
    (*table)[absl::StrCat("torch.", element.scalar_type_name, "Storage")] = storage;
    if (element.storage_name != nullptr) {
      (*table)[absl::StrCat("torch.", element.storage_name)] = storage;
      (*table)[absl::StrCat("torch.cuda.", element.storage_name)] = storage;
    }
  }
  for (const char* name :
       {"torch.UntypedStorage", "torch.storage.UntypedStorage", "torch._UntypedStorage",
        "torch.storage._UntypedStorage", "torch.cuda.UntypedStorage"}) {
    (*table)[name] = {PickleGlobal::Kind::kConstant, kUntyped};
  }
}

Table MakeTable() {
  const auto id = [](TorchGlobal global) { return static_cast<uint32_t>(global); };
  const auto function = [&](TorchGlobal global) {
    return PickleGlobal{PickleGlobal::Kind::kFunction, id(global)};
  };
  const auto constant = [&](TorchGlobal global) {
    return PickleGlobal{PickleGlobal::Kind::kConstant, id(global)};
  };
  Table table;
  AddElements(&table);
  table["collections.OrderedDict"] = {PickleGlobal::Kind::kDict, id(TorchGlobal::kDict)};
  table["collections.Counter"] = function(TorchGlobal::kPlainValue);
  table["torch._utils._rebuild_tensor"] = function(TorchGlobal::kRebuildTensor);
  table["torch._utils._rebuild_tensor_v2"] = function(TorchGlobal::kRebuildTensorV2);
  table["torch._utils._rebuild_tensor_v3"] = function(TorchGlobal::kRebuildTensorV3);
  table["torch._utils._rebuild_parameter"] = function(TorchGlobal::kRebuildParameter);
  table["torch._utils._rebuild_parameter_with_state"] =
      function(TorchGlobal::kRebuildParameterWithState);
  table["torch._tensor._rebuild_from_type_v2"] = function(TorchGlobal::kRebuildFromType);
  table["torch._utils._rebuild_device_tensor_from_cpu_tensor"] =
      function(TorchGlobal::kRebuildFromCpuTensor);
  table["torch.Tensor"] = constant(TorchGlobal::kTensorClass);
  table["torch.nn.parameter.Parameter"] = constant(TorchGlobal::kTensorClass);
  table["torch.Size"] = function(TorchGlobal::kSize);
  table["torch.device"] = function(TorchGlobal::kPlainValue);
  table["torch.serialization._get_layout"] = function(TorchGlobal::kPlainValue);
  table["_codecs.encode"] = function(TorchGlobal::kPlainValue);
  // Protocol 2 is of the days of Python 2.
  for (const char* module : {"builtins", "__builtin__"}) {
    for (const char* name : {"set", "frozenset", "complex", "bytearray"}) {
      table[absl::StrCat(module, ".", name)] = function(TorchGlobal::kPlainValue);
    }
  }
  return table;
}

std::string FullName(std::string_view module, std::string_view name) {
  return std::string(module) + "." + std::string(name);
}

}  // namespace

std::optional<TorchElement> ElementOf(const PickleGlobal& global) {
  if (global.id >= kUntyped) return TorchElement{.storage = true, .untyped = true};
  if (global.id < kDtypes) return std::nullopt;
  const bool storage = global.id >= kStorages;
  return TorchElement{.storage = storage,
                      .dtype = static_cast<DType>(global.id - (storage ? kStorages : kDtypes))};
}

std::optional<PickleGlobal> FindTorchGlobal(std::string_view module, std::string_view name) {
  static const Table table = MakeTable();
  const auto found = table.find(FullName(module, name));
  return found == table.end() ? std::nullopt : std::optional(found->second);
}

std::optional<PickleGlobal> FindTorchScriptGlobal(std::string_view module, std::string_view name) {
  if (module == "__torch__" || module.starts_with("__torch__.")) {
    return PickleGlobal{PickleGlobal::Kind::kClass,
                        static_cast<uint32_t>(TorchGlobal::kScriptClass)};
  }
  if (module == "torch.jit._pickle") {
    if (name == "restore_type_tag") {
      return PickleGlobal{PickleGlobal::Kind::kFunction,
                          static_cast<uint32_t>(TorchGlobal::kTypeTag)};
    }
    if (name == "build_tensorlist" || name == "build_intlist" || name == "build_doublelist" ||
        name == "build_boollist") {
      return PickleGlobal{PickleGlobal::Kind::kFunction,
                          static_cast<uint32_t>(TorchGlobal::kTypedList)};
    }
  }
  return FindTorchGlobal(module, name);
}

std::string WhyRefused(std::string_view global) {
  const auto is = [global](std::string_view name) { return global == name; };
  if (is("torch._utils._rebuild_qtensor") || global.starts_with("torch.QInt") ||
      global.starts_with("torch.QUInt") || global.starts_with("torch.qint") ||
      global.starts_with("torch.quint") || global.starts_with("torch.per_")) {
    return ", which makes a quantized tensor: its elements mean nothing without its scales";
  }
  if (is("torch._utils._rebuild_sparse_tensor") || is("torch._utils._rebuild_sparse_csr_tensor") ||
      global.starts_with("torch.sparse")) {
    return ", which makes a sparse tensor: it has no plain layout";
  }
  if (is("torch._utils._rebuild_nested_tensor")) {
    return ", which makes a nested tensor: it has no plain layout";
  }
  if (is("torch._utils._rebuild_meta_tensor_no_storage")) {
    return ", which makes a tensor on the meta device: it has no bytes";
  }
  if (is("torch._utils._rebuild_wrapper_subclass")) {
    return ", which makes a tensor of a class of its own: its layout is that class's secret";
  }
  if (is("torch._utils._rebuild_device_tensor_from_numpy") || global.starts_with("numpy.")) {
    return ", which makes an array of NumPy and no tensor of PyTorch";
  }
  if (global.starts_with("torch.nn.") || global.starts_with("__torch__")) {
    return ", which makes a whole module: only its state_dict() is data";
  }
  return ", which would have to be imported and called: modeld does neither";
}

}  // namespace modeld::checkpoint
