#include "checkpoint/blob.h"

#include <algorithm>
#include <array>

#include "checkpoint/malformed.h"
#include "checkpoint/mistaken.h"
#include "checkpoint/read_file.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {

bool BlobFormat::Sniff(const InputFile& file, std::span<const std::byte> /*start*/) const {
  const std::string_view name = file.name;
  return !name.ends_with(".pt") && !name.ends_with(".pth") && !name.ends_with(".ckpt");
}

absl::Status BlobFormat::Parse(std::span<const InputFile> files, const std::string& /*key_prefix*/,
                               Collector& out) const {
  for (size_t i = 0; i < files.size(); ++i) {
    const InputFile& file = files[i];
    std::array<std::byte, kSniffBytes> buffer = {};
    const auto start = std::span(buffer).first(
        static_cast<size_t>(std::min<uint64_t>(kSniffBytes, file.size_bytes)));
    if (auto status = ReadFully(file, 0, start); !status.ok()) return status;
    if (const std::string hint = MistakenForModel(start); !hint.empty()) {
      return Malformed(file.path, 0, "this is no model", {}, hint);
    }
    const std::string name =
        wire::ToUtf8(std::string_view(file.name).substr(file.name.rfind('/') + 1));
    const int64_t shape[] = {static_cast<int64_t>(file.size_bytes)};
    const int64_t strides[] = {1};
    const bool added = out.AddTensor({.name = name,
                                      .dtype = wire::DType::kU8,
                                      .shape = shape,
                                      .strides = strides,
                                      .region = static_cast<uint32_t>(i),
                                      .offset = 0,
                                      .size_bytes = file.size_bytes});
    if (!added) {
      return Malformed(file.path, 0, "another file of the checkpoint has this name", name,
                       "give each file a name of its own");
    }
  }
  return absl::OkStatus();
}

}  // namespace modeld::checkpoint
