// Any bytes as a safetensors file: refused at a byte within it, or read into a table that the
// validator accepts.
//
// The first byte of the input chooses: even, the rest is the file; odd, the next byte is how much
// data follows the header, and the rest is the header, so that the fuzzer need not guess its
// length.

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "fuzzed_file.h"

namespace {

std::string FileOf(std::span<const uint8_t> input) {
  const std::string bytes(input.begin(), input.end());
  if (bytes.empty() || bytes[0] % 2 == 0) return bytes.empty() ? bytes : bytes.substr(1);
  const size_t data_bytes = bytes.size() > 1 ? static_cast<uint8_t>(bytes[1]) : 0;
  const std::string header = bytes.size() > 2 ? bytes.substr(2) : "";
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + std::string(data_bytes, 'd');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static modeld::fuzz::File input("f.safetensors");
  const std::string file = FileOf({data, size});
  const modeld::checkpoint::InputFile files[] = {input.Holding(file)};
  const auto parsed = modeld::checkpoint::ParseCheckpoint(files);
  if (!parsed.ok()) {
    modeld::fuzz::CheckRefusal(parsed.status(), file.size(),
                               {modeld::wire::Reason::kCheckpointMalformed});
    return 0;
  }
  const uint64_t sizes[] = {file.size()};
  const auto table = modeld::fuzz::CheckTables(*parsed, sizes);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  if (table.tensor_bytes() != file.size() - 8 - header_bytes) {
    modeld::fuzz::Fail("bytes that no tensor covers");
  }
  return 0;
}
