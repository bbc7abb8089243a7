// Any bytes as a safetensors file: refused at a byte within it, or read into a table that the
// validator accepts.
//
// The first byte of the input chooses: even, the rest is the file; odd, the next byte is how much
// data follows the header, and the rest is the header, so that the fuzzer need not guess its
// length.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <span>
#include <string>

#include "checkpoint/format.h"
#include "wire/error.h"
#include "wire/tensor_table.h"

namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::abort();
}

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

void CheckRefusal(const absl::Status& status, uint64_t size_bytes) {
  const auto info = modeld::wire::GetErrorInfo(status);
  if (info.reason != modeld::wire::Reason::kCheckpointMalformed) Fail(status.ToString());
  if (info.hint.empty() || info.metadata.count("file") == 0) Fail("an error that helps nobody");
  if (std::stoull(info.metadata.at("byte")) > size_bytes) Fail("a byte that is not in the file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  const std::string file = FileOf({data, size});
  if (ftruncate(fd, static_cast<off_t>(file.size())) != 0 ||
      pwrite(fd, file.data(), file.size(), 0) != static_cast<ssize_t>(file.size())) {
    Fail("memfd");
  }
  const modeld::checkpoint::InputFile files[] = {
      {.path = "f.safetensors", .name = "f.safetensors", .fd = fd, .size_bytes = file.size()}};
  const auto parsed = modeld::checkpoint::ParseCheckpoint(files);
  if (!parsed.ok()) {
    CheckRefusal(parsed.status(), file.size());
    return 0;
  }
  const uint64_t sizes[] = {file.size()};
  const auto table = modeld::wire::TableView::Validate(std::as_bytes(std::span(parsed->table)),
                                                       {.region_sizes = sizes});
  if (!table.ok()) Fail("read, but not valid: " + table.status().ToString());
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  if (table->tensor_bytes() != file.size() - 8 - header_bytes) Fail("bytes that no tensor covers");
  return 0;
}
