#include "modeld/dtype.h"

#include "wire/dtype.h"

namespace modeld {

// The public values are those of the tensor table.
static_assert(static_cast<int>(DType::kBool) == static_cast<int>(wire::DType::kBool));
static_assert(static_cast<int>(DType::kC64) == static_cast<int>(wire::DType::kC64));
static_assert(static_cast<int>(DType::kF6E3M2) == static_cast<int>(wire::DType::kF6E3M2));
static_assert(static_cast<int>(DType::kGgmlQ4_0) == static_cast<int>(wire::DType::kGgmlQ4_0));
static_assert(static_cast<int>(DType::kGgmlQ1_0) == static_cast<int>(wire::DType::kGgmlQ1_0));
static_assert(static_cast<int>(DType::kC128) == static_cast<int>(wire::DType::kC128));

std::string_view DTypeName(DType dtype) { return wire::DTypeName(static_cast<wire::DType>(dtype)); }

DTypeBlock BlockOf(DType dtype) {
  const wire::DTypeBlock block = wire::DTypeBlockOf(static_cast<wire::DType>(dtype));
  return {block.elements, block.bits % 8 == 0 ? block.bits / 8 : 0};
}

}  // namespace modeld
