#include "modelctl/raw_lease.h"

#include <stdlib.h>

#include <cstring>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "modelctl/call.h"
#include "modelctl/duration.h"
#include "modelctl/error.h"
#include "modelctl/gpu_plugin.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

absl::Status Broken(const absl::Status& status, std::string_view what) {
  return ErrorWithHint(absl::StatusCode::kDataLoss,
                       wire::StrCat("modeld handed out ", what,
                                    " that cannot be used: ", wire::ToStd(status.message())),
                       "compare the versions: modelctl version");
}

// The request for something resident; for a reference that is not, a plain one.
absl::StatusOr<v1::AcquireRequest> MakeRequest(Environment& environment,
                                               const std::string& selector) {
  v1::GetResidencyRequest get;
  get.set_selector(selector);
  const auto found =
      Call<v1::ResidencyService>(environment, &v1::ResidencyService::Stub::GetResidency, get);
  v1::AcquireRequest request;
  if (!found.ok()) {
    const bool may_be_reference =
        wire::GetReason(found.status()) == wire::Reason::kResidencyNotFound &&
        !absl::StartsWith(selector, "sha256:");
    if (!may_be_reference) return found.status();
    request.mutable_spec()->set_reference(selector);
    return request;
  }
  const v1::Residency& residency = found->residency();
  const bool by_alias = absl::c_linear_search(residency.aliases(), selector);
  request.mutable_spec()->set_reference(by_alias ? selector : residency.reference());
  request.mutable_spec()->set_device(residency.device());
  request.mutable_spec()->set_instance(residency.instance());
  request.mutable_spec()->set_private_copy(residency.private_copy());
  // As a holder that comes back: the reference might lead to another residency by now, or to none.
  request.mutable_resume()->set_residency_id(residency.id());
  request.mutable_resume()->set_generation(residency.generation());
  return request;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RawLease>> RawLease::Acquire(Environment& environment,
                                                            const std::string& selector,
                                                            const std::string& label,
                                                            const OnProgress& on_progress) {
  auto request = MakeRequest(environment, selector);
  if (!request.ok()) return request.status();
  const char* scope = getenv("MODELD_SCOPE");
  request->set_scope(scope != nullptr && *scope != '\0' ? scope : label);

  std::unique_ptr<RawLease> lease(new RawLease(environment));
  lease->request_ = *std::move(request);
  if (const absl::Status opened = lease->Open(on_progress); !opened.ok()) return opened;
  if (const absl::Status mapped = lease->Map(); !mapped.ok()) return mapped;
  return lease;
}

RawLease::~RawLease() {
  segments_.clear();
  segment_mappings_.clear();
  gpu_segments_.clear();
  if (reader_ == nullptr) return;
  context_.TryCancel();
  v1::AcquireUpdate update;
  while (reader_->Read(&update)) {
  }
  reader_->Finish();
}

absl::Status RawLease::Open(const OnProgress& on_progress) {
  const auto endpoint = environment_.GetEndpoint();
  if (!endpoint.ok()) return endpoint.status();
  if (const auto timeout = environment_.options().timeout) {
    deadline_ = std::chrono::steady_clock::now() + *timeout;
  }
  if (const auto wait = SetWaitDeadline(environment_, context_)) {
    *request_.mutable_wait_timeout() = *wait;
  }
  auto session = AttachSession::Open(endpoint->attach, environment_.interrupt(), deadline_);
  if (!session.ok()) return session.status();
  session_ = *std::move(session);

  const auto channel = environment_.Connect(Environment::Socket::kModeld);
  if (!channel.ok()) return channel.status();
  stub_ = v1::ResidencyService::NewStub(*channel);
  context_.AddMetadata("modeld-session-bin", session_->session_id());
  guard_.emplace(environment_.interrupt(), context_);
  reader_ = stub_->Acquire(&context_, request_);
  while (true) {
    auto update = Read();
    if (!update.ok()) return update.status();
    if (update->has_progress() && on_progress) on_progress(update->progress());
    if (!update->has_granted()) continue;
    granted_ = update->granted();
    return absl::OkStatus();
  }
}

absl::StatusOr<v1::AcquireUpdate> RawLease::Read() {
  v1::AcquireUpdate update;
  if (reader_->Read(&update)) {
    if (!update.has_lost()) return update;
    return ErrorWithHint(absl::StatusCode::kAborted,
                         wire::StrCat("the residency was lost: ", update.lost().message()),
                         "see what happened: modelctl events --history 20");
  }
  const grpc::Status status = reader_->Finish();
  reader_.reset();
  if (!status.ok()) return environment_.Explain(status);
  return ErrorWithHint(absl::StatusCode::kAborted, "modeld ended the lease", "try it again");
}

absl::Status RawLease::Map() {
  std::vector<wire::SegmentInfo> segments;
  std::vector<uint64_t> sizes;
  size_t descriptor_count = 0;
  const bool host = granted_.device() == "host";
  for (const v1::Segment& segment : granted_.segments()) {
    auto info = wire::SegmentFromProto(segment);
    if (!info.ok()) return Broken(info.status(), "a segment");
    if ((info->kind == wire::SegmentKind::kHostMemfd) != host) {
      return Broken(absl::DataLossError("it is not of the kind of its device"), "a segment");
    }
    descriptor_count += info->descriptor_count();
    sizes.push_back(info->size_bytes);
    segments.push_back(*std::move(info));
  }
  auto descriptors = session_->GetDescriptors(
      granted_.lease_id(), granted_.reference_table_size_bytes() > 0, false, deadline_);
  if (!descriptors.ok()) return descriptors.status();
  if (descriptors->segments.size() != descriptor_count) {
    return Broken(absl::DataLossError("their number is wrong"), "segments");
  }

  absl::Status status = wire::CheckSealed(descriptors->table.get(), granted_.table_size_bytes());
  if (!status.ok()) return Broken(status, "a tensor table");
  auto table = wire::MapReadOnly(descriptors->table.get(), granted_.table_size_bytes());
  if (!table.ok()) return table.status();
  table_mapping_ = *std::move(table);
  auto view = wire::TableView::Validate(table_mapping_.bytes(),
                                        {.require_alignment = true, .region_sizes = sizes});
  if (!view.ok()) return Broken(view.status(), "a tensor table");
  table_ = *view;
  if (descriptors->reference_table.valid()) {
    status = MapReferenceTable(descriptors->reference_table);
    if (!status.ok()) return status;
  }

  std::span<const wire::UniqueFd> left = descriptors->segments;
  for (const wire::SegmentInfo& info : segments) {
    const auto fds = left.first(info.descriptor_count());
    left = left.subspan(fds.size());
    status = wire::CheckDescriptors(info, fds);
    if (!status.ok()) return Broken(status, "a segment");
    status = host ? MapOnHost(info, fds[0]) : MapOnGpu(info, fds);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RawLease::MapReferenceTable(const wire::UniqueFd& fd) {
  const uint64_t size_bytes = granted_.reference_table_size_bytes();
  if (auto status = wire::CheckSealed(fd.get(), size_bytes); !status.ok()) {
    return Broken(status, "a reference table");
  }
  auto mapping = wire::MapReadOnly(fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  reference_mapping_ = *std::move(mapping);
  auto table = wire::ReferenceTable::Validate(reference_mapping_.bytes());
  if (!table.ok()) return Broken(table.status(), "a reference table");
  reference_table_ = *table;
  return absl::OkStatus();
}

absl::Status RawLease::MapOnHost(const wire::SegmentInfo& info, const wire::UniqueFd& fd) {
  auto mapping = wire::MapReadOnly(fd.get(), info.size_bytes);
  if (!mapping.ok()) return mapping.status();
  segment_mappings_.push_back(*std::move(mapping));
  segments_.push_back(segment_mappings_.back().bytes());
  return absl::OkStatus();
}

absl::Status RawLease::MapOnGpu(const wire::SegmentInfo& info,
                                std::span<const wire::UniqueFd> fds) {
  if (gpu_ == nullptr) {
    const auto plugin = LoadGpuPlugin();
    if (!plugin.ok()) return plugin.status();
    const auto ordinal = (*plugin)->OrdinalOf(granted_.device());
    if (!ordinal.ok()) return ordinal.status();
    gpu_ = *plugin;
    ordinal_ = *ordinal;
  }
  auto mapping = gpu_->Map(info, fds, ordinal_, std::nullopt);
  if (!mapping.ok()) return mapping.status();
  gpu_segments_.push_back(*std::move(mapping));
  return absl::OkStatus();
}

absl::StatusOr<std::span<const std::byte>> RawLease::Read(uint32_t region, uint64_t offset,
                                                          uint64_t size_bytes) {
  if (gpu_ == nullptr) return segments_[region].subspan(offset, size_bytes);
  if (copy_.size() < size_bytes) copy_.resize(size_bytes);
  const std::span<std::byte> out = std::span(copy_).first(size_bytes);
  const absl::Status copied =
      gpu_->CopyToHost(ordinal_, gpu_segments_[region].data() + offset, out);
  if (!copied.ok()) return copied;
  return out;
}

absl::Status RawLease::Check() const {
  if (environment_.interrupt().raised()) return environment_.interrupt().Check();
  if (deadline_ && std::chrono::steady_clock::now() > *deadline_) {
    return wire::MakeError(
        wire::Reason::kDeadlineExceeded,
        wire::StrCat("not done within ", DurationText(*environment_.options().timeout)), {},
        "allow more time: --timeout 5m");
  }
  return absl::OkStatus();
}

absl::StatusOr<RawLease::Digests> RawLease::WaitForDigests() {
  Digests digests{.weights = granted_.digest(), .tensors = {}};
  while (digests.weights.empty()) {
    const auto update = Read();
    if (!update.ok()) return update.status();
    if (update->has_digest_known()) digests.weights = update->digest_known().digest();
  }
  auto descriptors = session_->GetDescriptors(
      granted_.lease_id(), granted_.reference_table_size_bytes() > 0, true, deadline_);
  if (!descriptors.ok()) return descriptors.status();
  if (!descriptors->digests.valid())
    return Broken(absl::DataLossError("it is missing"), "a digest table");

  const uint64_t size = table_.size() * wire::kDigestBytes;
  const absl::Status sealed = wire::CheckSealed(descriptors->digests.get(), size);
  if (!sealed.ok()) return Broken(sealed, "a digest table");
  const auto mapping = wire::MapReadOnly(descriptors->digests.get(), size);
  if (!mapping.ok()) return mapping.status();
  digests.tensors.resize(table_.size());
  if (size > 0) std::memcpy(digests.tensors.data(), mapping->data(), size);
  return digests;
}

}  // namespace modeld::modelctl
