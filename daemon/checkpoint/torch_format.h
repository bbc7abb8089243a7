// What torch.save writes since PyTorch 1.6, and what torch.jit.save writes: ZIP archives in which
// every storage is a record, and a pickle that says which tensors there are.
//
// Sources: https://github.com/pytorch/pytorch/blob/main/torch/serialization.py and
// https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/docs/serialization.md

#pragma once

#include "checkpoint/format.h"

namespace modeld::checkpoint {

// Data: state dicts, checkpoints of trainers, bare tensors. docs/formats.md says which of a file's
// tensors these are.
class TorchFormat : public Format {
 public:
  const char* name() const override { return "torch"; }
  // Archives that begin like torch.save's; and under its usual endings also other archives, and
  // what older versions wrote, for their own words.
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                     Collector& out) const override;
};

// A module with its code. Its tensors have the names by which the module has them; constants of the
// code are `constants.0`, `constants.1`, ...; all else is small files, under their names in the
// archive without its top folder.
class TorchScriptFormat : public Format {
 public:
  const char* name() const override { return "torchscript"; }
  bool Sniff(const InputFile& file, std::span<const std::byte> start) const override;
  absl::Status Parse(std::span<const InputFile> files, const std::string& key_prefix,
                     Collector& out) const override;
};

// Small files of a TorchScript archive that modeld writes. The first says which bytes of which
// record each tensor is; five fields for each, all ended by a NUL: the record (`data/0`), its size
// in bytes, the tensor's offset in it in bytes, its dtype as stored, and its name.
inline constexpr char kTorchScriptRecords[] = ".modeld/records";
// The strides of those tensors that are not C-contiguous, two fields for each, both ended by a NUL:
// the name, and the strides in elements, joined by commas. Code was saved with them, while the copy
// in memory may be laid out as another checkpoint of equal weights has it.
inline constexpr char kTorchScriptStrides[] = ".modeld/strides";
// constants.pkl with `constants/` before the keys of its storages, so that they differ from those
// of data.pkl: LibTorch takes storages that are there already by their keys alone. Only where there
// are any.
inline constexpr char kTorchScriptConstants[] = ".modeld/constants.pkl";

}  // namespace modeld::checkpoint
