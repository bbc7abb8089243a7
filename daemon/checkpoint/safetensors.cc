#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
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
  if (StartsWith(start, "version https://git-lfs")) {
    return "this is a Git LFS pointer and not the weights: run `git lfs pull`";
  }
  if (StartsWith(start, "PK\x03\x04")) {
    return "this is a ZIP archive, perhaps written by torch.save: convert it to safetensors";
  }
  if (StartsWith(start, "GGUF")) return "this is a GGUF file: convert it to safetensors";
  if (StartsWith(start, "<!DOCTYPE") || StartsWith(start, "<html")) {
    return "this is a web page: the download was answered with an error or a login";
  }
  return "";
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

// Puts the headers of a checkpoint's files together.
class Collector {
 public:
  explicit Collector(bool several_files) : several_files_(several_files) {}

  absl::Status Add(const InputFile& file) {
    const auto length = ReadHeaderLength(file);
    if (!length.ok()) return length.status();
    std::string text(*length, '\0');
    if (auto status = ReadFully(file, kLengthBytes, std::as_writable_bytes(std::span(text)));
        !status.ok()) {
      return status;
    }
    const uint64_t data_at = kLengthBytes + text.size();
    SafetensorsHeader header(file.path, text, file.size_bytes - data_at);
    if (auto status = header.Read({.tensors = kMaxTensors - builder_.tensor_count(),
                                   .dimensions = kMaxDimensions - dimensions_});
        !status.ok()) {
      return status;
    }
    dimensions_ += header.dimension_count();
    return AddTensors(file, header, data_at);
  }

  std::string Build() const { return builder_.Build(); }

 private:
  absl::Status AddTensors(const InputFile& file, const SafetensorsHeader& header,
                          uint64_t data_at) {
    const uint32_t region = builder_.AddRegion(file.size_bytes);
    for (const auto& tensor : header.tensors()) {
      if (auto status = CheckUnique(file, tensor); !status.ok()) return status;
      const auto shape = header.shape(tensor);
      const auto strides = wire::ContiguousStrides(shape);
      builder_.Add({.name = tensor.name,
                    .dtype = tensor.dtype,
                    .shape = shape,
                    .strides = strides,
                    .region = region,
                    .offset = data_at + tensor.begin,
                    .size_bytes = tensor.end - tensor.begin});
    }
    // Shards repeat the metadata; the first file's word stands.
    for (const auto& [key, value] : header.metadata()) {
      if (metadata_keys_.emplace(key).second) builder_.AddMetadata(key, value);
    }
    return absl::OkStatus();
  }

  // A file's own names are unique already.
  absl::Status CheckUnique(const InputFile& file, const SafetensorsHeader::Tensor& tensor) {
    if (!several_files_) return absl::OkStatus();
    if (names_.emplace(tensor.name).second) return absl::OkStatus();
    return Malformed(file.path, SafetensorsHeader::FileByte(tensor.name_position),
                     "another file of the checkpoint has a tensor of this name", tensor.name,
                     "give each tensor a name of its own");
  }

  const bool several_files_;
  wire::TableBuilder builder_;
  size_t dimensions_ = 0;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
};

}  // namespace

bool SafetensorsFormat::Sniff(const InputFile& file, std::span<const std::byte> start) const {
  const std::string_view path = file.path;
  // Caches name files by their hash: there only the header's first byte tells.
  return path.ends_with(".safetensors") ||
         (start.size() > kLengthBytes && start[kLengthBytes] == std::byte{'{'});
}

absl::StatusOr<std::string> SafetensorsFormat::Parse(std::span<const InputFile> files) const {
  Collector collector(files.size() > 1);
  for (const InputFile& file : files) {
    if (auto status = collector.Add(file); !status.ok()) return status;
  }
  return collector.Build();
}

}  // namespace modeld::checkpoint
