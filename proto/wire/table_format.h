// The bytes of a tensor table, as docs/tensor-table.md lists them. For the builder, the validator
// and the view only.
//
// There is one way to write a given table: sections follow each other in the order of Sections,
// strings and dimensions lie one after another in entry order, padding is zero. So nothing in a
// table goes unchecked and no two entries can make a reader visit the same bytes often.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace modeld::wire::format {

static_assert(std::endian::native == std::endian::little, "tables are read in place");

inline constexpr char kMagic[8] = {'m', 'o', 'd', 'e', 'l', 'd', 'T', 'T'};
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kMaxRank = 64;
inline constexpr uint16_t kFlagAlias = 1;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t reserved0;
  uint64_t total_bytes;
  uint32_t tensor_count;
  uint32_t region_count;
  uint32_t metadata_count;
  uint32_t reserved1;
  uint64_t dim_count;     // int64s in the dimensions section
  uint64_t string_bytes;  // without padding; at most UINT32_MAX
  uint64_t reserved2;
};
static_assert(sizeof(Header) == 64);

struct Tensor {
  uint64_t offset;
  uint64_t size_bytes;
  uint32_t name_offset;  // in the strings
  uint32_t name_bytes;
  uint32_t dim_begin;  // in the dimensions: `rank` of the shape, then `rank` strides
  uint32_t region;
  uint16_t dtype;
  uint16_t rank;
  uint16_t flags;
  uint16_t reserved;
};
static_assert(sizeof(Tensor) == 40);

struct Metadata {
  uint32_t key_offset;
  uint32_t key_bytes;
  uint32_t value_offset;
  uint32_t value_bytes;
};
static_assert(sizeof(Metadata) == 16);

inline constexpr uint64_t RoundUp8(uint64_t value) { return (value + 7) & ~uint64_t{7}; }

// Where the sections begin, in bytes from the start of the table.
struct Sections {
  uint64_t regions = 0;   // uint64 each
  uint64_t tensors = 0;   // sorted by name
  uint64_t order = 0;     // uint32 each: entry index by file position; padded to 8
  uint64_t dims = 0;      // int64 each
  uint64_t metadata = 0;  // as inserted
  uint64_t strings = 0;   // names in entry order, then each key and its value; padded to 8
  uint64_t end = 0;
};

// Cannot wrap while dim_count and string_bytes are at most UINT32_MAX, which Validate makes sure
// of.
inline constexpr Sections Layout(const Header& header) {
  Sections s;
  s.regions = sizeof(Header);
  s.tensors = s.regions + sizeof(uint64_t) * header.region_count;
  s.order = s.tensors + sizeof(Tensor) * header.tensor_count;
  s.dims = s.order + RoundUp8(sizeof(uint32_t) * header.tensor_count);
  s.metadata = s.dims + sizeof(int64_t) * header.dim_count;
  s.strings = s.metadata + sizeof(Metadata) * header.metadata_count;
  s.end = s.strings + RoundUp8(header.string_bytes);
  return s;
}

// REQUIRES: offset + sizeof(T) <= bytes.size()
template <typename T>
T Read(std::span<const std::byte> bytes, uint64_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace modeld::wire::format
