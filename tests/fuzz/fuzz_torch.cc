// Any bytes as a checkpoint of PyTorch: refused with a reason, or read into a table that the
// validator accepts, with every tensor within a record of storage.
//
// The first byte of the input chooses. Bit 0 clear: the rest is the file. Set: the rest is the
// pickle of an archive that is put together around it, so that the fuzzer need not compute CRCs; a
// TorchScript archive with bit 1, a key prefix with bit 2.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <span>
#include <string>

#include "checkpoint/format.h"
#include "support/zip_writer.h"
#include "wire/error.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace {

using modeld::wire::Reason;

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::abort();
}

std::string FileOf(std::span<const uint8_t> input) {
  if (input.empty()) return "";
  const std::string rest(input.begin() + 1, input.end());
  if ((input[0] & 1) == 0) return rest;
  std::vector<modeld::test::ZipEntry> entries = {
      {.name = "a/data.pkl", .bytes = rest},
      {.name = "a/byteorder", .bytes = "little"},
      {.name = "a/data/0", .bytes = std::string(64, '0')},
      {.name = "a/data/1", .bytes = std::string(48, '1'), .local_extra = 9}};
  if ((input[0] & 2) != 0) {
    entries.push_back({.name = "a/constants.pkl", .bytes = "\x80\x02)."});
    entries.push_back({.name = "a/code/__torch__.py", .bytes = "class A", .deflate = true});
  }
  return modeld::test::WriteZip(entries).bytes;
}

void CheckRefusal(const absl::Status& status, uint64_t size_bytes) {
  const auto info = modeld::wire::GetErrorInfo(status);
  if (info.reason != Reason::kCheckpointMalformed && info.reason != Reason::kFormatUnsupported &&
      info.reason != Reason::kFieldInvalid) {
    Fail(status.ToString());
  }
  if (info.hint.empty() || info.metadata.count("file") == 0) Fail("an error that helps nobody");
  if (info.metadata.count("byte") != 0 && std::stoull(info.metadata.at("byte")) > size_bytes) {
    Fail("a byte that is not in the file");
  }
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
      {.path = "f.pt", .name = "f.pt", .fd = fd, .size_bytes = file.size()}};
  modeld::plan::LoadConfig config;
  if (size > 0 && (data[0] & 4) != 0) config.key_prefix = "ema.";
  const auto parsed = modeld::checkpoint::ParseCheckpoint(files, {}, config);
  if (!parsed.ok()) {
    CheckRefusal(parsed.status(), file.size());
    return 0;
  }
  const uint64_t sizes[] = {file.size()};
  const auto table = modeld::wire::TableView::Validate(std::as_bytes(std::span(parsed->table)),
                                                       {.region_sizes = sizes});
  if (!table.ok()) Fail("read, but not valid: " + table.status().ToString());
  if (!modeld::wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed->reference_table)))
           .ok()) {
    Fail("small files that are not valid");
  }
  // The bytes of a storage that the harness made are all the same.
  if (size == 0 || (data[0] & 1) == 0) return 0;
  for (size_t i = 0; i < table->size(); ++i) {
    const auto entry = table->entry(i);
    for (uint64_t at = entry.offset; at < entry.offset + entry.size_bytes; ++at) {
      if (file[at] != file[entry.offset] || (file[at] != '0' && file[at] != '1')) {
        Fail("a tensor outside of its storage");
      }
    }
  }
  return 0;
}
