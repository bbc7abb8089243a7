#include "supervisor/agent_messages.h"

#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "wire/error.h"
#include "wire/memfd.h"
#include "wire/segment.h"
#include "wire/utf8.h"

namespace modeld::supervisor {
namespace {

using residency::LoadedSegment;
using residency::ResidencyRecord;
using residency::ResidentDigests;
using residency::ResidentMemory;

absl::Status Unbelievable(const std::string& what) {
  return absl::DataLossError(absl::StrCat("the agent's answer does not fit: ", what));
}

using Segments = google::protobuf::RepeatedPtrField<v1::Segment>;

using LoadedSegments = std::vector<std::shared_ptr<const LoadedSegment>>;

// Takes `fds` as those of the segments, no more and no fewer; `id_of` names each.
absl::StatusOr<LoadedSegments> ReadSegments(const Segments& segments, std::span<wire::UniqueFd> fds,
                                            const std::function<std::string(int)>& id_of) {
  LoadedSegments loaded;
  for (int i = 0; i < segments.size(); ++i) {
    auto info = wire::SegmentFromProto(segments[i]);
    if (!info.ok()) return Unbelievable(std::string(info.status().message()));
    const size_t count = info->descriptor_count();
    if (fds.size() < count) return Unbelievable("descriptors of its segments are missing");
    auto added = std::make_shared<LoadedSegment>();
    added->id = id_of(i);
    added->info = *std::move(info);
    for (wire::UniqueFd& fd : fds.first(count)) added->fds.push_back(std::move(fd));
    fds = fds.subspan(count);
    if (auto status = wire::CheckDescriptors(added->info, added->fds); !status.ok()) {
      return Unbelievable(std::string(status.message()));
    }
    loaded.push_back(std::move(added));
  }
  if (!fds.empty()) return Unbelievable(absl::StrCat(fds.size(), " descriptors too many"));
  return loaded;
}

// What keeps the descriptors of a load open until they are sent.
using LoadFiles = residency::LoadJob;

struct Memory {
  ResidencyRecord record;
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const ResidentDigests> digests;
};

void FillLoad(const residency::LoadJob& job, v1::LoadRequest& load, AgentMessage& message) {
  load.set_residency_id(job.record.id);
  load.set_digest(true);
  for (const plan::OpenFile& file : job.checkpoint->files) {
    v1::SourceFile& source = *load.add_files();
    source.set_path(wire::ToUtf8(file.path));
    source.set_size_bytes(file.identity.size_bytes);
    source.set_device(file.identity.device);
    source.set_inode(file.identity.inode);
    source.set_mtime_ns(file.identity.mtime_ns);
    source.set_ctime_ns(file.identity.ctime_ns);
    message.fds.push_back(file.fd.get());
  }
  load.mutable_segment_sizes()->Add(job.plan->segment_sizes.begin(), job.plan->segment_sizes.end());
  load.mutable_ranges()->Reserve(static_cast<int>(job.plan->ranges.size()));
  for (const plan::CopyRange& range : job.plan->ranges) {
    v1::CopyRange& copy = *load.add_ranges();
    copy.set_file_index(range.file_index);
    copy.set_file_offset(range.file_offset);
    copy.set_segment_index(range.segment_index);
    copy.set_segment_offset(range.segment_offset);
    copy.set_size_bytes(range.size_bytes);
    if (range.cast) {
      copy.set_from_dtype(static_cast<uint32_t>(range.cast->from));
      copy.set_to_dtype(static_cast<uint32_t>(range.cast->to));
    }
  }
  load.set_table_size_bytes(job.plan->table->size_bytes());
  message.fds.push_back(job.plan->table->fd());
  for (const residency::BorrowedSegment& borrowed : job.borrowed) {
    load.add_borrowed_segment_ids(borrowed.segment->id);
  }
  EncodeRecord(job.record, load.mutable_record(), &message.fds);
  message.keep_alive = std::make_shared<LoadFiles>(job);
}

}  // namespace

AgentMessage MakeHello() {
  AgentMessage message;
  message.request.mutable_hello()->set_protocol_version(kAgentProtocolVersion);
  return message;
}

AgentMessage MakeLoad(const residency::LoadJob& job) {
  AgentMessage message;
  FillLoad(job, *message.request.mutable_load(), message);
  return message;
}

AgentMessage MakeIdentify(const residency::LoadJob& job) {
  AgentMessage message;
  FillLoad(job, *message.request.mutable_identify()->mutable_load(), message);
  return message;
}

AgentMessage MakeUpdateRecord(const ResidencyRecord& record) {
  AgentMessage message;
  v1::UpdateRecord& update = *message.request.mutable_update_record();
  update.set_residency_id(record.id);
  EncodeRecord(record, update.mutable_record(), &message.fds);
  message.keep_alive = std::make_shared<ResidencyRecord>(record);
  return message;
}

AgentMessage MakeCancel(const std::string& residency_id) {
  AgentMessage message;
  message.request.mutable_cancel_load()->set_residency_id(residency_id);
  return message;
}

AgentMessage MakeRelease(const std::string& residency_id) {
  AgentMessage message;
  message.request.mutable_release()->set_residency_id(residency_id);
  return message;
}

AgentMessage MakeAdopt(const ResidencyRecord& record, std::shared_ptr<const ResidentMemory> memory,
                       std::shared_ptr<const ResidentDigests> digests) {
  AgentMessage message;
  v1::AdoptResidency& adopt = *message.request.mutable_adopt();
  adopt.set_residency_id(record.id);
  adopt.set_table_size_bytes(memory->table->size_bytes());
  message.fds.push_back(memory->table->fd());
  for (const auto& segment : memory->segments) {
    wire::ToProto(segment->info, *adopt.add_segments());
    adopt.add_segment_ids(segment->id);
    for (const wire::UniqueFd& fd : segment->fds) message.fds.push_back(fd.get());
  }
  if (digests != nullptr) {
    const wire::Digest& weights = digests->content->weights;
    adopt.set_weights_digest(weights.data(), weights.size());
    message.fds.push_back(digests->table_fd.get());
  }
  EncodeRecord(record, adopt.mutable_record(), &message.fds);
  message.keep_alive =
      std::make_shared<Memory>(Memory{record, std::move(memory), std::move(digests)});
  return message;
}

void EncodeRecord(const ResidencyRecord& record, v1::Record* out, std::vector<int>* fds) {
  v1::ResidencyRecord message;
  message.set_id(record.id);
  for (const residency::Source& source : record.sources) {
    v1::ResidencyRecord::Source& added = *message.add_sources();
    added.set_content_key(source.content_key);
    added.set_format(source.format);
    for (const std::string& reference : source.references) added.add_references(reference);
    if (source.reference_table == nullptr) continue;
    added.set_has_reference_table(true);
    out->add_attachment_sizes(source.reference_table->size_bytes());
    fds->push_back(source.reference_table->fd());
  }
  message.set_device(record.device);
  message.set_instance(record.instance);
  message.set_private_copy(record.private_copy);
  message.set_pinned(record.pinned);
  message.set_generation(record.generation);
  if (record.keep_alive) {
    message.set_keep_alive_ns(
        *record.keep_alive == residency::kForever ? -1 : record.keep_alive->count());
  }
  message.set_draining(record.draining);
  message.set_superseded_by(record.superseded_by);
  out->set_record(message.SerializeAsString());
}

absl::StatusOr<ResidencyRecord> DecodeRecord(const v1::Record& message,
                                             std::span<wire::UniqueFd> attachments) {
  v1::ResidencyRecord in;
  if (!in.ParseFromString(message.record()) || in.id().empty() || in.sources().empty() ||
      attachments.size() != static_cast<size_t>(message.attachment_sizes_size())) {
    return Unbelievable("a record that cannot be read");
  }
  ResidencyRecord record;
  record.id = in.id();
  int next = 0;
  for (const v1::ResidencyRecord::Source& from : in.sources()) {
    residency::Source& source = record.sources.emplace_back();
    source.content_key = from.content_key();
    source.format = from.format();
    source.references.assign(from.references().begin(), from.references().end());
    if (source.references.empty()) return Unbelievable("a record without a reference");
    if (!from.has_reference_table()) continue;
    if (next >= message.attachment_sizes_size()) return Unbelievable("a record without its table");
    auto table = plan::SealedReferenceTable::FromFd(
        std::move(attachments[static_cast<size_t>(next)]), message.attachment_sizes(next));
    if (!table.ok()) return Unbelievable(std::string(table.status().message()));
    source.reference_table = *std::move(table);
    ++next;
  }
  record.device = in.device();
  record.instance = in.instance();
  record.private_copy = in.private_copy();
  record.pinned = in.pinned();
  record.generation = in.generation();
  if (in.has_keep_alive_ns()) {
    record.keep_alive =
        in.keep_alive_ns() < 0 ? residency::kForever : base::Duration(in.keep_alive_ns());
  }
  record.draining = in.draining();
  record.superseded_by = in.superseded_by();
  return record;
}

absl::StatusOr<std::shared_ptr<const ResidentMemory>> ReadLoaded(
    const v1::LoadDone& done, std::vector<wire::UniqueFd> fds, const plan::LoadPlan& plan,
    std::span<const residency::BorrowedSegment> borrowed) {
  const auto segment_count = static_cast<size_t>(done.segments_size());
  if (segment_count != plan.segment_sizes.size()) {
    return Unbelievable(absl::StrCat(segment_count, " segments for ", plan.segment_sizes.size()));
  }
  for (size_t i = 0; i < segment_count; ++i) {
    if (done.segments(static_cast<int>(i)).size_bytes() != plan.segment_sizes[i]) {
      return Unbelievable("a segment of another size");
    }
  }
  auto segments = ReadSegments(done.segments(), fds, [&](int index) {
    return absl::StrCat(done.residency_id(), "/", index);
  });
  if (!segments.ok()) return segments.status();
  auto memory = std::make_shared<ResidentMemory>();
  memory->table = plan.table;
  memory->segments = *std::move(segments);
  for (const residency::BorrowedSegment& one : borrowed) memory->segments.push_back(one.segment);
  return memory;
}

absl::StatusOr<std::shared_ptr<const ResidentDigests>> ReadDigests(
    const std::string& weights_digest, wire::UniqueFd table_fd, const wire::TableView& table) {
  const uint64_t size_bytes = table.size() * wire::kDigestBytes;
  if (weights_digest.size() != wire::kDigestBytes)
    return Unbelievable("a digest of another length");
  if (auto status = wire::CheckSealed(table_fd.get(), size_bytes); !status.ok()) {
    return Unbelievable(std::string(status.message()));
  }
  auto content = std::make_shared<plan::ContentDigests>();
  std::memcpy(content->weights.data(), weights_digest.data(), wire::kDigestBytes);
  content->tensors.resize(table.size());
  if (size_bytes > 0) {
    auto mapping = wire::MapReadOnly(table_fd.get(), size_bytes);
    if (!mapping.ok()) return mapping.status();
    std::memcpy(content->tensors.data(), mapping->data(), size_bytes);
  }
  if (wire::WeightsDigest(table, content->tensors) != content->weights) {
    return Unbelievable("the digests of the tensors are not those of the weights digest");
  }
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = std::move(content);
  digests->table_fd = std::move(table_fd);
  return digests;
}

absl::StatusOr<InventoryEntry> ReadInventoryItem(const v1::InventoryItem& item,
                                                 std::vector<wire::UniqueFd> fds) {
  InventoryEntry entry;
  const bool has_digest = !item.weights_digest().empty();
  const auto attachment_count = static_cast<size_t>(item.record().attachment_sizes_size());
  const size_t others = attachment_count + (has_digest ? 2 : 1);  // and the table
  if (fds.size() < others) return Unbelievable(absl::StrCat(fds.size(), " descriptors"));
  if (item.segment_ids_size() != item.segments_size()) return Unbelievable("segments without ids");
  auto record = DecodeRecord(item.record(), std::span(fds).last(attachment_count));
  if (!record.ok()) return record.status();
  if (record->id != item.residency_id()) return Unbelievable("a record of another residency");
  entry.record = *std::move(record);
  auto memory = std::make_shared<ResidentMemory>();
  auto segments = ReadSegments(item.segments(), std::span(fds).subspan(1, fds.size() - others),
                               [&](int index) { return item.segment_ids(index); });
  if (!segments.ok()) return segments.status();
  memory->segments = *std::move(segments);
  std::vector<uint64_t> sizes;
  for (const auto& segment : memory->segments) sizes.push_back(segment->info.size_bytes);
  wire::ValidateOptions options;
  options.require_alignment = true;
  options.region_sizes = sizes;
  auto table = plan::SealedTable::FromFd(std::move(fds.front()), item.table_size_bytes(), options);
  if (!table.ok()) return Unbelievable(std::string(table.status().message()));
  if ((*table)->view().region_count() > sizes.size())
    return Unbelievable("a table of more segments");
  memory->table = *std::move(table);
  if (has_digest) {
    auto digests =
        ReadDigests(item.weights_digest(), std::move(fds[fds.size() - attachment_count - 1]),
                    memory->table->view());
    if (!digests.ok()) return digests.status();
    entry.digests = *std::move(digests);
  }
  entry.memory = std::move(memory);
  return entry;
}

absl::Status ReadFailure(const v1::Failure& failure) {
  absl::Status status = wire::StatusFromParts(failure.code(), failure.message(),
                                              failure.detail().SerializeAsString());
  return status.ok() ? absl::InternalError("the agent failed without saying why") : status;
}

}  // namespace modeld::supervisor
