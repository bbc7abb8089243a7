#include <utility>

#include "absl/strings/str_cat.h"
#include "memory/segment.h"
#include "wire/checked.h"
#include "wire/memfd.h"

namespace modeld::memory {
namespace {

absl::Status CheckRange(uint64_t offset, uint64_t size_bytes, uint64_t segment_bytes) {
  if (wire::RangeFits(offset, size_bytes, segment_bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("no ", size_bytes, " bytes at ", offset, " in a segment of ", segment_bytes));
}

class MappedReader : public SegmentReader {
 public:
  explicit MappedReader(wire::Mapping mapping) : mapping_(std::move(mapping)) {}

  absl::StatusOr<std::span<const std::byte>> Read(uint64_t offset, uint64_t size_bytes) override {
    auto status = CheckRange(offset, size_bytes, mapping_.size_bytes());
    if (!status.ok()) return status;
    return mapping_.bytes().subspan(offset, size_bytes);
  }

 private:
  const wire::Mapping mapping_;
};

class CopyingReader : public SegmentReader {
 public:
  explicit CopyingReader(const ExportedSegment& segment) : segment_(segment) {}

  absl::StatusOr<std::span<const std::byte>> Read(uint64_t offset, uint64_t size_bytes) override {
    auto status = CheckRange(offset, size_bytes, segment_.info.size_bytes);
    if (!status.ok()) return status;
    if (buffer_.size() < size_bytes) buffer_.resize(size_bytes);
    const std::span<std::byte> out = std::span(buffer_).first(size_bytes);
    if (status = segment_.share->Read(offset, out); !status.ok()) return status;
    return out;
  }

 private:
  const ExportedSegment& segment_;
  std::vector<std::byte> buffer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentReader>> SegmentReader::Open(const ExportedSegment& segment) {
  if (segment.share != nullptr) return std::make_unique<CopyingReader>(segment);
  auto mapping = wire::MapReadOnly(segment.fds.front().get(), segment.info.size_bytes);
  if (!mapping.ok()) return mapping.status();
  return std::make_unique<MappedReader>(*std::move(mapping));
}

}  // namespace modeld::memory
