// One archive of torch.save or torch.jit.save, opened.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "checkpoint/format.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/torch_tensors.h"
#include "checkpoint/zip_reader.h"

namespace modeld::checkpoint {

// Of 1,000,000 tensors, with room.
inline constexpr uint64_t kMaxTorchPickleBytes = 192 << 20;

// Externally synchronised.
class TorchArchive {
 public:
  // Opens it and finds its top folder. kFormatUnsupported for archives that others write, and for
  // big-endian ones.
  static absl::StatusOr<TorchArchive> Open(const InputFile& file);

  const ZipReader& zip() const { return zip_; }
  // `archive/`, or empty.
  const std::string& folder() const { return folder_; }
  // A record by its name within the folder.
  const ZipRecord* Find(std::string_view name) const {
    return zip_.Find(folder_ + std::string(name));
  }
  bool is_script() const { return Find("constants.pkl") != nullptr; }

 private:
  TorchArchive(const InputFile& file, ZipReader zip) : file_(&file), zip_(std::move(zip)) {}

  absl::Status FindFolder();
  absl::Status CheckByteOrder() const;

  const InputFile* file_;
  ZipReader zip_;
  std::string folder_;
};

// A pickle of the archive, read. The archive outlives it.
class ArchivePickle {
 public:
  // kCheckpointMalformed, kFormatUnsupported.
  static absl::StatusOr<std::unique_ptr<ArchivePickle>> Read(const InputFile& file,
                                                             const TorchArchive& archive,
                                                             const ZipRecord& record,
                                                             FindPickleGlobal find);

  const PickleReader& pickle() const { return *reader_; }
  std::string_view text() const { return text_; }
  const TorchPickle& source() const { return source_; }

 private:
  std::string text_;
  std::optional<PickleReader> reader_;
  TorchPickle source_;
};

}  // namespace modeld::checkpoint
