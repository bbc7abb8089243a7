// Any bytes as a ZIP archive: refused at a byte within it, or records that lie within the file and
// do not overlap.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/zip_reader.h"
#include "wire/error.h"

namespace {

using modeld::wire::Reason;

constexpr uint64_t kMostBytes = 1 << 20;

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::abort();
}

void CheckRefusal(const absl::Status& status, uint64_t size_bytes) {
  const auto info = modeld::wire::GetErrorInfo(status);
  if (info.reason != Reason::kCheckpointMalformed && info.reason != Reason::kFormatUnsupported) {
    Fail(status.ToString());
  }
  if (info.hint.empty() || info.metadata.count("file") == 0) Fail("an error that helps nobody");
  if (std::stoull(info.metadata.at("byte")) > size_bytes) Fail("a byte that is not in the file");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (ftruncate(fd, static_cast<off_t>(size)) != 0 ||
      pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) {
    Fail("memfd");
  }
  const modeld::checkpoint::InputFile file = {
      .path = "f.pt", .name = "f.pt", .fd = fd, .size_bytes = size};
  const auto zip = modeld::checkpoint::ZipReader::Open(file);
  if (!zip.ok()) {
    CheckRefusal(zip.status(), size);
    return 0;
  }
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& record : zip->records()) {
    if (zip->Find(record.name) != &record) Fail("a record that is not found by its name");
    const auto offset = zip->Locate(record);
    if (!offset.ok()) {
      CheckRefusal(offset.status(), size);
      continue;
    }
    if (*offset > size || record.stored_bytes > size - *offset) Fail("bytes outside of the file");
    ranges.emplace_back(*offset, *offset + record.stored_bytes);
    const auto bytes = zip->Read(record, kMostBytes);
    if (!bytes.ok()) {
      CheckRefusal(bytes.status(), size);
    } else if (bytes->size() != record.size_bytes || bytes->size() > kMostBytes) {
      Fail("more or fewer bytes than the directory says");
    }
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) Fail("records that overlap");
  }
  return 0;
}
