#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
#include "checkpoint/mistaken.h"
#include "checkpoint/read_file.h"
#include "checkpoint/safetensors_header.h"
#include "wire/tensor_table.h"

namespace modeld::checkpoint {
namespace {

constexpr uint64_t kLengthBytes = 8;

bool StartsWith(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// What people take for safetensors by mistake.
const char* HintForStart(std::span<const std::byte> start) {
  if (StartsWith(start, "PK\x03\x04")) {
    return "this is a ZIP archive, perhaps written by torch.save: give it the ending .pt";
  }
  if (StartsWith(start, "GGUF")) return "this is a GGUF file: give it the ending .gguf";
  return MistakenForModel(start);
}

// The header's length, once it is one that may be allocated and read.
absl::StatusOr<uint64_t> ReadHeaderLength(const InputFile& file) {
  std::byte buffer[kSniffBytes] = {};
  const auto start = std::span(buffer).first(
      static_cast<size_t>(std::min<uint64_t>(sizeof(buffer), file.size_bytes)));
  if (auto status = ReadFully(file, 0, start); !status.ok()) return status;
  const char* const hint = HintForStart(start);
  if (file.size_bytes < kLengthBytes) {
    return Malformed(file.path, file.size_bytes,
                     absl::StrCat("the file ends within the header's length, which takes ",
                                  kLengthBytes, " bytes"),
                     {}, hint);
  }
  uint64_t length = 0;
  std::memcpy(&length, buffer, kLengthBytes);
  if (length > kMaxSafetensorsHeaderBytes) {
    return Malformed(file.path, 0,
                     absl::StrCat("a header of ", length, " bytes, more than the ",
                                  kMaxSafetensorsHeaderBytes, " that the format allows"),
                     {}, hint);
  }
  if (length < 2) {
    return Malformed(file.path, 0,
                     absl::StrCat("a header of ", length, " bytes, too short for \"{}\""), {},
                     hint);
  }
  if (length > file.size_bytes - kLengthBytes) {
    return Malformed(
        file.path, file.size_bytes,
        absl::StrCat("the file ends here, but its header goes on to byte ", kLengthBytes + length),
        {}, hint);
  }
  // Said before as many bytes are read as the length claims.
  if (buffer[kLengthBytes] != std::byte{'{'}) {
    return Malformed(file.path, kLengthBytes, "the header must start with '{'", {}, hint);
  }
  return length;
}

absl::Status AddTensors(const InputFile& file, uint32_t region, const SafetensorsHeader& header,
                        uint64_t data_at, Collector& out) {
  for (const auto& tensor : header.tensors()) {
    const auto shape = header.shape(tensor);
    const auto strides = wire::ContiguousStrides(shape);
    const bool added = out.AddTensor({.name = tensor.name,
                                      .dtype = tensor.dtype,
                                      .shape = shape,
                                      .strides = strides,
                                      .region = region,
                                      .offset = data_at + tensor.begin,
                                      .size_bytes = tensor.end - tensor.begin});
    // A file's own names are unique already.
    if (!added) {
      return Malformed(file.path, SafetensorsHeader::FileByte(tensor.name_position),
                       "another file of the checkpoint has a tensor of this name", tensor.name,
                       "give each tensor a name of its own");
    }
  }
  for (const auto& [key, value] : header.metadata()) out.AddMetadata(key, value);
  return absl::OkStatus();
}

absl::Status AddFile(const InputFile& file, uint32_t region, Collector& out) {
  const auto length = ReadHeaderLength(file);
  if (!length.ok()) return length.status();
  std::string text(*length, '\0');
  if (auto status = ReadFully(file, kLengthBytes, std::as_writable_bytes(std::span(text)));
      !status.ok()) {
    return status;
  }
  const uint64_t data_at = kLengthBytes + text.size();
  SafetensorsHeader header(file.path, text, file.size_bytes - data_at);
  if (auto status =
          header.Read({.tensors = out.tensors_left(), .dimensions = out.dimensions_left()});
      !status.ok()) {
    return status;
  }
  return AddTensors(file, region, header, data_at, out);
}

}  // namespace

bool SafetensorsFormat::Sniff(const InputFile& file, std::span<const std::byte> start) const {
  const std::string_view name = file.name;
  if (name.ends_with(".safetensors")) return true;
  // Caches name files by their hash: there only a length that can be one and the header's first
  // byte tell.
  if (start.size() <= kLengthBytes || start[kLengthBytes] != std::byte{'{'}) return false;
  uint64_t length = 0;
  std::memcpy(&length, start.data(), kLengthBytes);
  return length >= 2 && length <= kMaxSafetensorsHeaderBytes &&
         length <= file.size_bytes - kLengthBytes;
}

absl::Status SafetensorsFormat::Parse(std::span<const InputFile> files,
                                      const std::string& /*key_prefix*/, Collector& out) const {
  for (size_t i = 0; i < files.size(); ++i) {
    if (auto status = AddFile(files[i], static_cast<uint32_t>(i), out); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace modeld::checkpoint
