#include "checkpoint/gguf.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "checkpoint/gguf_header.h"
#include "checkpoint/malformed.h"
#include "wire/tensor_table.h"

namespace modeld::checkpoint {
namespace {

constexpr std::string_view kMagic = "GGUF";

absl::Status AddTensors(const InputFile& file, uint32_t region, const GgufHeader& header,
                        Collector& out) {
  for (const GgufHeader::Tensor& tensor : header.tensors()) {
    const auto shape = header.shape(tensor);
    const auto strides = wire::ContiguousStrides(shape);
    const std::string_view name = header.text(tensor.name);
    // An empty tensor has a place all the same, and the file may end before it.
    const uint64_t offset = std::min(header.data_at() + tensor.begin, file.size_bytes);
    const bool added = out.AddTensor({.name = name,
                                      .dtype = tensor.dtype,
                                      .shape = shape,
                                      .strides = strides,
                                      .region = region,
                                      .offset = offset,
                                      .size_bytes = tensor.size_bytes});
    if (!added) {
      return Malformed(file.path, tensor.name.at,
                       "another file of the checkpoint has a tensor of this name", name,
                       "give each tensor a name of its own");
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool GgufFormat::Sniff(const InputFile& file, std::span<const std::byte> start) const {
  const std::string_view name = file.name;
  if (name.ends_with(".gguf")) return true;
  // What an ending promises comes first: it is malformed, and told so.
  return !name.ends_with(".safetensors") && start.size() >= kMagic.size() &&
         std::memcmp(start.data(), kMagic.data(), kMagic.size()) == 0;
}

absl::Status GgufFormat::Parse(std::span<const InputFile> files, const std::string& /*key_prefix*/,
                               Collector& out) const {
  for (size_t i = 0; i < files.size(); ++i) {
    GgufHeader header(files[i]);
    if (auto status =
            header.Read({.tensors = out.tensors_left(), .dimensions = out.dimensions_left()});
        !status.ok()) {
      return status;
    }
    if (files.size() > 1 && header.split_count() != files.size()) {
      return Malformed(
          files[i].path, 0,
          header.split_count()
              ? absl::StrCat("its split.count is ", *header.split_count(), ", but it is one of ",
                             files.size(), " files")
              : absl::StrCat("it has no split.count, but it is one of ", files.size(), " files"),
          {}, "name one file by itself, or complete the parts");
    }
    if (auto status = AddTensors(files[i], static_cast<uint32_t>(i), header, out); !status.ok()) {
      return status;
    }
    for (const GgufHeader::Pair& pair : header.metadata()) {
      out.AddMetadata(header.text(pair.key), header.value(pair));
    }
    const std::string_view bytes = header.bytes();
    if (i == 0 && bytes.size() <= std::min(kMaxSmallFileBytes, out.file_bytes_left())) {
      out.AddFile(kGgufHeaderFile, bytes);
    }
  }
  return absl::OkStatus();
}

}  // namespace modeld::checkpoint
