#include "mapped_residency.h"

#include <optional>
#include <utility>

#include "local_devices.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {
namespace {

// The descriptors of each segment, which follow one another.
class DescriptorWalk {
 public:
  explicit DescriptorWalk(std::span<const wire::UniqueFd> fds) : left_(fds) {}

  std::span<const wire::UniqueFd> Next(const wire::SegmentInfo& segment) {
    const auto fds = left_.first(segment.descriptor_count());
    left_ = left_.subspan(fds.size());
    return fds;
  }

 private:
  std::span<const wire::UniqueFd> left_;
};

absl::Status Violation(std::string_view what, const absl::Status& why) {
  return ProtocolViolation(wire::StrCat(what, ": ", why.message()));
}

}  // namespace

absl::StatusOr<MappedResidency> MappedResidency::Map(const GrantedMemory& granted,
                                                     std::vector<wire::UniqueFd> fds,
                                                     const std::string& device,
                                                     const std::string& peer) {
  MappedResidency result;
  const wire::UniqueFd table_fd = std::move(fds[0]);
  absl::Status status = wire::CheckSealed(table_fd.get(), granted.table_size_bytes);
  if (!status.ok()) return Violation("the tensor table", status);
  auto table = wire::MapReadOnly(table_fd.get(), granted.table_size_bytes);
  if (!table.ok()) return table.status();
  result.table_bytes_ = *std::move(table);

  // Before the memory is mapped, which on a GPU may take a context.
  const bool has_reference_table = granted.reference_table_size_bytes > 0;
  if (has_reference_table) {
    status = result.MapReferenceTable(fds[1], granted.reference_table_size_bytes);
    if (!status.ok()) return status;
  }
  const std::span<const wire::UniqueFd> segment_fds =
      std::span(fds).subspan(has_reference_table ? 2 : 1);
  DescriptorWalk walk(segment_fds);
  std::vector<uint64_t> sizes;
  for (const wire::SegmentInfo& segment : granted.segments) {
    status = wire::CheckDescriptors(segment, walk.Next(segment));
    if (!status.ok()) return Violation(wire::StrCat("segment ", sizes.size()), status);
    sizes.push_back(segment.size_bytes);
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

  status = device == kHost ? result.MapOnHost(granted, segment_fds)
                           : result.MapOnGpu(granted, segment_fds, device, peer);
  if (!status.ok()) return status;
  return result;
}

absl::Status MappedResidency::MapReferenceTable(const wire::UniqueFd& fd, uint64_t size_bytes) {
  if (auto status = wire::CheckSealed(fd.get(), size_bytes); !status.ok()) {
    return Violation("the reference table", status);
  }
  auto mapping = wire::MapReadOnly(fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  reference_table_bytes_ = *std::move(mapping);
  auto table = wire::ReferenceTable::Validate(reference_table_bytes_.bytes());
  if (!table.ok()) return Violation("the reference table", table.status());
  reference_table_ = *table;
  return absl::OkStatus();
}

absl::Status MappedResidency::MapOnHost(const GrantedMemory& granted,
                                        std::span<const wire::UniqueFd> fds) {
  for (size_t i = 0; i < granted.segments.size(); ++i) {
    auto mapping = wire::MapReadOnly(fds[i].get(), granted.segments[i].size_bytes);
    if (!mapping.ok()) return mapping.status();
    regions_.push_back(mapping->data());
    host_segments_.push_back(*std::move(mapping));
  }
  return absl::OkStatus();
}

absl::Status MappedResidency::MapOnGpu(const GrantedMemory& granted,
                                       std::span<const wire::UniqueFd> fds,
                                       const std::string& device, const std::string& peer) {
  const auto plugin = LoadPlugin();
  if (!plugin.ok()) return plugin.status();
  const auto ordinal = (*plugin)->OrdinalOf(device);
  if (!ordinal.ok()) return ordinal.status();
  std::optional<int> peer_ordinal;
  if (!peer.empty()) {
    const auto found = (*plugin)->OrdinalOf(peer);
    if (!found.ok()) return found.status();
    peer_ordinal = *found;
  }
  DescriptorWalk walk(fds);
  for (const wire::SegmentInfo& segment : granted.segments) {
    auto mapping = (*plugin)->Map(segment, walk.Next(segment), *ordinal, peer_ordinal);
    if (!mapping.ok()) return mapping.status();
    regions_.push_back(mapping->data());
    device_segments_.push_back(*std::move(mapping));
  }
  return absl::OkStatus();
}

}  // namespace modeld::client
