#include "modeld/torch.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/module.h>
#include <torch/version.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "modeld/cuda.h"
#include "modeld/error.h"

#define MODELD_TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) ||         \
   (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

namespace modeld {
namespace {

// Absent: this LibTorch has no such dtype. Sub-byte types and quantized blocks are absent
// everywhere: LibTorch packs them into bytes, which changes the shape.
std::optional<at::ScalarType> ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kU8:
      return at::kByte;
    case DType::kI8:
      return at::kChar;
    case DType::kI16:
      return at::kShort;
    case DType::kI32:
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    case DType::kC32:
      return at::kComplexHalf;
    case DType::kC64:
      return at::kComplexFloat;
    case DType::kC128:
      return at::kComplexDouble;
#if MODELD_TORCH_AT_LEAST(2, 1)
    case DType::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case DType::kF8E5M2:
      return at::kFloat8_e5m2;
#endif
#if MODELD_TORCH_AT_LEAST(2, 2)
    case DType::kF8E4M3Fnuz:
      return at::kFloat8_e4m3fnuz;
    case DType::kF8E5M2Fnuz:
      return at::kFloat8_e5m2fnuz;
#endif
#if MODELD_TORCH_AT_LEAST(2, 3)
    case DType::kU16:
      return at::kUInt16;
    case DType::kU32:
      return at::kUInt32;
    case DType::kU64:
      return at::kUInt64;
#endif
#if MODELD_TORCH_AT_LEAST(2, 7)
    case DType::kF8E8M0:
      return at::kFloat8_e8m0fnu;
#endif
    default:
      return std::nullopt;
  }
}

at::IntArrayRef ToArrayRef(std::span<const std::int64_t> values) {
  return at::IntArrayRef(values.data(), values.size());
}

at::Device DeviceOf(const Model& model) {
  const std::optional<int> ordinal = cuda::Ordinal(model);
  return ordinal ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(*ordinal))
                 : at::Device(at::kCPU);
}

at::Tensor Wrap(std::shared_ptr<const Model> model, const TensorView& view, at::ScalarType type,
                at::Device device) {
  // LibTorch has no const storage; what protects the bytes is the mapping.
  return at::from_blob(
      const_cast<void*>(view.data), ToArrayRef(view.shape), ToArrayRef(view.strides),
      [model = std::move(model)](void*) mutable { model.reset(); },
      at::TensorOptions(type).device(device), device);
}

// A tensor of a module, by the name under which the module has it. Copies of `tensor` are the same
// tensor.
struct Slot {
  std::string name;
  at::Tensor tensor;
  bool is_buffer;
};

std::string Describe(at::ScalarType type, at::IntArrayRef shape) {
  std::string text = std::string(c10::toString(type)) + " [";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

// Why `view`, on `device`, cannot take the place of `tensor`.
std::optional<std::string> WhyNot(const at::Tensor& tensor, const TensorView& view,
                                  at::Device device) {
  const std::optional<at::ScalarType> type = ScalarTypeOf(view.dtype);
  if (!type) {
    return "checkpoint has " + std::string(DTypeName(view.dtype)) +
           ", which this LibTorch does not have";
  }
  if (tensor.scalar_type() != *type || tensor.sizes() != ToArrayRef(view.shape)) {
    return "module has " + Describe(tensor.scalar_type(), tensor.sizes()) + ", checkpoint has " +
           Describe(*type, ToArrayRef(view.shape));
  }
  if (tensor.device() != device) {
    return "module has it on " + tensor.device().str() + ", the resident copy is on " +
           device.str();
  }
  return std::nullopt;
}

std::string Join(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  return names.size() > kShown ? text + ", ..." : text;
}

[[noreturn]] void Refuse(const Model& model, const BindReport& report) {
  std::vector<std::string> mismatched;
  for (const BindReport::Mismatch& m : report.mismatched) {
    mismatched.push_back(m.name + ": " + m.why);
  }
  std::string what = model.reference() + " does not fit the module:";
  const auto add = [&what](const std::vector<std::string>& names, const char* kind) {
    if (!names.empty()) {
      what += " " + std::to_string(names.size()) + " " + kind + " (" + Join(names) + ");";
    }
  };
  add(report.missing, "missing in the checkpoint");
  add(report.unexpected, "unknown to the module");
  add(mismatched, "mismatched");
  const std::string hint =
      "set BindOptions::prefix, or BindOptions::strict = false to bind only what fits";
  throw Error(ErrorCode::kInvalidArgument, "FIELD_INVALID", what + " " + hint,
              {{"reference", model.reference()}}, hint);
}

// Decides everything before it changes anything: a strict bind is all or nothing.
BindReport Bind(const std::vector<Slot>& slots, const std::shared_ptr<const Model>& model,
                const BindOptions& options) {
  struct Match {
    const Slot* slot;
    TensorView view;
  };
  std::vector<Match> matches;
  std::set<std::string, std::less<>> known;
  std::set<const c10::TensorImpl*> found;
  std::vector<const Slot*> absent;
  BindReport report;
  const at::Device device = DeviceOf(*model);

  for (const Slot& slot : slots) {
    const std::string name = options.prefix + slot.name;
    known.insert(name);
    const std::optional<TensorView> view = model->find(name);
    if (!view) {
      absent.push_back(&slot);
      continue;
    }
    found.insert(slot.tensor.unsafeGetTensorImpl());
    if (std::optional<std::string> why = WhyNot(slot.tensor, *view, device)) {
      report.mismatched.push_back({slot.name, *std::move(why)});
    } else {
      matches.push_back({&slot, *view});
    }
  }
  for (const Slot* slot : absent) {
    if (!found.contains(
            slot->tensor.unsafeGetTensorImpl())) {  // else it is tied to one that is there
      report.missing.push_back(slot->name);
    }
  }
  for (std::size_t i = 0; i < model->size(); ++i) {
    const std::string_view name = (*model)[i].name;
    if (name.starts_with(options.prefix) && !known.contains(name)) {
      report.unexpected.emplace_back(name);
    }
  }
  std::sort(report.missing.begin(), report.missing.end());
  std::sort(report.unexpected.begin(), report.unexpected.end());
  std::sort(report.mismatched.begin(), report.mismatched.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  if (options.strict && !report.complete()) {
    Refuse(*model, report);
  }

  const at::NoGradGuard no_grad;
  for (const auto& [slot, view] : matches) {
    at::Tensor tensor = slot->tensor;
    const at::Tensor resident = Wrap(model, view, tensor.scalar_type(), device);
    if (slot->is_buffer && !options.share_buffers) {
      tensor.copy_(resident);
      report.copied.push_back(slot->name);
    } else {
      tensor.set_requires_grad(false);
      tensor.set_data(resident);
      report.bound.push_back(slot->name);
    }
  }
  std::sort(report.bound.begin(), report.bound.end());
  std::sort(report.copied.begin(), report.copied.end());
  return report;
}

}  // namespace

at::Tensor AsTensor(std::shared_ptr<const Model> model, std::string_view name) {
  const TensorView view = model->at(name);
  const std::optional<at::ScalarType> type = ScalarTypeOf(view.dtype);
  if (!type) {
    const std::string hint =
        BlockOf(view.dtype).elements > 1
            ? "its elements are quantized in blocks: read them through modeld::Model::at and "
              "dequantize them"
            : "use a newer LibTorch, or read the bytes through modeld::Model::at";
    throw Error(
        ErrorCode::kInvalidArgument, "FORMAT_UNSUPPORTED",
        "LibTorch " TORCH_VERSION " has no dtype for " + std::string(DTypeName(view.dtype)) +
            " of tensor " + std::string(name) + " in " + model->reference() + ": " + hint,
        {{"tensor", std::string(name)}, {"dtype", std::string(DTypeName(view.dtype))}}, hint);
  }
  const at::Device device = DeviceOf(*model);
  return Wrap(std::move(model), view, *type, device);
}

BindReport BindParameters(torch::nn::Module& module, std::shared_ptr<const Model> model,
                          const BindOptions& options) {
  std::vector<Slot> slots;
  for (const auto& item : module.named_parameters()) {
    slots.push_back({item.key(), item.value(), false});
  }
  for (const auto& item : module.named_buffers()) {
    slots.push_back({item.key(), item.value(), true});
  }
  return Bind(slots, model, options);
}

BindReport BindParameters(torch::jit::Module& module, std::shared_ptr<const Model> model,
                          const BindOptions& options) {
  std::vector<Slot> slots;
  for (const auto& item : module.named_parameters(/*recurse=*/true)) {
    slots.push_back({item.name, item.value, false});
  }
  for (const auto& item : module.named_buffers(/*recurse=*/true)) {
    slots.push_back({item.name, item.value, true});
  }
  return Bind(slots, model, options);
}

}  // namespace modeld
