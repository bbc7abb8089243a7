// Bytes as a file, read by the parser, and what must hold whatever it says.

#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <span>
#include <string>

#include "checkpoint/format.h"
#include "wire/error.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace modeld::fuzz {

[[noreturn]] inline void Fail(const std::string& what) {
  std::cerr << what << "\n";
  std::abort();
}

// A file in memory, made once and written anew for each input.
class File {
 public:
  explicit File(std::string name)
      : name_(std::move(name)), fd_(memfd_create("fuzz", MFD_CLOEXEC)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  checkpoint::InputFile Holding(const std::string& bytes) {
    if (ftruncate(fd_, static_cast<off_t>(bytes.size())) != 0 ||
        pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
      Fail("memfd");
    }
    return {.path = name_, .name = name_, .fd = fd_, .size_bytes = bytes.size()};
  }

 private:
  const std::string name_;
  const int fd_;
};

// A refusal has one of these reasons, helps, and names a byte of the file.
inline void CheckRefusal(const absl::Status& status, uint64_t size_bytes,
                         std::initializer_list<wire::Reason> reasons) {
  const auto info = wire::GetErrorInfo(status);
  if (std::find(reasons.begin(), reasons.end(), info.reason) == reasons.end()) {
    Fail(status.ToString());
  }
  if (info.hint.empty() || info.metadata.count("file") == 0) Fail("an error that helps nobody");
  if (info.metadata.count("byte") != 0 && std::stoull(info.metadata.at("byte")) > size_bytes) {
    Fail("a byte that is not in the file");
  }
}

// What was read is valid. The view points into `parsed`.
inline wire::TableView CheckTables(const checkpoint::ParsedCheckpoint& parsed,
                                   std::span<const uint64_t> sizes) {
  const auto table =
      wire::TableView::Validate(std::as_bytes(std::span(parsed.table)), {.region_sizes = sizes});
  if (!table.ok()) Fail("read, but not valid: " + table.status().ToString());
  const auto reference =
      wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed.reference_table)));
  if (!reference.ok()) Fail("read, but not valid: " + reference.status().ToString());
  return *table;
}

}  // namespace modeld::fuzz
