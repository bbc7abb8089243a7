#include "mapped_residency.h"

#include <utility>

#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

absl::StatusOr<wire::Mapping> MapSealed(wire::UniqueFd fd, uint64_t size_bytes,
                                        std::string_view what) {
  if (absl::Status sealed = wire::CheckSealed(fd.get(), size_bytes); !sealed.ok()) {
    return ProtocolViolation(wire::StrCat(what, ": ", sealed.message()));
  }
  return wire::MapReadOnly(fd.get(), size_bytes);
}

}  // namespace

absl::StatusOr<size_t> MappedResidency::FdCount(const v1::Granted& granted) {
  if (granted.lease_id().empty() || granted.residency_id().empty()) {
    return ProtocolViolation("a lease without an id");
  }
  if (granted.table_size_bytes() == 0) return ProtocolViolation("a lease without a tensor table");
  for (const v1::Segment& segment : granted.segments()) {
    if (segment.kind() != v1::Segment::HOST_MEMFD) {
      return wire::MakeError(wire::Reason::kFormatUnsupported,
                             wire::StrCat("this libmodeld cannot map segments of kind ",
                                          static_cast<int>(segment.kind())),
                             {}, "install a libmodeld of the release of modeld");
    }
  }
  return 1 + static_cast<size_t>(granted.segments_size());
}

absl::StatusOr<MappedResidency> MappedResidency::Map(const v1::Granted& granted,
                                                     std::vector<wire::UniqueFd> fds) {
  MappedResidency result;
  auto table = MapSealed(std::move(fds[0]), granted.table_size_bytes(), "the tensor table");
  if (!table.ok()) return table.status();
  result.table_bytes_ = *std::move(table);

  std::vector<uint64_t> sizes;
  for (int i = 0; i < granted.segments_size(); ++i) {
    const uint64_t size_bytes = granted.segments(i).size_bytes();
    auto segment = MapSealed(std::move(fds[static_cast<size_t>(i) + 1]), size_bytes,
                             wire::StrCat("segment ", i));
    if (!segment.ok()) return segment.status();
    result.segments_.push_back(*std::move(segment));
    sizes.push_back(size_bytes);
  }

  auto view = wire::TableView::Validate(result.table_bytes_.bytes(),
                                        {.require_alignment = true, .region_sizes = sizes});
  if (!view.ok()) return ProtocolViolation(wire::ToStd(view.status().message()));
  // With no sizes to compare with, the table's own would be believed.
  if (view->region_count() > sizes.size()) {
    return ProtocolViolation(
        wire::StrCat("a table of ", view->region_count(), " segments with ", sizes.size()));
  }
  result.table_ = *view;
  return result;
}

}  // namespace modeld::client
