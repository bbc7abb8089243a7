// libmodeld for a Python test, in five C functions: a tensor goes to torch as a DLManagedTensor
// (DLPack 0.x, <dlpack/dlpack.h>), which keeps the model mapped as long as any view of it lives.

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "modeld/client.h"
#include "modeld/cuda.h"

#define MODELD_BRIDGE extern "C" __attribute__((visibility("default")))

namespace {

// As dlpack.h lays them out.
struct DLDevice {
  int32_t device_type;  // 1: the host, 2: CUDA
  int32_t device_id;
};
struct DLDataType {
  uint8_t code;  // 0: signed, 1: unsigned, 2: floating point, 4: bfloat
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

struct Held {
  std::shared_ptr<const modeld::Model> model;
  DLManagedTensor managed;
};

DLDataType TypeOf(modeld::DType dtype) {
  switch (dtype) {
    case modeld::DType::kF32:
      return {2, 32, 1};
    case modeld::DType::kF16:
      return {2, 16, 1};
    case modeld::DType::kBF16:
      return {4, 16, 1};
    case modeld::DType::kF64:
      return {2, 64, 1};
    case modeld::DType::kI64:
      return {0, 64, 1};
    case modeld::DType::kI32:
      return {0, 32, 1};
    case modeld::DType::kU8:
      return {1, 8, 1};
    default:
      return {0, 0, 0};
  }
}

using Handle = std::shared_ptr<const modeld::Model>;

}  // namespace

// Null on an error, whose words go to standard error.
MODELD_BRIDGE void* bridge_acquire(const char* endpoint, const char* reference,
                                   const char* device) {
  try {
    auto client = modeld::Client::Connect(endpoint);
    return new Handle(client->Acquire({.reference = reference, .device = device}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return nullptr;
  }
}

MODELD_BRIDGE uint64_t bridge_size(void* handle) { return (*static_cast<Handle*>(handle))->size(); }

MODELD_BRIDGE const char* bridge_name(void* handle, uint64_t index) {
  thread_local std::string name;
  name = std::string((**static_cast<Handle*>(handle))[index].name);
  return name.c_str();
}

// Null where DLPack has no such type.
MODELD_BRIDGE void* bridge_tensor(void* handle, uint64_t index) {
  const Handle& model = *static_cast<Handle*>(handle);
  const modeld::TensorView view = (*model)[index];
  const DLDataType type = TypeOf(view.dtype);
  if (type.lanes == 0) return nullptr;
  const auto ordinal = modeld::cuda::Ordinal(*model);
  auto* held = new Held{.model = model, .managed = {}};
  held->managed.dl_tensor = {.data = const_cast<void*>(view.data),
                             .device = {ordinal ? 2 : 1, ordinal.value_or(0)},
                             .ndim = static_cast<int32_t>(view.shape.size()),
                             .dtype = type,
                             .shape = const_cast<int64_t*>(view.shape.data()),
                             .strides = const_cast<int64_t*>(view.strides.data()),
                             .byte_offset = 0};
  held->managed.manager_ctx = held;
  held->managed.deleter = [](DLManagedTensor* self) {
    delete static_cast<Held*>(self->manager_ctx);
  };
  return &held->managed;
}

MODELD_BRIDGE void bridge_release(void* handle) { delete static_cast<Handle*>(handle); }
