#include "memory/host_segment.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "memory/host_pages.h"
#include "plan/load_plan.h"
#include "wire/checked.h"
#include "wire/memfd.h"
#include "wire/mutex.h"

namespace modeld::memory {
namespace {

// Pages come in blocks of this: few calls into the kernel, and no more than what one window needs.
constexpr uint64_t kBlockBytes = 8 << 20;

enum BlockState : uint8_t { kEmpty, kBusy, kThere, kFailed };

class HostFill : public SegmentFill {
 public:
  HostFill(wire::UniqueFd fd, wire::Mapping mapping, PageKind kind)
      : fd_(std::move(fd)),
        mapping_(std::move(mapping)),
        kind_(kind),
        size_bytes_(mapping_.size_bytes()),
        blocks_((size_bytes_ + kBlockBytes - 1) / kBlockBytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  bool staged() const override { return false; }

  absl::StatusOr<Window> Open(uint64_t offset, uint64_t size_bytes, uint64_t like) override {
    if (size_bytes == 0 || size_bytes > kMaxWindowBytes ||
        !wire::RangeFits(offset, size_bytes, size_bytes_)) {
      return absl::InvalidArgumentError(absl::StrCat("no window of ", size_bytes, " bytes at ",
                                                     offset, " in a segment of ", size_bytes_));
    }
    const uint64_t last = (offset + size_bytes - 1) / kBlockBytes;
    for (uint64_t block = offset / kBlockBytes; block <= last; ++block) {
      if (absl::Status status = NeedBlock(block); !status.ok()) return status;
    }
    return Window{mapping_.data() + offset, offset, size_bytes};
  }

  absl::Status Close(const Window& window) override { return absl::OkStatus(); }
  void Abandon(const Window& window) override {}

  absl::StatusOr<ExportedSegment> Export() override {
    // Pages that are missing now would be charged to whoever reads them first, and a hole in
    // hugetlb memory may have no page to fill it.
    for (uint64_t block = 0; block < blocks_.size(); ++block) {
      if (absl::Status status = NeedBlock(block); !status.ok()) return status;
    }
    mapping_.Unmap();
    if (absl::Status status = wire::SealMemfd(fd_.get()); !status.ok()) return status;
    const bool huge = huge_bytes_.load() * 2 > size_bytes_;
    ExportedSegment segment;
    segment.info.size_bytes = size_bytes_;
    segment.info.page_size_bytes = huge ? static_cast<uint32_t>(kHugePageBytes) : SmallPageBytes();
    segment.fds.push_back(std::move(fd_));
    return segment;
  }

 private:
  // The first thread that needs a block populates it; others that need it meanwhile wait.
  absl::Status NeedBlock(uint64_t block) {
    std::atomic<uint8_t>& state = blocks_[block];
    uint8_t seen = state.load(std::memory_order_acquire);
    if (seen == kThere) return absl::OkStatus();
    if (seen == kEmpty && state.compare_exchange_strong(seen, kBusy)) {
      absl::Status status = PopulateBlock(block);
      if (!status.ok()) {
        wire::MutexLock lock(mutex_);
        failure_ = status;
      }
      state.store(status.ok() ? kThere : kFailed, std::memory_order_release);
      state.notify_all();
      return status;
    }
    while ((seen = state.load(std::memory_order_acquire)) == kBusy) state.wait(kBusy);
    if (seen == kThere) return absl::OkStatus();
    wire::MutexLock lock(mutex_);
    return failure_;
  }

  absl::Status PopulateBlock(uint64_t block) {
    const uint64_t begin = block * kBlockBytes;
    auto huge =
        Populate(mapping_.data() + begin, std::min(kBlockBytes, size_bytes_ - begin), kind_);
    if (!huge.ok()) return huge.status();
    huge_bytes_.fetch_add(*huge, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  wire::UniqueFd fd_;
  wire::Mapping mapping_;
  const PageKind kind_;
  const uint64_t size_bytes_;
  std::vector<std::atomic<uint8_t>> blocks_;  // BlockState
  std::atomic<uint64_t> huge_bytes_{0};
  wire::Mutex mutex_;
  absl::Status failure_ MODELD_GUARDED_BY(mutex_);
};

absl::StatusOr<std::unique_ptr<SegmentFill>> AllocateOf(const std::string& name,
                                                        uint64_t size_bytes, PageKind kind) {
  auto fd = CreateMemfd(name, size_bytes, kind);
  if (!fd.ok()) return fd.status();
  auto mapping = MapWritable(fd->get(), size_bytes, kind);
  if (!mapping.ok()) return mapping.status();
  return std::make_unique<HostFill>(*std::move(fd), *std::move(mapping), kind);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SegmentFill>> HostAllocator::Allocate(const std::string& name,
                                                                     uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % wire::kSegmentUnitBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a segment of ", size_bytes, " bytes is no multiple of ", wire::kSegmentUnitBytes));
  }
  auto fill = AllocateOf(name, size_bytes, pages_.kind);
  // Mapping reserves hugetlb pages, so a pool that is too small says so here and never later.
  if (!fill.ok() && pages_.kind == PageKind::kHugetlb) {
    return AllocateOf(name, size_bytes, pages_.fallback);
  }
  return fill;
}

absl::StatusOr<ExportedSegment> HostAllocator::Adopt(const wire::SegmentInfo& info,
                                                     std::vector<wire::UniqueFd> fds) {
  if (info.kind != wire::SegmentKind::kHostMemfd) {
    return absl::InvalidArgumentError(
        absl::StrCat("a segment of kind ", wire::SegmentKindName(info.kind), " is not the host's"));
  }
  if (absl::Status status = wire::CheckDescriptors(info, fds); !status.ok()) {
    return absl::InvalidArgumentError(status.message());
  }
  ExportedSegment segment;
  segment.info = info;
  segment.fds = std::move(fds);
  return segment;
}

}  // namespace modeld::memory
