#include "memory/chunk_reader.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "wire/checked.h"
#include "wire/error.h"

namespace modeld::memory {
namespace {

constexpr uint64_t kPage = kDirectAlignmentBytes;
// A chunk and the pages that it begins and ends in.
constexpr uint64_t kBounceBytes = kChunkBytes + 2 * kPage;
// Out of the page cache, shorter stretches stay in the processor's cache on their way.
constexpr uint64_t kBufferedStretchBytes = 512 << 10;

uint64_t AlignUp(uint64_t value) { return wire::AlignDown(value + kPage - 1, kPage); }

}  // namespace

absl::Status ChunkReader::Read(const Chunk& chunk) {
  const SourceFile& file = *files_[chunk.file_index];
  const bool direct = file.PreferDirect(chunk.file_offset, chunk.size_bytes);
  (direct ? direct_bytes_ : buffered_bytes_) += chunk.size_bytes;
  const plan::CopyRange& first = chunk.pieces.front();
  if (chunk.pieces.size() == 1 && first.size_bytes >= kLongRangeBytes / 2) {
    if (first.cast) return ReadCast(file, first, direct);
    if (!direct) return ReadPieceBuffered(file, first);
    if (segments_[first.segment_index]->staged() ||
        first.file_offset % kWindowAlignmentBytes == first.segment_offset % kWindowAlignmentBytes) {
      return ReadInPlace(file, first);
    }
  }
  return ReadGathered(file, chunk, direct);
}

absl::Status ChunkReader::Write(SegmentFill& segment, uint64_t offset, uint64_t size_bytes,
                                uint64_t like,
                                const std::function<absl::Status(std::span<std::byte>)>& fill) {
  const auto window = segment.Open(offset, size_bytes, like);
  if (!window.ok()) return window.status();
  if (absl::Status status = fill({window->data, window->size_bytes}); !status.ok()) {
    segment.Abandon(*window);
    return status;
  }
  return segment.Close(*window);
}

absl::Status ChunkReader::ReadInPlace(const SourceFile& file, const plan::CopyRange& piece) {
  const uint64_t begin = piece.file_offset;
  const uint64_t end = begin + piece.size_bytes;
  const uint64_t pages_begin = std::min(AlignUp(begin), end);
  const uint64_t pages_end = std::max(wire::AlignDown(end, kPage), pages_begin);
  const auto part = [&piece](uint64_t from, uint64_t to) {
    plan::CopyRange range = piece;
    range.file_offset = from;
    range.segment_offset += from - piece.file_offset;
    range.size_bytes = to - from;
    return range;
  };
  if (pages_begin > begin) {
    const plan::CopyRange head = part(begin, pages_begin);
    if (auto status = ReadStretch(file, begin, pages_begin, {&head, 1}, true); !status.ok())
      return status;
  }
  if (pages_end > pages_begin) {
    const plan::CopyRange pages = part(pages_begin, pages_end);
    const auto read = [&](std::span<std::byte> out) {
      return file.ReadDirect(pages_begin, out, out.size(), keep_going_);
    };
    if (auto status = Write(*segments_[piece.segment_index], pages.segment_offset, pages.size_bytes,
                            pages.file_offset, read);
        !status.ok()) {
      return status;
    }
  }
  if (end > pages_end) {
    const plan::CopyRange tail = part(pages_end, end);
    return ReadStretch(file, pages_end, end, {&tail, 1}, true);
  }
  return absl::OkStatus();
}

absl::Status ChunkReader::ReadPieceBuffered(const SourceFile& file, const plan::CopyRange& piece) {
  return Write(*segments_[piece.segment_index], piece.segment_offset, piece.size_bytes,
               piece.segment_offset, [&](std::span<std::byte> out) {
                 return file.ReadBuffered(piece.file_offset, out, keep_going_);
               });
}

absl::Status ChunkReader::ReadGathered(const SourceFile& file, const Chunk& chunk, bool direct) {
  const uint64_t longest = direct ? kChunkBytes : kBufferedStretchBytes;
  auto first = chunk.pieces.begin();
  while (first != chunk.pieces.end()) {
    const uint64_t begin = first->file_offset;
    uint64_t end = begin + first->size_bytes;
    auto last = first + 1;
    while (last != chunk.pieces.end() && last->file_offset + last->size_bytes - begin <= longest) {
      end = last->file_offset + last->size_bytes;
      ++last;
    }
    if (auto status = ReadStretch(file, begin, end, {first, last}, direct); !status.ok())
      return status;
    first = last;
  }
  return absl::OkStatus();
}

absl::Status ChunkReader::ReadCast(const SourceFile& file, const plan::CopyRange& piece,
                                   bool direct) {
  const plan::Cast& cast = *piece.cast;
  // A multiple of every element's size.
  const uint64_t longest = direct ? kChunkBytes : kBufferedStretchBytes;
  const auto read = [&](std::span<std::byte> out) -> absl::Status {
    for (uint64_t done = 0; done < piece.size_bytes;) {
      const uint64_t size = std::min(longest, piece.size_bytes - done);
      const uint64_t begin = piece.file_offset + done;
      const auto bytes = ReadToBounce(file, begin, begin + size, direct);
      if (!bytes.ok()) return bytes.status();
      const uint64_t placed = size / cast.from_bytes() * cast.to_bytes();
      plan::CastElements(cast, *bytes, out.first(placed));
      out = out.subspan(placed);
      done += size;
    }
    return absl::OkStatus();
  };
  return Write(*segments_[piece.segment_index], piece.segment_offset, piece.placed_bytes(),
               piece.segment_offset, read);
}

absl::Status ChunkReader::ReadStretch(const SourceFile& file, uint64_t begin, uint64_t end,
                                      std::span<const plan::CopyRange> pieces, bool direct) {
  const auto bytes = ReadToBounce(file, begin, end, direct);
  if (!bytes.ok()) return bytes.status();
  for (const plan::CopyRange& piece : pieces) {
    auto status = Place(piece, bytes->subspan(piece.file_offset - begin, piece.size_bytes));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<const std::byte>> ChunkReader::ReadToBounce(const SourceFile& file,
                                                                     uint64_t begin, uint64_t end,
                                                                     bool direct) {
  if (auto status = NeedBounce(); !status.ok()) return status;
  const uint64_t read_begin = direct ? wire::AlignDown(begin, kPage) : begin;
  const std::span<std::byte> bounce(bounce_.data(), (direct ? AlignUp(end) : end) - read_begin);
  const absl::Status status =
      direct ? file.ReadDirect(read_begin, bounce, end - read_begin, keep_going_)
             : file.ReadBuffered(begin, bounce, keep_going_);
  if (!status.ok()) return status;
  return bounce.subspan(begin - read_begin, end - begin);
}

absl::Status ChunkReader::Place(const plan::CopyRange& piece, std::span<const std::byte> bytes) {
  return Write(*segments_[piece.segment_index], piece.segment_offset, piece.placed_bytes(),
               piece.segment_offset, [&](std::span<std::byte> out) {
                 if (piece.cast) {
                   plan::CastElements(*piece.cast, bytes, out);
                 } else {
                   std::memcpy(out.data(), bytes.data(), out.size());
                 }
                 return absl::OkStatus();
               });
}

absl::Status ChunkReader::NeedBounce() {
  if (bounce_.data() != nullptr) return absl::OkStatus();
  void* memory =
      ::mmap(nullptr, kBounceBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return wire::MakeError(wire::Reason::kBudgetExceeded,
                           absl::StrCat("no memory for a read buffer: ", wire::ErrnoText(errno)),
                           {}, "evict a residency (modelctl evict), or lower the host capacity");
  }
  bounce_ = wire::Mapping(memory, kBounceBytes);
  return absl::OkStatus();
}

}  // namespace modeld::memory
