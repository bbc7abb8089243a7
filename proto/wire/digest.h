// Digests of tensors and of weights; docs/identity.md has the exact encoding and test vectors.
//
//   tensor digest  = SHA-256(0x01 || u64 size || leaf ...),  leaf = SHA-256(0x00 || chunk), chunks
//   of 4 MiB weights digest = SHA-256("modeld.weights.v1" || u64 count || entry ...), sorted by
//   name entry          = u32 length, name || u32 length, dtype name || u32 rank || u64 dimension
//   ... || tensor digest
// All integers little-endian. The bytes of a tensor are its C-contiguous bytes.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/tensor_table.h"

namespace modeld::wire {

inline constexpr size_t kDigestBytes = 32;
inline constexpr size_t kDigestChunkBytes = 4 << 20;

using Digest = std::array<std::byte, kDigestBytes>;

// The tensor digest of contiguous bytes.
Digest TensorDigest(std::span<const std::byte> bytes);

// Gives bytes of a region: valid until it is called again.
using ReadRegion = std::function<absl::StatusOr<std::span<const std::byte>>(
    uint32_t region, uint64_t offset, uint64_t size_bytes)>;

// The tensor digests of a resident table in table order. `keep_going` is asked before each chunk:
// false ends it with CANCELLED. Reads each byte once, in chunks of at most kDigestChunkBytes; a
// tensor with strides as a whole. What `read` says passes through.
absl::StatusOr<std::vector<Digest>> TensorDigests(const TableView& table, const ReadRegion& read,
                                                  const std::function<bool()>& keep_going);

// The same of memory that is mapped; `segments[i]` is region i.
absl::StatusOr<std::vector<Digest>> TensorDigests(
    const TableView& table, std::span<const std::span<const std::byte>> segments,
    const std::function<bool()>& keep_going);

// REQUIRES: digests.size() == table.size()
Digest WeightsDigest(const TableView& table, std::span<const Digest> digests);

// `sha256:` and 64 hex digits.
std::string DigestText(const Digest& digest);

}  // namespace modeld::wire
