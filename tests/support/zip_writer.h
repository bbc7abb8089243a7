// ZIP archives for tests: good ones as torch.save lays them out, and ones that lie.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace modeld::test {

struct ZipEntry {
  std::string name;
  std::string bytes;
  bool deflate = false;
  // What the directory and the local header say, where that is not the truth.
  std::string local_name = {};  // empty: the name
  int64_t size_lie = -1;        // of the directory; -1: none
  int64_t stored_lie = -1;
  int64_t offset_lie = -1;
  int64_t crc_lie = -1;
  uint16_t flags = 0x0808;  // as PyTorch: sizes behind the data, names in UTF-8
  uint16_t local_flags = 0x0808;
  int method_lie = -1;
  int local_method_lie = -1;
  int64_t local_size_lie = -1;  // of the local header
  uint16_t local_extra = 0;     // bytes of padding before the data
  std::string extra = {};       // extra fields in the directory
};

struct ZipOptions {
  bool zip64 = true;  // PyTorch writes the ZIP64 end records always
  std::string comment = {};
  int64_t count_lie = -1;  // of the end records
  int64_t directory_offset_lie = -1;
  int64_t directory_bytes_lie = -1;
  int64_t zip64_offset_lie = -1;
  uint16_t disk = 0;
};

struct ZipFile {
  std::string bytes;
  // File offsets, in the order of the entries.
  std::vector<uint64_t> header_offsets;
  std::vector<uint64_t> data_offsets;
  std::vector<uint64_t> directory_entries;
  uint64_t directory_offset = 0;
  uint64_t zip64_offset = 0;
  uint64_t end_offset = 0;
};

ZipFile WriteZip(const std::vector<ZipEntry>& entries, const ZipOptions& options = {});

// A little-endian number of that many bytes.
std::string Little(uint64_t value, int bytes);

}  // namespace modeld::test
