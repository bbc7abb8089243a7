// Archives that are not quite torch.save's, each with what a reader shall say about it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/zip_writer.h"

namespace modeld::test {

struct MalformedArchive {
  std::string name;  // of the case
  std::string bytes;
  bool unsupported = false;  // well formed and not read, instead of malformed
  int64_t byte = -1;         // at which it goes wrong; -1: any within the file
  std::string words;         // that the message shall have
};

// Opcodes, as text that reads like what it does.
std::string Text(std::string_view text);  // BINUNICODE
std::string Global(std::string_view module, std::string_view name);
std::string Int(int64_t value);
std::string Tuple(const std::vector<std::string>& items);  // MARK ... TUPLE
// A persistent id: ("storage", torch.<type>, key, "cpu", elements).
std::string Storage(std::string_view type, std::string_view key, int64_t elements);
// A call of _rebuild_tensor_v2.
std::string Tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides);
// Protocol 2, `body`, STOP.
std::string Pickle(const std::string& body);
// A dict with one item.
std::string Dict(std::string_view key, const std::string& value);

// data.pkl, data/0 of 64 bytes and data/1 of 48, as torch.save would have them.
std::vector<ZipEntry> TorchEntries(const std::string& pickle);
std::string TorchFile(const std::string& pickle);

std::vector<MalformedArchive> MalformedZips();
std::vector<MalformedArchive> MalformedPickles();

}  // namespace modeld::test
