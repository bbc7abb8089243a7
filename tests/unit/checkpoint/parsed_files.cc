#include "parsed_files.h"

#include <fcntl.h>

#include <fstream>
#include <iterator>
#include <span>

#include "checkpoint/format.h"
#include "wire/unique_fd.h"

namespace modeld::test {

ParsedFiles::ParsedFiles(const std::vector<std::string>& paths, size_t weights,
                         const plan::LoadConfig& config) {
  std::vector<checkpoint::InputFile> files;
  std::vector<wire::UniqueFd> fds;
  std::vector<uint64_t> sizes;
  for (const std::string& path : paths) {
    std::ifstream file(path, std::ios::binary);
    contents_.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    sizes.push_back(contents_.back().size());
    fds.emplace_back(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    files.push_back({.path = path,
                     .name = path.substr(path.rfind('/') + 1),
                     .fd = fds.back().get(),
                     .size_bytes = sizes.back()});
  }
  auto parsed = checkpoint::ParseCheckpoint(std::span(files).first(weights),
                                            std::span(files).subspan(weights), config);
  if (!parsed.ok()) {
    status_ = parsed.status();
    return;
  }
  format_ = parsed->format;
  bytes_ = std::move(parsed->table);
  reference_bytes_ = std::move(parsed->reference_table);
  reference_ = wire::ReferenceTable::Validate(std::as_bytes(std::span(reference_bytes_))).value();
  const auto view =
      wire::TableView::Validate(std::as_bytes(std::span(bytes_)), {.region_sizes = sizes});
  status_ = view.status();
  if (view.ok()) view_ = *view;
}

std::string ParsedFiles::metadata(std::string_view key) const {
  for (size_t i = 0; i < reference_.metadata_count(); ++i) {
    if (reference_.metadata(i).first == key) return std::string(reference_.metadata(i).second);
  }
  return "none";
}

}  // namespace modeld::test
