#include "plan/load_plan.h"

namespace modeld::plan {

absl::StatusOr<std::shared_ptr<const SealedTable>> SealedTable::Make(
    const std::string& bytes, const wire::ValidateOptions& options) {
  auto fd = wire::MakeSealedMemfd("modeld-table", bytes);
  if (!fd.ok()) return fd.status();
  return FromFd(*std::move(fd), bytes.size(), options);
}

absl::StatusOr<std::shared_ptr<const SealedTable>> SealedTable::FromFd(
    wire::UniqueFd fd, uint64_t size_bytes, const wire::ValidateOptions& options) {
  if (auto sealed = wire::CheckSealed(fd.get(), size_bytes); !sealed.ok()) return sealed;
  auto mapping = wire::MapReadOnly(fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  const auto view = wire::TableView::Validate(mapping->bytes(), options);
  if (!view.ok()) return view.status();
  return std::shared_ptr<const SealedTable>(
      new SealedTable(std::move(fd), *std::move(mapping), *view));
}

absl::StatusOr<std::shared_ptr<const SealedReferenceTable>> SealedReferenceTable::Make(
    const std::string& bytes) {
  auto fd = wire::MakeSealedMemfd("modeld-reference", bytes);
  if (!fd.ok()) return fd.status();
  return FromFd(*std::move(fd), bytes.size());
}

absl::StatusOr<std::shared_ptr<const SealedReferenceTable>> SealedReferenceTable::FromFd(
    wire::UniqueFd fd, uint64_t size_bytes) {
  if (auto sealed = wire::CheckSealed(fd.get(), size_bytes); !sealed.ok()) return sealed;
  auto mapping = wire::MapReadOnly(fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  const auto view = wire::ReferenceTable::Validate(mapping->bytes());
  if (!view.ok()) return view.status();
  return std::shared_ptr<const SealedReferenceTable>(
      new SealedReferenceTable(std::move(fd), *std::move(mapping), *view));
}

}  // namespace modeld::plan
