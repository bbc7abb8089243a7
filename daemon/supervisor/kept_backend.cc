#include "supervisor/kept_backend.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace modeld::supervisor {
namespace {

void SayNotKept(const std::string& id, std::string_view why) {
  spdlog::warn("residency {} would not outlive its agent: {}", id, why);
}

// What keeps a residency's descriptors open until they are stored.
struct KeepAlive {
  residency::ResidencyRecord record;
  std::shared_ptr<const residency::ResidentMemory> memory;
  std::vector<wire::UniqueFd> own_fds;
};

}  // namespace

void KeptBackend::Restore(std::vector<FoundResidency> found) {
  wire::MutexLock lock(mutex_);
  for (FoundResidency& residency : found) {
    const std::string id = residency.entry.record.id;
    if (store_ != nullptr) {
      kept_[id] = std::move(residency.names);
      stored_[id] = {residency.entry.memory, residency.entry.digests};
    }
    restored_.emplace(id, std::move(residency.entry));
  }
}

void KeptBackend::TellRestored() {
  std::map<std::string, InventoryEntry> restored;
  {
    wire::MutexLock lock(mutex_);
    restored.swap(restored_);
  }
  for (auto& [id, entry] : restored) {
    // The manager first: an agent that comes up in between gets it from there.
    observer_->OnInventory(entry.record, entry.memory, entry.digests);
    backend_->Adopt(entry.record, entry.memory, entry.digests);
  }
}

void KeptBackend::ForgetAll() {
  std::map<std::string, std::vector<std::string>> kept;
  {
    wire::MutexLock lock(mutex_);
    kept.swap(kept_);
    stored_.clear();
  }
  for (auto& [id, names] : kept) store_->Remove(std::move(names));
}

void KeptBackend::Load(residency::LoadJob job) {
  if (store_ != nullptr) {
    wire::MutexLock lock(mutex_);
    loading_[job.record.id] = job.record;
  }
  backend_->Load(std::move(job));
}

void KeptBackend::Identify(residency::LoadJob job) { backend_->Identify(std::move(job)); }

// Another record is another descriptor: all of it goes in anew.
void KeptBackend::UpdateRecord(const residency::ResidencyRecord& record) {
  std::vector<std::string> names;
  Stored stored;
  {
    wire::MutexLock lock(mutex_);
    auto node = kept_.extract(record.id);
    if (!node.empty()) names = std::move(node.mapped());
    if (auto found = stored_.find(record.id); found != stored_.end()) stored = found->second;
  }
  if (!names.empty()) store_->Remove(std::move(names));
  if (stored.memory != nullptr) Keep(record, stored.memory, stored.digests);
  backend_->UpdateRecord(record);
}

void KeptBackend::CancelLoad(const std::string& residency_id) {
  backend_->CancelLoad(residency_id);
}

void KeptBackend::Release(const std::string& residency_id) {
  std::vector<std::string> names;
  {
    wire::MutexLock lock(mutex_);
    auto node = kept_.extract(residency_id);
    if (!node.empty()) names = std::move(node.mapped());
    stored_.erase(residency_id);
    restored_.erase(residency_id);
  }
  if (!names.empty()) store_->Remove(std::move(names));
  backend_->Release(residency_id);
}

void KeptBackend::Adopt(const residency::ResidencyRecord& record, Memory memory, Digests digests) {
  backend_->Adopt(record, std::move(memory), std::move(digests));
}

void KeptBackend::OnLoadProgress(const std::string& residency_id, uint64_t bytes_done) {
  observer_->OnLoadProgress(residency_id, bytes_done);
}

void KeptBackend::OnLoaded(const std::string& residency_id, Memory memory,
                           const residency::LoadStats& stats) {
  residency::ResidencyRecord record;
  {
    wire::MutexLock lock(mutex_);
    auto node = loading_.extract(residency_id);
    if (!node.empty()) record = std::move(node.mapped());
  }
  if (!record.id.empty()) Keep(record, memory, nullptr);
  observer_->OnLoaded(residency_id, std::move(memory), stats);
}

void KeptBackend::OnLoadFailed(const std::string& residency_id, absl::Status status) {
  {
    wire::MutexLock lock(mutex_);
    loading_.erase(residency_id);
  }
  observer_->OnLoadFailed(residency_id, std::move(status));
}

void KeptBackend::OnDigest(const std::string& residency_id, Digests digests) {
  KeepDigest(residency_id, digests);
  observer_->OnDigest(residency_id, std::move(digests));
}

void KeptBackend::OnIdentified(
    const std::string& residency_id,
    absl::StatusOr<std::shared_ptr<const plan::ContentDigests>> digests) {
  observer_->OnIdentified(residency_id, std::move(digests));
}

void KeptBackend::OnReleased(const std::string& residency_id, uint64_t unreturned_bytes) {
  observer_->OnReleased(residency_id, unreturned_bytes);
}

void KeptBackend::OnAgentUp(const std::string& device, const residency::AgentInfo& info) {
  observer_->OnAgentUp(device, info);
}

void KeptBackend::OnAgentDown(const std::string& device, const absl::Status& why) {
  observer_->OnAgentDown(device, why);
}

void KeptBackend::OnInventory(const residency::ResidencyRecord& record, Memory memory,
                              Digests digests) {
  bool kept = false;
  bool digest_kept = false;
  {
    wire::MutexLock lock(mutex_);
    kept = kept_.contains(record.id);
    auto node = restored_.extract(record.id);
    digest_kept = !node.empty() && node.mapped().digests != nullptr;
  }
  if (!kept) {
    Keep(record, memory, digests);
  } else if (!digest_kept && digests != nullptr) {
    KeepDigest(record.id, digests);
  }
  observer_->OnInventory(record, std::move(memory), std::move(digests));
}

void KeptBackend::Keep(const residency::ResidencyRecord& record, const Memory& memory,
                       const Digests& digests) {
  if (store_ == nullptr || !IsKeepable(record, *memory)) return;
  auto items = ItemsOf(record, *memory);
  if (!items.ok()) return SayNotKept(record.id, std::string(items.status().message()));
  std::vector<std::string> names;
  for (const DescriptorStore::Item& item : items->items) names.push_back(item.name);
  auto alive = std::make_shared<KeepAlive>(KeepAlive{record, memory, std::move(items->own_fds)});
  if (!store_->Store(std::move(items->items), std::move(alive))) {
    return SayNotKept(record.id, "the store of descriptors is full: raise FileDescriptorStoreMax");
  }
  {
    wire::MutexLock lock(mutex_);
    kept_[record.id] = std::move(names);
    stored_[record.id] = {memory, nullptr};
  }
  if (digests != nullptr) KeepDigest(record.id, digests);
}

// A digest that is not kept is computed again.
void KeptBackend::KeepDigest(const std::string& residency_id, const Digests& digests) {
  if (store_ == nullptr) return;
  DescriptorStore::Item item = DigestItem(residency_id, *digests);
  wire::MutexLock lock(mutex_);
  const auto found = kept_.find(residency_id);
  if (found == kept_.end()) return;
  const std::string name = item.name;
  if (!store_->Store({std::move(item)}, digests)) return;
  found->second.push_back(name);
  stored_[residency_id].digests = digests;
}

}  // namespace modeld::supervisor
