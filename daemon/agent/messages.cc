#include "agent/messages.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/memfd.h"
#include "wire/segment.h"

namespace modeld::agent {
namespace {

constexpr size_t kMaxIdBytes = 64;

absl::Status Invalid(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("the request to the agent is wrong: ", what));
}

absl::Status CheckId(const std::string& id) {
  if (id.empty() || id.size() > kMaxIdBytes) return Invalid("no residency id");
  return absl::OkStatus();
}

absl::Status CheckSegmentSizes(const std::vector<uint64_t>& sizes) {
  uint64_t total = 0;
  for (const uint64_t size : sizes) {
    const auto sum = wire::CheckedAdd(total, size);
    if (!sum || size % wire::kSegmentUnitBytes != 0) {
      return Invalid(absl::StrCat("a segment of ", size, " bytes"));
    }
    total = *sum;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<plan::Cast>> ParseCast(const v1::CopyRange& range) {
  if (range.from_dtype() == 0 && range.to_dtype() == 0) return std::nullopt;
  const plan::Cast cast = {static_cast<wire::DType>(range.from_dtype()),
                           static_cast<wire::DType>(range.to_dtype())};
  // A dtype has 16 bits: what is cut off must not make another one of it.
  if (std::max(range.from_dtype(), range.to_dtype()) > UINT16_MAX || !plan::CanCast(cast)) {
    return Invalid(
        absl::StrCat("a cast from dtype ", range.from_dtype(), " to ", range.to_dtype()));
  }
  return cast;
}

absl::StatusOr<plan::OpenFile> ParseFile(const v1::SourceFile& source, wire::UniqueFd fd) {
  struct stat info;
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Invalid(absl::StrCat(source.path(), " came without a descriptor of a regular file"));
  }
  plan::OpenFile file;
  file.path = source.path();
  file.fd = std::move(fd);
  file.identity = {source.device(), source.inode(), source.size_bytes(), source.mtime_ns(),
                   source.ctime_ns()};
  return file;
}

absl::StatusOr<std::shared_ptr<const plan::SealedTable>> ParseTable(
    wire::UniqueFd fd, uint64_t size_bytes, const std::vector<uint64_t>& segments) {
  wire::ValidateOptions options;
  options.require_alignment = true;
  options.region_sizes = segments;
  auto table = plan::SealedTable::FromFd(std::move(fd), size_bytes, options);
  if (!table.ok()) return Invalid(std::string(table.status().message()));
  if ((*table)->view().region_count() > segments.size())
    return Invalid("the table names a segment too many");
  return table;
}

void AddSegments(std::span<const std::shared_ptr<const HeldSegment>> segments,
                 google::protobuf::RepeatedPtrField<v1::Segment>* out, std::vector<int>* fds) {
  for (const auto& segment : segments) {
    wire::ToProto(segment->exported.info, *out->Add());
    for (const wire::UniqueFd& fd : segment->exported.fds) fds->push_back(fd.get());
  }
}

void FillFailure(const absl::Status& status, v1::Failure* failure) {
  failure->set_code(status.raw_code());
  failure->set_message(std::string(status.message()));
  failure->mutable_detail()->ParseFromString(wire::SerializeDetail(status));
}

void FillDigest(const Digests& digests, std::string* message, std::vector<int>* fds) {
  message->assign(reinterpret_cast<const char*>(digests.weights.data()), digests.weights.size());
  fds->push_back(digests.table_fd.get());
}

}  // namespace

std::string SegmentId(const std::string& residency_id, size_t index) {
  return absl::StrCat(residency_id, "/", index);
}

absl::StatusOr<std::shared_ptr<const Record>> ParseRecord(const v1::Record& message,
                                                          std::span<wire::UniqueFd> fds) {
  if (fds.size() != static_cast<size_t>(message.attachment_sizes_size())) {
    return Invalid(absl::StrCat(message.attachment_sizes_size(), " attachments with ", fds.size(),
                                " descriptors"));
  }
  auto record = std::make_shared<Record>();
  record->bytes = message.record();
  for (size_t i = 0; i < fds.size(); ++i) {
    const uint64_t size_bytes = message.attachment_sizes(static_cast<int>(i));
    if (auto status = wire::CheckSealed(fds[i].get(), size_bytes); !status.ok()) {
      return Invalid(std::string(status.message()));
    }
    record->attachments.push_back(std::move(fds[i]));
    record->attachment_sizes.push_back(size_bytes);
  }
  return record;
}

absl::StatusOr<LoadOrder> ParseLoad(const v1::LoadRequest& request, std::vector<wire::UniqueFd> fds,
                                    const FindSegment& find) {
  LoadOrder order;
  order.id = request.residency_id();
  order.digest = request.digest();
  if (auto status = CheckId(order.id); !status.ok()) return status;
  const auto file_count = static_cast<size_t>(request.files_size());
  if (fds.size() < file_count + 1) {
    return Invalid(absl::StrCat(file_count, " files with ", fds.size(), " descriptors"));
  }
  for (size_t i = 0; i < file_count; ++i) {
    auto file = ParseFile(request.files(static_cast<int>(i)), std::move(fds[i]));
    if (!file.ok()) return file.status();
    order.files.push_back(*std::move(file));
  }
  auto record = ParseRecord(request.record(), std::span(fds).subspan(file_count + 1));
  if (!record.ok()) return record.status();
  order.record = *std::move(record);
  order.segment_sizes.assign(request.segment_sizes().begin(), request.segment_sizes().end());
  if (order.segment_sizes.size() > wire::kMaxFdsPerFrame) return Invalid("too many segments");
  if (auto status = CheckSegmentSizes(order.segment_sizes); !status.ok()) return status;
  std::vector<uint64_t> all_sizes = order.segment_sizes;
  for (const std::string& id : request.borrowed_segment_ids()) {
    auto segment = find(id);
    if (segment == nullptr) {
      return wire::MakeError(wire::Reason::kDeviceLost,
                             absl::StrCat("segment ", id, ", which residency ", order.id,
                                          " would share, is not here any more"),
                             {{"residency", order.id}}, "acquire it again");
    }
    all_sizes.push_back(segment->exported.info.size_bytes);
    order.borrowed.push_back(std::move(segment));
  }
  order.ranges.reserve(request.ranges_size());
  for (const v1::CopyRange& range : request.ranges()) {
    auto cast = ParseCast(range);
    if (!cast.ok()) return cast.status();
    order.ranges.push_back({range.file_index(), range.file_offset(), range.segment_index(),
                            range.segment_offset(), range.size_bytes(), *cast});
  }
  auto table = ParseTable(std::move(fds[file_count]), request.table_size_bytes(), all_sizes);
  if (!table.ok()) return table.status();
  order.table = *std::move(table);
  return order;
}

absl::StatusOr<Held> ParseAdopt(const v1::AdoptResidency& request, std::vector<wire::UniqueFd> fds,
                                memory::SegmentAllocator& allocator, const FindSegment& find) {
  auto residency = std::make_shared<Residency>();
  residency->id = request.residency_id();
  if (auto status = CheckId(residency->id); !status.ok()) return status;
  const bool has_digest = !request.weights_digest().empty();
  if (request.segment_ids_size() != request.segments_size()) return Invalid("segments without ids");
  std::vector<wire::SegmentInfo> segments;
  size_t fd_count = has_digest ? 2 : 1;
  for (const v1::Segment& message : request.segments()) {
    auto segment = wire::SegmentFromProto(message);
    if (!segment.ok()) return Invalid(std::string(segment.status().message()));
    fd_count += segment->descriptor_count();
    segments.push_back(*std::move(segment));
  }
  if (fds.size() < fd_count) {
    return Invalid(absl::StrCat(segments.size(), " segments with ", fds.size(), " descriptors"));
  }
  Held adopted;
  auto record = ParseRecord(request.record(), std::span(fds).subspan(fd_count));
  if (!record.ok()) return record.status();
  adopted.record = *std::move(record);
  std::vector<uint64_t> sizes;
  auto next = std::make_move_iterator(fds.begin() + 1);
  for (size_t i = 0; i < segments.size(); ++i) {
    const wire::SegmentInfo& segment = segments[i];
    std::vector<wire::UniqueFd> own(next, next + segment.descriptor_count());
    next += static_cast<std::ptrdiff_t>(segment.descriptor_count());
    sizes.push_back(segment.size_bytes);
    const std::string& id = request.segment_ids(static_cast<int>(i));
    if (auto here = find(id); here != nullptr) {
      residency->segments.push_back(std::move(here));
      continue;
    }
    auto taken = allocator.Adopt(segment, std::move(own));
    if (!taken.ok()) return taken.status();
    residency->segments.push_back(
        std::make_shared<HeldSegment>(HeldSegment{id, *std::move(taken)}));
  }
  auto table = ParseTable(std::move(fds.front()), request.table_size_bytes(), sizes);
  if (!table.ok()) return table.status();
  residency->table = *std::move(table);

  if (has_digest) {
    wire::UniqueFd& digest_fd = fds[fd_count - 1];
    const uint64_t digest_bytes = residency->table->view().size() * wire::kDigestBytes;
    if (request.weights_digest().size() != wire::kDigestBytes)
      return Invalid("a digest of another length");
    if (auto status = wire::CheckSealed(digest_fd.get(), digest_bytes); !status.ok()) {
      return Invalid(std::string(status.message()));
    }
    auto digests = std::make_shared<Digests>();
    std::memcpy(digests->weights.data(), request.weights_digest().data(), wire::kDigestBytes);
    digests->table_fd = std::move(digest_fd);
    adopted.digests = std::move(digests);
  }
  adopted.residency = std::move(residency);
  return adopted;
}

Outgoing MakeProgress(const std::string& id, uint64_t bytes_done, uint64_t bytes_total) {
  Outgoing out;
  v1::LoadProgress* progress = out.event.mutable_progress();
  progress->set_residency_id(id);
  progress->set_bytes_done(bytes_done);
  progress->set_bytes_total(bytes_total);
  return out;
}

Outgoing MakeDone(std::shared_ptr<const Residency> residency, size_t own,
                  std::string_view read_mode, uint64_t read_nanos) {
  Outgoing out;
  v1::LoadDone* done = out.event.mutable_done();
  done->set_residency_id(residency->id);
  AddSegments(std::span(residency->segments).first(own), done->mutable_segments(), &out.fds);
  done->set_read_mode(std::string(read_mode));
  done->set_read_nanos(read_nanos);
  out.keep_alive = std::move(residency);
  return out;
}

Outgoing MakeFailed(const std::string& id, const absl::Status& status) {
  Outgoing out;
  v1::LoadFailed* failed = out.event.mutable_failed();
  failed->set_residency_id(id);
  FillFailure(status, failed->mutable_failure());
  return out;
}

Outgoing MakeDigest(const std::string& id, std::shared_ptr<const Digests> digests) {
  Outgoing out;
  v1::DigestDone* digest = out.event.mutable_digest();
  digest->set_residency_id(id);
  FillDigest(*digests, digest->mutable_weights_digest(), &out.fds);
  out.keep_alive = std::move(digests);
  return out;
}

Outgoing MakeIdentified(const std::string& id,
                        const absl::StatusOr<std::shared_ptr<const Digests>>& digests) {
  Outgoing out;
  v1::Identified* identified = out.event.mutable_identified();
  identified->set_residency_id(id);
  if (digests.ok()) {
    FillDigest(**digests, identified->mutable_weights_digest(), &out.fds);
    out.keep_alive = *digests;
  } else {
    FillFailure(digests.status(), identified->mutable_failure());
  }
  return out;
}

Outgoing MakeReleased(const std::string& id, uint64_t unreturned_bytes) {
  Outgoing out;
  v1::Released* released = out.event.mutable_released();
  released->set_residency_id(id);
  released->set_unreturned_bytes(unreturned_bytes);
  return out;
}

Outgoing MakeInventoryItem(const Held& held) {
  Outgoing out;
  v1::InventoryItem* item = out.event.mutable_inventory();
  const Residency& residency = *held.residency;
  item->set_residency_id(residency.id);
  item->set_table_size_bytes(residency.table->size_bytes());
  out.fds.push_back(residency.table->fd());
  AddSegments(residency.segments, item->mutable_segments(), &out.fds);
  for (const auto& segment : residency.segments) item->add_segment_ids(segment->id);
  if (held.digests != nullptr) {
    FillDigest(*held.digests, item->mutable_weights_digest(), &out.fds);
  }
  item->mutable_record()->set_record(held.record->bytes);
  for (size_t i = 0; i < held.record->attachments.size(); ++i) {
    item->mutable_record()->add_attachment_sizes(held.record->attachment_sizes[i]);
    out.fds.push_back(held.record->attachments[i].get());
  }
  out.keep_alive = std::make_shared<Held>(held);
  return out;
}

Outgoing MakeInventoryEnd() {
  Outgoing out;
  out.event.mutable_inventory_end();
  return out;
}

}  // namespace modeld::agent
