// ZIP archives (PKWARE APPNOTE 6.3, with ZIP64) as far as torch.save and its relatives write them:
// which records there are, where the bytes of each lie in the file, and the contents of small ones.
//
// Everything is read from the central directory and compared with the record's own header before it
// is used. No two records share a byte, so what is read is never more than the file.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "checkpoint/collector.h"
#include "checkpoint/format.h"

namespace modeld::checkpoint {

// Every storage of a checkpoint is a record; the rest are small files.
inline constexpr uint64_t kMaxZipRecords = kMaxTensors + 100'000;
inline constexpr uint64_t kMaxZipDirectoryBytes = 192 << 20;
inline constexpr size_t kMaxZipNameBytes = 4096;

struct ZipRecord {
  std::string_view name;  // UTF-8, a relative path; points into the reader
  uint64_t size_bytes = 0;
  uint64_t stored_bytes = 0;     // in the file; size_bytes unless it is deflated
  uint64_t header_offset = 0;    // of its local header
  uint64_t end_limit = 0;        // where the next record, or the directory, begins
  uint64_t directory_entry = 0;  // file offset of its entry in the directory, for messages
  uint32_t crc = 0;
  uint16_t flags = 0;
  bool deflated = false;
};

// Externally synchronised. Movable.
class ZipReader {
 public:
  // Reads the directory: O(n log n). The file's path and descriptor must outlive the reader.
  // kCheckpointMalformed; kFormatUnsupported for encrypted records, other compressions than
  // deflate, and archives in several parts; what ReadFully says passes through.
  static absl::StatusOr<ZipReader> Open(const InputFile& file);

  // In the order of the directory.
  std::span<const ZipRecord> records() const { return records_; }
  const ZipRecord* Find(std::string_view name) const;

  // The file offset of the record's bytes, after its local header was compared with the directory.
  absl::StatusOr<uint64_t> Locate(const ZipRecord& record) const;

  // The whole contents, inflated and compared with the CRC. kFormatUnsupported where they are more
  // than `most_bytes`, which is said before anything is allocated.
  absl::StatusOr<std::string> Read(const ZipRecord& record, uint64_t most_bytes) const;

 private:
  struct End;

  explicit ZipReader(const InputFile& file) : file_(&file) {}

  absl::StatusOr<End> FindEnd() const;
  absl::Status ReadZip64End(uint64_t end_offset, End* end) const;
  absl::Status ReadDirectory(const End& end);
  absl::Status ReadEntry(size_t* at, const End& end);
  absl::Status CheckOrder(const End& end);
  absl::StatusOr<std::string> Inflate(const ZipRecord& record, std::string_view stored) const;

  const InputFile* file_;
  // A vector, because it must not move with the reader: names point into it.
  std::vector<char> directory_;
  std::vector<ZipRecord> records_;
  absl::flat_hash_map<std::string_view, uint32_t> by_name_;
};

}  // namespace modeld::checkpoint
