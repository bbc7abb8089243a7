// How one reader brings one chunk to its place.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory/chunk_plan.h"
#include "memory/segment.h"
#include "memory/source_file.h"
#include "wire/memfd.h"

namespace modeld::memory {

// One per reader thread; externally synchronised.
class ChunkReader {
 public:
  // Borrows everything.
  ChunkReader(std::span<const std::unique_ptr<SourceFile>> files,
              std::span<const std::unique_ptr<SegmentFill>> segments, const KeepGoing& keep_going)
      : files_(files), segments_(segments), keep_going_(keep_going) {}

  absl::Status Read(const Chunk& chunk);

  uint64_t direct_bytes() const { return direct_bytes_; }
  uint64_t buffered_bytes() const { return buffered_bytes_; }

 private:
  // Has `fill` write to the window of [offset, offset + size_bytes) of a segment.
  absl::Status Write(SegmentFill& segment, uint64_t offset, uint64_t size_bytes, uint64_t like,
                     const std::function<absl::Status(std::span<std::byte>)>& fill);
  // One range whose pages in the file are pages in its window.
  absl::Status ReadInPlace(const SourceFile& file, const plan::CopyRange& piece);
  absl::Status ReadPieceBuffered(const SourceFile& file, const plan::CopyRange& piece);
  // One range that is cast, by way of the bounce buffer.
  absl::Status ReadCast(const SourceFile& file, const plan::CopyRange& piece, bool direct);
  // Any ranges, by way of the bounce buffer.
  absl::Status ReadGathered(const SourceFile& file, const Chunk& chunk, bool direct);
  absl::Status ReadStretch(const SourceFile& file, uint64_t begin, uint64_t end,
                           std::span<const plan::CopyRange> pieces, bool direct);
  // The bytes [begin, end) of a file, at most a chunk, in the bounce buffer until the next call.
  absl::StatusOr<std::span<const std::byte>> ReadToBounce(const SourceFile& file, uint64_t begin,
                                                          uint64_t end, bool direct);
  absl::Status Place(const plan::CopyRange& piece, std::span<const std::byte> bytes);
  absl::Status NeedBounce();

  const std::span<const std::unique_ptr<SourceFile>> files_;
  const std::span<const std::unique_ptr<SegmentFill>> segments_;
  const KeepGoing& keep_going_;
  wire::Mapping
      bounce_;  // page-aligned; mapped when first needed, so that it is gone with the reader
  uint64_t direct_bytes_ = 0;
  uint64_t buffered_bytes_ = 0;
};

}  // namespace modeld::memory
