// Writes tensors as a safetensors file.
//
// Source: https://github.com/huggingface/safetensors#format: u64 length of the header, the header
// as JSON padded with spaces, then the tensors' bytes one after another, without gaps, in the order
// of their offsets.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/digest.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace modeld::modelctl {

// What readers of the format accept.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// Length field, header and padding: the reference's metadata, if there is any, as `__metadata__`,
// then the tensors in the checkpoint's own order; the data that follows is aligned to 8 bytes. An
// alias gets bytes of its own, because the format knows no shared ones. INVALID_ARGUMENT for a
// header over kMaxHeaderBytes.
absl::StatusOr<std::string> SafetensorsHeader(const wire::TableView& table,
                                              const wire::ReferenceTable& reference);

// Bytes of tensor data after the header. INVALID_ARGUMENT naming a tensor whose size cannot be.
absl::StatusOr<uint64_t> SafetensorsDataBytes(const wire::TableView& table);

// Takes the file's bytes in order.
using Sink = std::function<absl::Status(std::span<const std::byte>)>;

// Header and data to `sink`, in pieces of at most 8 MiB. Reads in such pieces too, but for a tensor
// with strides, which it reads as a whole. Ends with what `read` or `sink` fails with.
absl::Status WriteSafetensors(const wire::TableView& table, const wire::ReferenceTable& reference,
                              const wire::ReadRegion& read, const Sink& sink);

}  // namespace modeld::modelctl
