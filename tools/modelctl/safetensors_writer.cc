#include "modelctl/safetensors_writer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "wire/checked.h"
#include "wire/dtype.h"
#include "wire/strided_reader.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

constexpr size_t kPieceBytes = 8 << 20;
constexpr size_t kAlignmentBytes = 8;

// A JSON string; UTF-8 stays as it is.
void AppendQuoted(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

absl::Status CannotWrite(std::string_view what) {
  return absl::InvalidArgumentError(wire::StrCat("cannot be written as safetensors: ", what));
}

absl::StatusOr<uint64_t> FileBytes(const wire::TensorEntry& entry) {
  if (!wire::IsSafetensorsDType(entry.dtype)) {
    return CannotWrite(wire::StrCat("tensor ", entry.name, " is ", wire::DTypeName(entry.dtype),
                                    ", which the format does not have; copy the file instead"));
  }
  const auto bytes = wire::ContiguousBytes(entry.dtype, entry.shape);
  if (!bytes) return CannotWrite(wire::StrCat("tensor ", entry.name, " does not fill whole bytes"));
  return *bytes;
}

absl::Status WriteTensor(const wire::TensorEntry& entry, const wire::ReadRegion& read,
                         const Sink& sink) {
  if (wire::IsContiguous(entry.shape, entry.strides)) {
    for (uint64_t done = 0; done < entry.size_bytes;) {
      const uint64_t size_bytes = std::min<uint64_t>(entry.size_bytes - done, kPieceBytes);
      const auto piece = read(entry.region, entry.offset + done, size_bytes);
      if (!piece.ok()) return piece.status();
      if (absl::Status written = sink(*piece); !written.ok()) return written;
      done += size_bytes;
    }
    return absl::OkStatus();
  }
  const size_t element_bytes = wire::DTypeElementBytes(entry.dtype);
  if (element_bytes == 0)
    return CannotWrite(wire::StrCat("tensor ", entry.name, " has strides over parts of bytes"));
  const auto size = FileBytes(entry);
  if (!size.ok()) return size.status();
  const auto bytes = read(entry.region, entry.offset, entry.size_bytes);
  if (!bytes.ok()) return bytes.status();
  wire::StridedReader reader(bytes->data(), element_bytes, entry.shape, entry.strides);
  std::vector<std::byte> piece;
  for (uint64_t left = *size; left > 0; left -= piece.size()) {
    piece.resize(std::min<uint64_t>(left, kPieceBytes / element_bytes * element_bytes));
    reader.Read(piece);
    if (absl::Status written = sink(piece); !written.ok()) return written;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> SafetensorsDataBytes(const wire::TableView& table) {
  uint64_t total = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const auto bytes = FileBytes(table.entry(i));
    if (!bytes.ok()) return bytes.status();
    const auto sum = wire::CheckedAdd(total, *bytes);
    if (!sum) return CannotWrite("its tensors have more bytes than a file can");
    total = *sum;
  }
  return total;
}

absl::StatusOr<std::string> SafetensorsHeader(const wire::TableView& table,
                                              const wire::ReferenceTable& reference) {
  std::string json = "{";
  if (reference.metadata_count() > 0) {
    json += "\"__metadata__\":{";
    for (size_t i = 0; i < reference.metadata_count(); ++i) {
      if (i > 0) json += ',';
      const auto [key, value] = reference.metadata(i);
      AppendQuoted(key, json);
      json += ':';
      AppendQuoted(value, json);
    }
    json += '}';
  }
  uint64_t offset = 0;
  for (size_t position = 0; position < table.size(); ++position) {
    const wire::TensorEntry entry = table.entry(table.in_order(position));
    const auto bytes = FileBytes(entry);
    if (!bytes.ok()) return bytes.status();
    const auto end = wire::CheckedAdd(offset, *bytes);
    if (!end) return CannotWrite("its tensors have more bytes than a file can");
    if (json.size() > 1) json += ',';
    AppendQuoted(entry.name, json);
    absl::StrAppend(&json, ":{\"dtype\":\"", wire::ToAbsl(wire::DTypeName(entry.dtype)),
                    "\",\"shape\":[", absl::StrJoin(entry.shape, ","), "],\"data_offsets\":[",
                    offset, ",", *end, "]}");
    offset = *end;
  }
  json += '}';
  json.append((kAlignmentBytes - json.size() % kAlignmentBytes) % kAlignmentBytes, ' ');
  if (json.size() > kMaxHeaderBytes) {
    return CannotWrite(wire::StrCat("its header would have ", json.size(), " bytes, readers take ",
                                    kMaxHeaderBytes));
  }

  std::string header;
  for (int shift = 0; shift < 64; shift += 8)
    header += static_cast<char>(json.size() >> shift & 0xFF);
  return header + json;
}

absl::Status WriteSafetensors(const wire::TableView& table, const wire::ReferenceTable& reference,
                              const wire::ReadRegion& read, const Sink& sink) {
  const auto header = SafetensorsHeader(table, reference);
  if (!header.ok()) return header.status();
  if (absl::Status written = sink(std::as_bytes(std::span(*header))); !written.ok()) return written;
  for (size_t position = 0; position < table.size(); ++position) {
    const wire::TensorEntry entry = table.entry(table.in_order(position));
    if (absl::Status written = WriteTensor(entry, read, sink); !written.ok()) return written;
  }
  return absl::OkStatus();
}

}  // namespace modeld::modelctl
