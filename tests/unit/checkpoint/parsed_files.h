// Files, read and validated as the daemon would.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "plan/load_config.h"
#include "wire/reference_table.h"
#include "wire/tensor_table.h"

namespace modeld::test {

class ParsedFiles {
 public:
  // The first `weights` of them are the weights, the others companions. Each is called as it is,
  // without its directory.
  ParsedFiles(const std::vector<std::string>& paths, size_t weights,
              const plan::LoadConfig& config = {});
  // Weights only.
  explicit ParsedFiles(const std::vector<std::string>& paths) : ParsedFiles(paths, paths.size()) {}
  // Views point into it.
  ParsedFiles(const ParsedFiles&) = delete;
  ParsedFiles& operator=(const ParsedFiles&) = delete;

  const absl::Status& status() const { return status_; }
  const std::string& format() const { return format_; }
  const wire::TableView& view() const { return view_; }
  const wire::ReferenceTable& reference() const { return reference_; }
  // `none` where there is no such key.
  std::string metadata(std::string_view key) const;
  std::string BytesOf(const wire::TensorEntry& entry) const {
    return contents_[entry.region].substr(entry.offset, entry.size_bytes);
  }

 private:
  absl::Status status_;
  std::string format_;
  std::string reference_bytes_;
  wire::ReferenceTable reference_;
  std::vector<std::string> contents_;
  std::string bytes_;
  wire::TableView view_;
};

}  // namespace modeld::test
