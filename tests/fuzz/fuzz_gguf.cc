// Any bytes as a GGUF file: refused, or read into tables that the validators accept and whose
// tensors, with what pads them, are all that follows the header.

#include <cstdint>
#include <string>

#include "checkpoint/gguf.h"
#include "fuzzed_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using modeld::wire::Reason;
  static modeld::fuzz::File input("f.gguf");
  const std::string file(reinterpret_cast<const char*>(data), size);
  const modeld::checkpoint::InputFile files[] = {input.Holding(file)};
  const auto parsed = modeld::checkpoint::ParseCheckpoint(files);
  if (!parsed.ok()) {
    modeld::fuzz::CheckRefusal(parsed.status(), size,
                               {Reason::kCheckpointMalformed, Reason::kFormatUnsupported});
    return 0;
  }
  const uint64_t sizes[] = {size};
  const auto table = modeld::fuzz::CheckTables(*parsed, sizes);
  const auto reference =
      modeld::wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed->reference_table)));
  const auto header = reference->find_file(modeld::checkpoint::kGgufHeaderFile);
  if (!header) modeld::fuzz::Fail("no header");
  uint64_t end = header->bytes.size();
  for (size_t i = 0; i < table.size(); ++i) {
    const auto entry = table.entry(i);
    if (entry.size_bytes == 0) continue;
    if (entry.offset < header->bytes.size()) modeld::fuzz::Fail("a tensor within the header");
    end = std::max(end, entry.offset + entry.size_bytes);
  }
  if (end > size) modeld::fuzz::Fail("a tensor beyond the file");
  return 0;
}
