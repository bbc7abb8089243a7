#include "support/zip_writer.h"

#include <zlib.h>

#include <algorithm>
#include <cstdlib>

namespace modeld::test {
namespace {

std::string Deflated(const std::string& bytes) {
  z_stream stream = {};
  if (deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

uint64_t Or(int64_t lie, uint64_t truth) { return lie < 0 ? truth : static_cast<uint64_t>(lie); }

}  // namespace

std::string Little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

ZipFile WriteZip(const std::vector<ZipEntry>& entries, const ZipOptions& options) {
  ZipFile file;
  std::string directory;
  for (const ZipEntry& entry : entries) {
    const std::string stored = entry.deflate ? Deflated(entry.bytes) : entry.bytes;
    const uint64_t crc = crc32(0, reinterpret_cast<const Bytef*>(entry.bytes.data()),
                               static_cast<uInt>(entry.bytes.size()));
    const uint64_t method = entry.deflate ? 8 : 0;
    const bool behind = (entry.local_flags & 8) != 0;
    const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
    file.header_offsets.push_back(file.bytes.size());
    file.bytes += "PK\x03\x04" + Little(20, 2) + Little(entry.local_flags, 2) +
                  Little(Or(entry.local_method_lie, method), 2) + Little(0, 4) +
                  Little(behind ? 0 : crc, 4) + Little(behind ? 0 : stored.size(), 4) +
                  Little(Or(entry.local_size_lie, behind ? 0 : entry.bytes.size()), 4) +
                  Little(local_name.size(), 2) + Little(entry.local_extra, 2) + local_name;
    // PyTorch's padding is an extra field of its own.
    if (entry.local_extra >= 4) {
      file.bytes +=
          "FB" + Little(entry.local_extra - 4U, 2) + std::string(entry.local_extra - 4U, 'Z');
    } else {
      file.bytes += std::string(entry.local_extra, '\0');
    }
    file.data_offsets.push_back(file.bytes.size());
    file.bytes += stored;
    if (behind) {
      file.bytes +=
          "PK\x07\x08" + Little(crc, 4) + Little(stored.size(), 4) + Little(entry.bytes.size(), 4);
    }
    file.directory_entries.push_back(directory.size());
    directory +=
        "PK\x01\x02" + Little(0, 2) + Little(20, 2) + Little(entry.flags, 2) +
        Little(Or(entry.method_lie, method), 2) + Little(0, 4) + Little(Or(entry.crc_lie, crc), 4) +
        Little(Or(entry.stored_lie, stored.size()), 4) +
        Little(Or(entry.size_lie, entry.bytes.size()), 4) + Little(entry.name.size(), 2) +
        Little(entry.extra.size(), 2) + Little(0, 2) + Little(0, 8) +
        Little(Or(entry.offset_lie, file.header_offsets.back()), 4) + entry.name + entry.extra;
  }
  file.directory_offset = file.bytes.size();
  for (uint64_t& offset : file.directory_entries) offset += file.directory_offset;
  const uint64_t count = Or(options.count_lie, entries.size());
  const uint64_t directory_offset = Or(options.directory_offset_lie, file.directory_offset);
  const uint64_t directory_bytes = Or(options.directory_bytes_lie, directory.size());
  file.bytes += directory;
  file.zip64_offset = file.bytes.size();
  if (options.zip64) {
    file.bytes += "PK\x06\x06" + Little(44, 8) + Little(45, 2) + Little(45, 2) + Little(0, 8) +
                  Little(count, 8) + Little(count, 8) + Little(directory_bytes, 8) +
                  Little(directory_offset, 8);
    file.bytes += "PK\x06\x07" + Little(0, 4) +
                  Little(Or(options.zip64_offset_lie, file.zip64_offset), 8) + Little(1, 4);
  }
  file.end_offset = file.bytes.size();
  // What is too much for its two bytes is in the ZIP64 record.
  const uint64_t short_count = options.zip64 ? std::min<uint64_t>(count, 0xffff) : count;
  file.bytes += "PK\x05\x06" + Little(options.disk, 2) + Little(options.disk, 2) +
                Little(short_count, 2) + Little(short_count, 2) + Little(directory_bytes, 4) +
                Little(directory_offset, 4) + Little(options.comment.size(), 2) + options.comment;
  return file;
}

}  // namespace modeld::test
