// What a pickle of PyTorch says about tensors: which storage, where in it, which shape. The bytes
// of a storage are a record of the archive; they are found, never read.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "checkpoint/format.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/torch_globals.h"
#include "checkpoint/zip_reader.h"
#include "wire/dtype.h"

namespace modeld::checkpoint {

// A pickle within an archive, for messages: values are told by the byte in the file.
struct TorchPickle {
  const InputFile* file = nullptr;
  const ZipRecord* record = nullptr;
  uint64_t data_offset = 0;  // of the record's bytes
  const PickleReader* pickle = nullptr;

  // The file offset of `position` in the pickle, or of the pickle where it is compressed.
  uint64_t ByteOf(uint64_t position) const {
    return record->deflated ? data_offset : data_offset + position;
  }
  absl::Status Malformed(PickleReader::Value value, const std::string& what,
                         std::string_view tensor = {}) const;
};

// kFormatUnsupported for what is well formed and not read, at a byte of `file`. `what` says what it
// is; `global`, if it is not empty, which name is at fault. The hint is the line that converts it.
absl::Status TorchUnsupported(const InputFile& file, uint64_t byte, const std::string& what,
                              std::string_view global = {}, std::string_view tensor = {});

// A tensor in the file.
struct TorchTensor {
  std::string name;
  wire::DType dtype = wire::DType::kU8;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  const ZipRecord* storage = nullptr;
  uint64_t storage_offset = 0;  // bytes from the start of the storage
  uint64_t file_offset = 0;
  uint64_t size_bytes = 0;
  bool alias = false;  // shares bytes with another
};

// Externally synchronised. Everything it is given outlives it.
class TorchTensors {
 public:
  // Storages are the records whose names are `folder` and a key.
  TorchTensors(const ZipReader& zip, const TorchPickle& source, std::string folder)
      : zip_(zip), source_(source), pickle_(*source.pickle), folder_(std::move(folder)) {}

  // Is it a call that makes a tensor?
  bool IsTensor(PickleReader::Value value) const;
  // Reads what IsTensor. kCheckpointMalformed, kFormatUnsupported.
  absl::StatusOr<TorchTensor> Read(PickleReader::Value value, std::string_view name);

  // The texts by which the tensors that were read name their storages, in the order of the pickle.
  std::vector<PickleReader::Value> StorageKeys() const;

 private:
  using Value = PickleReader::Value;
  struct Storage {
    const ZipRecord* record = nullptr;
    uint64_t file_offset = 0;
    uint64_t size_bytes = 0;
    wire::DType dtype = wire::DType::kU8;
  };

  absl::StatusOr<TorchTensor> ReadCall(Value value, std::string_view name, int depth);
  absl::StatusOr<TorchTensor> ReadFunction(TorchGlobal function, std::span<const Value> arguments,
                                           Value value, std::string_view name, int depth);
  absl::StatusOr<TorchTensor> ReadRebuild(TorchGlobal function, std::span<const Value> arguments,
                                          Value value, std::string_view name);
  absl::StatusOr<Storage> ReadStorage(Value value, std::string_view name);
  absl::Status ReadSizes(Value value, std::string_view what, std::string_view name,
                         std::vector<int64_t>* sizes) const;
  absl::Status CheckBits(Value metadata, std::string_view name) const;
  absl::Status UnpackHalfBytes(Value value, TorchTensor* tensor) const;

  bool IsInt(Value value) const { return pickle_.kind(value) == PickleReader::Kind::kInt; }
  absl::Status Unsupported(Value value, const std::string& what, std::string_view name) const;

  const ZipReader& zip_;
  const TorchPickle source_;
  const PickleReader& pickle_;
  const std::string folder_;
  absl::flat_hash_map<const ZipRecord*, uint64_t> located_;
  absl::flat_hash_set<Value> keys_;
};

// Marks the tensors that share bytes, and puts all in the order of their bytes.
void SortAndMarkAliases(std::vector<TorchTensor>& tensors);

}  // namespace modeld::checkpoint
