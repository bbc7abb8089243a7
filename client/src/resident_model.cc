#include "resident_model.h"

#include <utility>

#include "closest_names.h"
#include "core.h"
#include "fork_guard.h"
#include "status.h"
#include "wire/text.h"

namespace modeld::client {

ResidentModel::ResidentModel(std::shared_ptr<Core> core, ModelSpec spec,
                             std::shared_ptr<Lease> lease, const v1::Granted& granted,
                             MappedResidency memory)
    : fork_generation_(ForkGeneration()),
      core_(std::move(core)),
      spec_(std::move(spec)),
      lease_(std::move(lease)),
      residency_id_(granted.residency_id()),
      memory_(std::move(memory)),
      size_bytes_(memory_->table().tensor_bytes()) {}

ResidentModel::~ResidentModel() {
  memory_.reset();
  if (forked()) {
    // They are the parent's: gRPC in them works only there.
    LeaveToParent(std::move(lease_));
    LeaveToParent(std::move(core_));
    return;
  }
  lease_->Release();
  core_->Forget(spec_);
}

TensorView ResidentModel::at(std::string_view name) const {
  if (const auto view = find(name)) return *view;
  const wire::TableView& table = memory_->table();
  const auto closest =
      ClosestNames(name, table.size(), [&table](size_t i) { return table.entry(i).name; });
  std::string names;
  for (const std::string& one : closest) names += (names.empty() ? "" : ", ") + one;
  Throw(ClientError(absl::StatusCode::kNotFound, kTensorNotFound,
                    wire::StrCat(spec_.reference, " has no tensor \"", name, "\""),
                    names.empty()
                        ? wire::StrCat("`modelctl inspect` lists its ", table.size(), " tensors")
                        : wire::StrCat("the closest names are ", names),
                    {{"tensor", std::string(name)}, {"closest", names}}));
}

std::optional<TensorView> ResidentModel::find(std::string_view name) const {
  const auto index = memory_->table().find(name);
  if (!index) return std::nullopt;
  return View(memory_->table().entry(*index));
}

TensorView ResidentModel::operator[](std::size_t index) const {
  return View(memory_->table().entry(memory_->table().in_order(index)));
}

std::size_t ResidentModel::size() const { return memory_->table().size(); }

std::size_t ResidentModel::metadata_size() const {
  return memory_->reference_table().metadata_count();
}

std::pair<std::string_view, std::string_view> ResidentModel::metadata(std::size_t index) const {
  return memory_->reference_table().metadata(index);
}

std::optional<std::string_view> ResidentModel::metadata(std::string_view key) const {
  for (std::size_t i = 0; i < metadata_size(); ++i) {
    const auto entry = metadata(i);
    if (entry.first == key) return entry.second;
  }
  return std::nullopt;
}

std::size_t ResidentModel::file_count() const { return memory_->reference_table().file_count(); }

FileView ResidentModel::file(std::size_t index) const {
  const wire::ReferenceFile file = memory_->reference_table().file(index);
  return {.name = file.name, .bytes = file.bytes};
}

std::optional<FileView> ResidentModel::file(std::string_view name) const {
  const auto file = memory_->reference_table().find_file(name);
  if (!file) return std::nullopt;
  return FileView{.name = file->name, .bytes = file->bytes};
}

Model::State ResidentModel::state() const { return forked() ? State::kForked : lease_->state(); }

void ResidentModel::OnStateChange(std::function<void(State)> callback) const {
  // A forked child hears of nothing, and a lock may be held by a thread that is not there.
  if (!forked()) lease_->notifier().Add(std::move(callback));
}

TensorView ResidentModel::View(const wire::TensorEntry& entry) const {
  return {.name = entry.name,
          .dtype = static_cast<DType>(entry.dtype),
          .shape = entry.shape,
          .strides = entry.strides,
          .data = memory_->data(entry),
          .size_bytes = entry.size_bytes};
}

bool ResidentModel::forked() const { return ForkGeneration() != fork_generation_; }

}  // namespace modeld::client
