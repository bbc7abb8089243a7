#include "supervisor/agent_messages.h"

#include <cstring>
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

// Takes `fds` as those of the segments, no more and no fewer.
absl::StatusOr<std::vector<LoadedSegment>> ReadSegments(const Segments& segments,
                                                        std::span<wire::UniqueFd> fds) {
  std::vector<LoadedSegment> loaded;
  for (const v1::Segment& segment : segments) {
    auto info = wire::SegmentFromProto(segment);
    if (!info.ok()) return Unbelievable(std::string(info.status().message()));
    const size_t count = info->descriptor_count();
    if (fds.size() < count) return Unbelievable("descriptors of its segments are missing");
    LoadedSegment& added = loaded.emplace_back();
    added.info = *std::move(info);
    for (wire::UniqueFd& fd : fds.first(count)) added.fds.push_back(std::move(fd));
    fds = fds.subspan(count);
    if (auto status = wire::CheckDescriptors(added.info, added.fds); !status.ok()) {
      return Unbelievable(std::string(status.message()));
    }
  }
  if (!fds.empty()) return Unbelievable(absl::StrCat(fds.size(), " descriptors too many"));
  return loaded;
}

// What keeps the descriptors of a load open until they are sent.
struct LoadFiles {
  std::shared_ptr<const plan::OpenCheckpoint> checkpoint;
  std::shared_ptr<const plan::LoadPlan> plan;
};

struct Memory {
  std::shared_ptr<const ResidentMemory> memory;
  std::shared_ptr<const ResidentDigests> digests;
};

}  // namespace

AgentMessage MakeHello() {
  AgentMessage message;
  message.request.mutable_hello()->set_protocol_version(kAgentProtocolVersion);
  return message;
}

AgentMessage MakeLoad(const residency::LoadJob& job) {
  AgentMessage message;
  v1::LoadRequest& load = *message.request.mutable_load();
  load.set_residency_id(job.record.id);
  load.set_record(EncodeRecord(job.record));
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
  message.keep_alive = std::make_shared<LoadFiles>(LoadFiles{job.checkpoint, job.plan});
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
  adopt.set_record(EncodeRecord(record));
  adopt.set_table_size_bytes(memory->table->size_bytes());
  message.fds.push_back(memory->table->fd());
  for (const LoadedSegment& segment : memory->segments) {
    wire::ToProto(segment.info, *adopt.add_segments());
    for (const wire::UniqueFd& fd : segment.fds) message.fds.push_back(fd.get());
  }
  if (digests != nullptr) {
    adopt.set_weights_digest(digests->weights.data(), digests->weights.size());
    message.fds.push_back(digests->table_fd.get());
  }
  message.keep_alive = std::make_shared<Memory>(Memory{std::move(memory), std::move(digests)});
  return message;
}

std::string EncodeRecord(const ResidencyRecord& record) {
  v1::ResidencyRecord out;
  out.set_id(record.id);
  for (const std::string& reference : record.references) out.add_references(reference);
  out.set_content_key(record.content_key);
  out.set_device(record.device);
  out.set_instance(record.instance);
  out.set_private_copy(record.private_copy);
  out.set_generation(record.generation);
  out.set_format(record.format);
  return out.SerializeAsString();
}

absl::StatusOr<ResidencyRecord> DecodeRecord(const std::string& bytes) {
  v1::ResidencyRecord in;
  if (!in.ParseFromString(bytes) || in.id().empty() || in.references().empty()) {
    return Unbelievable("a record that cannot be read");
  }
  ResidencyRecord record;
  record.id = in.id();
  record.references.assign(in.references().begin(), in.references().end());
  record.content_key = in.content_key();
  record.device = in.device();
  record.instance = in.instance();
  record.private_copy = in.private_copy();
  record.generation = in.generation();
  record.format = in.format();
  return record;
}

absl::StatusOr<std::shared_ptr<const ResidentMemory>> ReadLoaded(const v1::LoadDone& done,
                                                                 std::vector<wire::UniqueFd> fds,
                                                                 const plan::LoadPlan& plan) {
  const auto segment_count = static_cast<size_t>(done.segments_size());
  if (segment_count != plan.segment_sizes.size()) {
    return Unbelievable(absl::StrCat(segment_count, " segments for ", plan.segment_sizes.size()));
  }
  for (size_t i = 0; i < segment_count; ++i) {
    if (done.segments(static_cast<int>(i)).size_bytes() != plan.segment_sizes[i]) {
      return Unbelievable("a segment of another size");
    }
  }
  auto segments = ReadSegments(done.segments(), fds);
  if (!segments.ok()) return segments.status();
  auto memory = std::make_shared<ResidentMemory>();
  memory->table = plan.table;
  memory->segments = *std::move(segments);
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
  auto digests = std::make_shared<ResidentDigests>();
  std::memcpy(digests->weights.data(), weights_digest.data(), wire::kDigestBytes);
  auto mapping = wire::MapReadOnly(table_fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  std::vector<wire::Digest> tensors(table.size());
  if (size_bytes > 0) std::memcpy(tensors.data(), mapping->data(), size_bytes);
  if (wire::WeightsDigest(table, tensors) != digests->weights) {
    return Unbelievable("the digests of the tensors are not those of the weights digest");
  }
  digests->table_fd = std::move(table_fd);
  return digests;
}

absl::StatusOr<InventoryEntry> ReadInventoryItem(const v1::InventoryItem& item,
                                                 std::vector<wire::UniqueFd> fds) {
  InventoryEntry entry;
  auto record = DecodeRecord(item.record());
  if (!record.ok()) return record.status();
  if (record->id != item.residency_id()) return Unbelievable("a record of another residency");
  entry.record = *std::move(record);
  const size_t others = item.weights_digest().empty() ? 1 : 2;  // the table, and the digests
  if (fds.size() < others) return Unbelievable(absl::StrCat(fds.size(), " descriptors"));
  auto memory = std::make_shared<ResidentMemory>();
  auto segments = ReadSegments(item.segments(), std::span(fds).subspan(1, fds.size() - others));
  if (!segments.ok()) return segments.status();
  memory->segments = *std::move(segments);
  std::vector<uint64_t> sizes;
  for (const LoadedSegment& segment : memory->segments) sizes.push_back(segment.info.size_bytes);
  wire::ValidateOptions options;
  options.require_alignment = true;
  options.region_sizes = sizes;
  auto table = plan::SealedTable::FromFd(std::move(fds.front()), item.table_size_bytes(), options);
  if (!table.ok()) return Unbelievable(std::string(table.status().message()));
  if ((*table)->view().region_count() > sizes.size())
    return Unbelievable("a table of more segments");
  memory->table = *std::move(table);
  if (others == 2) {
    auto digests = ReadDigests(item.weights_digest(), std::move(fds.back()), memory->table->view());
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
