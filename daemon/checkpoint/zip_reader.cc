#include "checkpoint/zip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
#include "checkpoint/read_file.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr uint32_t kLocalMagic = 0x04034b50;
constexpr uint32_t kEntryMagic = 0x02014b50;
constexpr uint32_t kEndMagic = 0x06054b50;
constexpr uint32_t kZip64EndMagic = 0x06064b50;
constexpr uint32_t kZip64LocatorMagic = 0x07064b50;
constexpr size_t kLocalBytes = 30;
constexpr size_t kEntryBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kZip64EndBytes = 56;
constexpr size_t kZip64LocatorBytes = 20;
constexpr uint16_t kZip64Extra = 0x0001;
// Padding to 64 bytes, and ZIP64 sizes.
constexpr size_t kUsualExtraBytes = 96;

constexpr uint16_t kFlagEncrypted = 1 << 0;
constexpr uint16_t kFlagSizesBehind = 1 << 3;  // the local header's sizes and CRC may be zero
constexpr uint16_t kFlagPatch = 1 << 5;
constexpr uint16_t kFlagStrongEncryption = 1 << 6;
constexpr uint16_t kFlagHiddenHeader = 1 << 13;

constexpr uint16_t kMethodStored = 0;
constexpr uint16_t kMethodDeflated = 8;

constexpr uint16_t kFull16 = 0xFFFF;
constexpr uint32_t kFull32 = 0xFFFFFFFF;

// Little-endian. REQUIRES: it is there.
template <typename T>
T Get(std::string_view bytes, size_t at) {
  T value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

absl::Status Unsupported(const InputFile& file, uint64_t byte, const std::string& what,
                         const std::string& hint) {
  const std::string path = wire::ToUtf8(file.path);
  return wire::MakeError(wire::Reason::kFormatUnsupported,
                         absl::StrCat(path, ": byte ", byte, ": ", what),
                         {{"file", path}, {"byte", absl::StrCat(byte)}}, hint);
}

// No way out of the folder that someone might extract it to.
bool IsRelativePath(std::string_view name) {
  if (name.empty() || name.front() == '/') return false;
  if (name.find('\0') != std::string_view::npos || name.find('\\') != std::string_view::npos) {
    return false;
  }
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (name.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

// The ZIP64 extra field's numbers; nullopt where the extra fields do not add up.
std::optional<std::string_view> FindZip64Extra(std::string_view extra) {
  std::string_view found;
  while (!extra.empty()) {
    if (extra.size() < 4) return std::nullopt;
    const uint16_t size = Get<uint16_t>(extra, 2);
    if (size > extra.size() - 4) return std::nullopt;
    if (Get<uint16_t>(extra, 0) == kZip64Extra) {
      if (found.data() != nullptr) return std::nullopt;
      found = extra.substr(4, size);
    }
    extra.remove_prefix(size_t{4} + size);
  }
  return found;
}

// Takes the next number of a ZIP64 extra field where the 32-bit one says that it is there.
bool Widen(std::string_view* zip64, uint64_t* value) {
  if (*value != kFull32) return true;
  if (zip64->size() < sizeof(uint64_t)) return false;
  *value = Get<uint64_t>(*zip64, 0);
  zip64->remove_prefix(sizeof(uint64_t));
  return true;
}

struct InflateEnd {
  void operator()(z_stream* stream) const { inflateEnd(stream); }
};

}  // namespace

struct ZipReader::End {
  uint64_t offset = 0;  // where what ends the directory begins
  uint64_t entries = 0;
  uint64_t directory_offset = 0;
  uint64_t directory_bytes = 0;
};

absl::StatusOr<ZipReader> ZipReader::Open(const InputFile& file) {
  ZipReader reader(file);
  const auto end = reader.FindEnd();
  if (!end.ok()) return end.status();
  if (auto status = reader.ReadDirectory(*end); !status.ok()) return status;
  return reader;
}

const ZipRecord* ZipReader::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &records_[found->second];
}

absl::StatusOr<ZipReader::End> ZipReader::FindEnd() const {
  // It is followed by a comment of up to 64 KiB - 1, which says how long it is.
  const uint64_t tail_bytes = std::min<uint64_t>(file_->size_bytes, kEndBytes + kFull16);
  std::string tail(tail_bytes, '\0');
  const uint64_t tail_offset = file_->size_bytes - tail_bytes;
  if (auto status = ReadFully(*file_, tail_offset, std::as_writable_bytes(std::span(tail)));
      !status.ok()) {
    return status;
  }
  for (size_t left = tail.size() < kEndBytes ? 0 : tail.size() - kEndBytes + 1; left > 0; --left) {
    const size_t at = left - 1;
    if (Get<uint32_t>(tail, at) != kEndMagic) continue;
    const std::string_view record = std::string_view(tail).substr(at);
    if (record.size() != kEndBytes + Get<uint16_t>(record, 20)) continue;
    const uint64_t offset = tail_offset + at;
    if (Get<uint16_t>(record, 4) != 0 || Get<uint16_t>(record, 6) != 0 ||
        Get<uint16_t>(record, 8) != Get<uint16_t>(record, 10)) {
      return Unsupported(*file_, offset + 4, "a ZIP archive in several parts",
                         "join the parts, or save the checkpoint again with torch.save");
    }
    End end{.offset = offset,
            .entries = Get<uint16_t>(record, 10),
            .directory_offset = Get<uint32_t>(record, 16),
            .directory_bytes = Get<uint32_t>(record, 12)};
    if (auto status = ReadZip64End(offset, &end); !status.ok()) return status;
    if (!wire::RangeFits(end.directory_offset, end.directory_bytes, end.offset) ||
        end.directory_offset + end.directory_bytes != end.offset) {
      return Malformed(
          file_->path, offset,
          absl::StrCat("the archive's directory should have ", end.directory_bytes, " bytes from ",
                       end.directory_offset, " on, but what follows it is at ", end.offset));
    }
    return end;
  }
  return Malformed(file_->path, file_->size_bytes,
                   "the end of the ZIP archive is missing: the file is cut off, or no archive");
}

absl::Status ZipReader::ReadZip64End(uint64_t end_offset, End* end) const {
  // PyTorch writes one whether or not the numbers need it; without, they are meant as they stand.
  if (end_offset < kZip64LocatorBytes) return absl::OkStatus();
  const uint64_t locator_offset = end_offset - kZip64LocatorBytes;
  std::string locator(kZip64LocatorBytes, '\0');
  if (auto status = ReadFully(*file_, locator_offset, std::as_writable_bytes(std::span(locator)));
      !status.ok()) {
    return status;
  }
  if (Get<uint32_t>(locator, 0) != kZip64LocatorMagic) return absl::OkStatus();
  if (Get<uint32_t>(locator, 4) != 0 || Get<uint32_t>(locator, 16) > 1) {
    return Unsupported(*file_, locator_offset, "a ZIP archive in several parts",
                       "join the parts, or save the checkpoint again with torch.save");
  }
  const uint64_t offset = Get<uint64_t>(locator, 8);
  if (!wire::RangeFits(offset, kZip64EndBytes, locator_offset)) {
    return Malformed(file_->path, locator_offset + 8,
                     absl::StrCat("the ZIP64 end record cannot be at ", offset));
  }
  std::string record(kZip64EndBytes, '\0');
  if (auto status = ReadFully(*file_, offset, std::as_writable_bytes(std::span(record)));
      !status.ok()) {
    return status;
  }
  // Its size is that of the rest.
  if (Get<uint32_t>(record, 0) != kZip64EndMagic ||
      Get<uint64_t>(record, 4) != locator_offset - offset - 12) {
    return Malformed(file_->path, offset, "there should be a ZIP64 end record here");
  }
  const uint64_t entries = Get<uint64_t>(record, 32);
  const uint64_t directory_bytes = Get<uint64_t>(record, 40);
  const uint64_t directory_offset = Get<uint64_t>(record, 48);
  const auto agrees = [](uint64_t narrow, uint64_t full, uint64_t wide) {
    return narrow == full || narrow == wide;
  };
  if (Get<uint32_t>(record, 16) != 0 || Get<uint32_t>(record, 20) != 0 ||
      Get<uint64_t>(record, 24) != entries || !agrees(end->entries, kFull16, entries) ||
      !agrees(end->directory_bytes, kFull32, directory_bytes) ||
      !agrees(end->directory_offset, kFull32, directory_offset)) {
    return Malformed(file_->path, offset,
                     "the ZIP64 end record contradicts itself or the archive's end record");
  }
  *end = {.offset = offset,
          .entries = entries,
          .directory_offset = directory_offset,
          .directory_bytes = directory_bytes};
  return absl::OkStatus();
}

absl::Status ZipReader::ReadDirectory(const End& end) {
  if (end.entries > kMaxZipRecords || end.directory_bytes > kMaxZipDirectoryBytes) {
    return Unsupported(*file_, end.offset,
                       absl::StrCat("an archive of ", end.entries, " records, whose directory has ",
                                    end.directory_bytes, " bytes; modeld reads up to ",
                                    kMaxZipRecords, " and ", kMaxZipDirectoryBytes),
                       "save it in several files, or as safetensors");
  }
  if (end.entries > end.directory_bytes / kEntryBytes) {
    return Malformed(file_->path, end.offset,
                     absl::StrCat(end.entries, " records do not fit into a directory of ",
                                  end.directory_bytes, " bytes"));
  }
  directory_.resize(end.directory_bytes);
  if (auto status =
          ReadFully(*file_, end.directory_offset, std::as_writable_bytes(std::span(directory_)));
      !status.ok()) {
    return status;
  }
  records_.reserve(end.entries);
  by_name_.reserve(end.entries);
  size_t at = 0;
  for (uint64_t i = 0; i < end.entries; ++i) {
    if (auto status = ReadEntry(&at, end); !status.ok()) return status;
  }
  if (at != directory_.size()) {
    return Malformed(
        file_->path, end.directory_offset + at,
        absl::StrCat("the archive's directory has more than its ", end.entries, " records"));
  }
  return CheckOrder(end);
}

absl::Status ZipReader::ReadEntry(size_t* at, const End& end) {
  const std::string_view rest = std::string_view(directory_.data(), directory_.size()).substr(*at);
  const uint64_t offset = end.directory_offset + *at;
  if (rest.size() < kEntryBytes || Get<uint32_t>(rest, 0) != kEntryMagic) {
    return Malformed(file_->path, offset, "there should be an entry of the archive's directory");
  }
  const size_t name_bytes = Get<uint16_t>(rest, 28);
  const size_t extra_bytes = Get<uint16_t>(rest, 30);
  const size_t entry_bytes = kEntryBytes + name_bytes + extra_bytes + Get<uint16_t>(rest, 32);
  if (entry_bytes > rest.size()) {
    return Malformed(file_->path, offset, "an entry that goes on behind the archive's directory");
  }
  ZipRecord record{.name = rest.substr(kEntryBytes, name_bytes),
                   .size_bytes = Get<uint32_t>(rest, 24),
                   .stored_bytes = Get<uint32_t>(rest, 20),
                   .header_offset = Get<uint32_t>(rest, 42),
                   .directory_entry = offset,
                   .crc = Get<uint32_t>(rest, 16),
                   .flags = Get<uint16_t>(rest, 8)};
  const std::string quoted = Quoted(record.name);
  if (name_bytes > kMaxZipNameBytes || !wire::IsUtf8(record.name) || !IsRelativePath(record.name)) {
    return Malformed(
        file_->path, offset + kEntryBytes,
        absl::StrCat("a record that is called ", quoted,
                     ": names are relative paths in UTF-8 of up to ", kMaxZipNameBytes, " bytes"));
  }
  constexpr uint16_t kUnreadable =
      kFlagEncrypted | kFlagPatch | kFlagStrongEncryption | kFlagHiddenHeader;
  const uint16_t method = Get<uint16_t>(rest, 10);
  if ((record.flags & kUnreadable) != 0) {
    return Unsupported(*file_, offset + 8, absl::StrCat("record ", quoted, " is encrypted"),
                       "decrypt the archive first");
  }
  if (method != kMethodStored && method != kMethodDeflated) {
    return Unsupported(
        *file_, offset + 10,
        absl::StrCat("record ", quoted, " is compressed by method ", method, ", not stored"),
        "pack the archive again without compression (zip -0), or save it again with torch.save");
  }
  record.deflated = method == kMethodDeflated;
  auto zip64 = FindZip64Extra(rest.substr(kEntryBytes + name_bytes, extra_bytes));
  if (!zip64 || !Widen(&*zip64, &record.size_bytes) || !Widen(&*zip64, &record.stored_bytes) ||
      !Widen(&*zip64, &record.header_offset)) {
    return Malformed(file_->path, offset + kEntryBytes + name_bytes,
                     absl::StrCat("the extra fields of record ", quoted, " do not add up"));
  }
  if (Get<uint16_t>(rest, 34) != 0 && Get<uint16_t>(rest, 34) != kFull16) {
    return Unsupported(*file_, offset + 34, "a ZIP archive in several parts",
                       "join the parts, or save the checkpoint again with torch.save");
  }
  if (!record.deflated && record.size_bytes != record.stored_bytes) {
    return Malformed(file_->path, offset + 20,
                     absl::StrCat("record ", quoted, " is stored as it is, but of ",
                                  record.size_bytes, " bytes it stores ", record.stored_bytes));
  }
  if (!by_name_.try_emplace(record.name, static_cast<uint32_t>(records_.size())).second) {
    return Malformed(file_->path, offset + kEntryBytes,
                     absl::StrCat("a second record that is called ", quoted));
  }
  records_.push_back(record);
  *at += entry_bytes;
  return absl::OkStatus();
}

absl::Status ZipReader::CheckOrder(const End& end) {
  std::vector<uint32_t> order(records_.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [this](uint32_t a, uint32_t b) {
    return records_[a].header_offset < records_[b].header_offset;
  };
  if (!std::ranges::is_sorted(order, before)) std::ranges::sort(order, before);
  uint64_t limit = end.directory_offset;
  for (size_t left = order.size(); left > 0; --left) {
    ZipRecord& record = records_[order[left - 1]];
    record.end_limit = limit;
    // The header repeats the name.
    const uint64_t header_bytes = kLocalBytes + record.name.size();
    const auto least = wire::CheckedAdd(header_bytes, record.stored_bytes);
    if (!least || !wire::RangeFits(record.header_offset, *least, limit)) {
      return Malformed(file_->path, record.directory_entry,
                       absl::StrCat("record ", Quoted(record.name), " of ", record.stored_bytes,
                                    " bytes with its header at ", record.header_offset,
                                    " runs into what begins at ", limit));
    }
    limit = record.header_offset;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ZipReader::Locate(const ZipRecord& record) const {
  // CheckOrder saw that the fixed part and a name are there. With what PyTorch puts behind them it
  // is one read.
  const size_t fixed_bytes = kLocalBytes + record.name.size();
  std::string header(
      std::min<uint64_t>(fixed_bytes + kUsualExtraBytes, record.end_limit - record.header_offset),
      '\0');
  if (auto status =
          ReadFully(*file_, record.header_offset, std::as_writable_bytes(std::span(header)));
      !status.ok()) {
    return status;
  }
  const auto wrong = [&](size_t at, std::string_view what) {
    return Malformed(
        file_->path, record.header_offset + at,
        absl::StrCat("the header of record ", Quoted(record.name), " ", std::string(what)));
  };
  if (Get<uint32_t>(header, 0) != kLocalMagic) return wrong(0, "is not here");
  const size_t name_bytes = Get<uint16_t>(header, 26);
  const size_t extra_bytes = Get<uint16_t>(header, 28);
  if (name_bytes != record.name.size() ||
      std::string_view(header).substr(kLocalBytes, name_bytes) != record.name) {
    return wrong(26, "has another name than the directory");
  }
  const uint16_t flags = Get<uint16_t>(header, 6);
  if (Get<uint16_t>(header, 8) != (record.deflated ? kMethodDeflated : kMethodStored) ||
      ((flags ^ record.flags) & kFlagEncrypted) != 0) {
    return wrong(8, "has another method than the directory");
  }
  const uint64_t data_offset = record.header_offset + fixed_bytes + extra_bytes;
  if (!wire::RangeFits(data_offset, record.stored_bytes, record.end_limit)) {
    return wrong(28, absl::StrCat("puts its ", record.stored_bytes, " bytes at ", data_offset,
                                  ", over what begins at ", record.end_limit));
  }
  if (header.size() < fixed_bytes + extra_bytes) {
    const size_t have = header.size();
    header.resize(fixed_bytes + extra_bytes);
    if (auto status = ReadFully(*file_, record.header_offset + have,
                                std::as_writable_bytes(std::span(header)).subspan(have));
        !status.ok()) {
      return status;
    }
  }
  auto zip64 = FindZip64Extra(std::string_view(header).substr(fixed_bytes, extra_bytes));
  uint64_t size_bytes = Get<uint32_t>(header, 22);
  uint64_t stored_bytes = Get<uint32_t>(header, 18);
  const uint32_t crc = Get<uint32_t>(header, 14);
  // Padding for alignment need not be made of extra fields: what is no such field names no sizes.
  if (zip64) {
    if (!Widen(&*zip64, &size_bytes) || !Widen(&*zip64, &stored_bytes)) {
      return wrong(28, "has too short a ZIP64 field");
    }
  }
  const bool sizes_behind =
      (flags & kFlagSizesBehind) != 0 && size_bytes == 0 && stored_bytes == 0 && crc == 0;
  if (!sizes_behind && (size_bytes != record.size_bytes || stored_bytes != record.stored_bytes ||
                        crc != record.crc)) {
    return wrong(14, "has another size or CRC than the directory");
  }
  return data_offset;
}

absl::StatusOr<std::string> ZipReader::Read(const ZipRecord& record, uint64_t most_bytes) const {
  if (record.size_bytes > most_bytes || record.stored_bytes > most_bytes) {
    return Unsupported(
        *file_, record.directory_entry,
        absl::StrCat("record ", Quoted(record.name), " has ", record.size_bytes,
                     " bytes, more than the ", most_bytes, " that modeld reads of it"),
        "no writer is known to make this: check where the file comes from");
  }
  const auto offset = Locate(record);
  if (!offset.ok()) return offset.status();
  std::string stored(record.stored_bytes, '\0');
  if (auto status = ReadFully(*file_, *offset, std::as_writable_bytes(std::span(stored)));
      !status.ok()) {
    return status;
  }
  if (record.deflated) {
    auto inflated = Inflate(record, stored);
    if (!inflated.ok()) {
      return Malformed(
          file_->path, *offset,
          absl::StrCat("record ", Quoted(record.name), ": ", inflated.status().message()));
    }
    stored = *std::move(inflated);
  }
  const uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(stored.data()), stored.size());
  if (crc != record.crc) {
    return Malformed(
        file_->path, *offset,
        absl::StrCat("the CRC of record ", Quoted(record.name), " is not ", "that of its bytes"));
  }
  return stored;
}

absl::StatusOr<std::string> ZipReader::Inflate(const ZipRecord& record,
                                               std::string_view stored) const {
  z_stream stream = {};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to inflate it");
  }
  const std::unique_ptr<z_stream, InflateEnd> ending(&stream);
  // Deflate makes at most 1032 bytes of one: nothing is allocated for more than that.
  if (record.size_bytes / 1040 > stored.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(stored.size(), " compressed bytes cannot make ", record.size_bytes));
  }
  // One byte more than promised shows that there is more. Both fit: small records only.
  std::string out(record.size_bytes + 1, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.data()));
  stream.avail_in = static_cast<uInt>(stored.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = inflate(&stream, Z_FINISH);
  if (result != Z_STREAM_END || stream.total_out != record.size_bytes || stream.avail_in != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("its compressed bytes are damaged, or do not make the ", record.size_bytes,
                     " bytes that the directory tells of"));
  }
  out.resize(record.size_bytes);
  return out;
}

}  // namespace modeld::checkpoint
