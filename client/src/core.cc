#include "core.h"

#include <cstdlib>
#include <utility>

#include "local_devices.h"
#include "status.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::client {
namespace {

struct Registry {
  wire::Mutex mutex;
  std::map<std::string, std::weak_ptr<Core>> cores MODELD_GUARDED_BY(mutex);
};

// Never destroyed: Models may live in static objects.
Registry& GetRegistry() {
  static Registry& registry = *new Registry;
  return registry;
}

// The same Model for everyone who asks; one whose memory modeld has lost is nobody's any more, and
// one that shall go is not for those who come later.
bool IsUsable(const std::shared_ptr<const ResidentModel>& model) {
  return model != nullptr && model->state() != Model::State::kLost && !model->retired();
}

absl::Status CheckText(std::string_view text, std::string_view field) {
  if (wire::IsUtf8(text)) return absl::OkStatus();
  return wire::MakeError(wire::Reason::kFieldInvalid,
                         wire::StrCat("the ", field, " \"", wire::ToUtf8(text), "\" is not UTF-8"),
                         {{"field", std::string(field)}}, "rename it");
}

absl::Status CheckSpec(const ModelSpec& spec, const std::string& scope) {
  for (const auto& [text, field] :
       {std::pair(&spec.reference, "reference"), std::pair(&spec.device, "device"),
        std::pair(&spec.instance, "instance"), std::pair(&spec.peer, "peer"),
        std::pair(&spec.config.cast, "cast"), std::pair(&spec.config.key_prefix, "key_prefix"),
        std::pair(&spec.expected_digest, "expected_digest"), std::pair(&scope, "scope")}) {
    if (absl::Status status = CheckText(*text, field); !status.ok()) return status;
  }
  for (const auto* globs : {&spec.config.include, &spec.config.exclude}) {
    for (const std::string& glob : *globs) {
      if (absl::Status status = CheckText(glob, "glob"); !status.ok()) return status;
    }
  }
  if (spec.reference.empty()) {
    return wire::MakeError(wire::Reason::kFieldInvalid, "the reference is empty",
                           {{"field", "reference"}},
                           "name a checkpoint: an absolute path, or a path "
                           "relative to one of modeld's roots");
  }
  if (spec.private_copy && !spec.instance.empty()) {
    return wire::MakeError(
        wire::Reason::kFieldInvalid,
        wire::StrCat("a private copy cannot be instance \"", spec.instance, "\""),
        {{"field", "instance"}}, "leave one of the two out");
  }
  return absl::OkStatus();
}

// Equal devices spelled differently are one Model: every name becomes what modeld calls it.
absl::Status ResolveDevices(ModelSpec& spec) {
  auto device = ResolveDevice(spec.device);
  if (!device.ok()) return device.status();
  spec.device = *std::move(device);
  if (spec.device == kHost) spec.keep_host = false;
  if (spec.peer.empty()) return absl::OkStatus();
  auto peer = ResolveDevice(spec.peer);
  if (!peer.ok()) return peer.status();
  if (*peer == kHost || spec.device == kHost) {
    return wire::MakeError(wire::Reason::kFieldInvalid,
                           wire::StrCat(spec.peer, " is no peer of ", spec.device),
                           {{"field", "peer"}}, "a peer is a GPU that reads another GPU's memory");
  }
  spec.peer = *peer == spec.device ? std::string() : *std::move(peer);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Core>> Core::Get(const Endpoint& endpoint) {
  std::shared_ptr<Core> core;
  {
    Registry& registry = GetRegistry();
    wire::MutexLock lock(registry.mutex);
    std::erase_if(registry.cores, [](const auto& item) { return item.second.expired(); });
    std::weak_ptr<Core>& entry = registry.cores[endpoint.calls_path];
    core = entry.lock();
    if (core == nullptr || core->forked()) {
      core = std::make_shared<Core>(endpoint);
      entry = core;
    }
  }
  const auto connection = core->keeper_->Connect();
  if (!connection.ok()) return connection.status();
  return core;
}

absl::StatusOr<std::shared_ptr<const Model>> Core::Acquire(const ModelSpec& requested,
                                                           const AcquireOptions& options) {
  ModelSpec spec = requested;
  std::string scope = options.scope;
  if (const char* value = std::getenv("MODELD_SCOPE"); scope.empty() && value != nullptr) {
    scope = value;
  }
  if (absl::Status status = CheckSpec(spec, scope); !status.ok()) return status;
  if (absl::Status status = ResolveDevices(spec); !status.ok()) return status;

  const Deadline deadline = DeadlineAfter(options.timeout);
  const Flight::Wishes wishes = {.scope = std::move(scope),
                                 .deadline = deadline,
                                 .wait_for_room = options.wait_for_room,
                                 .keep_alive = options.keep_alive};
  for (;;) {
    Found found = Find(spec, wishes);
    if (found.model != nullptr) return found.model;
    if (found.start) found.flight->Start();
    auto model = found.flight->Wait(deadline, options.on_progress);
    if (model.ok()) return *std::move(model);
    // The time of whoever began the flight may be up before ours.
    const bool ours = found.start || HasPassed(deadline);
    if (!absl::IsDeadlineExceeded(model.status()) || ours) return model.status();
  }
}

Core::Found Core::Find(const ModelSpec& spec, const Flight::Wishes& wishes) {
  Found found;
  // These may be the last owners, and what they own takes the lock when it goes.
  std::shared_ptr<const ResidentModel> there;
  std::shared_ptr<Flight> replaced;
  wire::MutexLock lock(mutex_);
  if (!spec.private_copy) {
    Entry& entry = entries_[spec];
    there = entry.model.lock();
    if (IsUsable(there)) {
      found.model = there;
      return found;
    }
    if (entry.flight != nullptr && entry.flight->Join(wishes)) {
      found.flight = entry.flight;
      return found;
    }
  }
  found.flight = std::make_shared<Flight>(shared_from_this(), spec, wishes);
  found.flight->Join(wishes);
  found.start = true;
  if (!spec.private_copy) {
    replaced = std::exchange(entries_[spec].flight, found.flight);
  }
  return found;
}

std::shared_ptr<const ResidentModel> Core::Publish(std::shared_ptr<const ResidentModel> model) {
  if (model->spec().private_copy) return model;
  std::shared_ptr<const ResidentModel> there;  // goes after the lock
  wire::MutexLock lock(mutex_);
  Entry& entry = entries_[model->spec()];
  there = entry.model.lock();
  if (IsUsable(there)) return there;
  entry.model = model;
  return model;
}

void Core::Land(const ModelSpec& spec, const Flight* flight) {
  std::shared_ptr<Flight> landed;  // goes after the lock
  wire::MutexLock lock(mutex_);
  const auto entry = entries_.find(spec);
  if (entry == entries_.end() || entry->second.flight.get() != flight) return;
  landed.swap(entry->second.flight);
  EraseIfEmpty(entry);
}

void Core::Forget(const ModelSpec& spec) {
  wire::MutexLock lock(mutex_);
  if (const auto entry = entries_.find(spec); entry != entries_.end()) EraseIfEmpty(entry);
}

void Core::EraseIfEmpty(std::map<ModelSpec, Entry>::iterator entry) {
  if (entry->second.flight == nullptr && entry->second.model.expired()) entries_.erase(entry);
}

}  // namespace modeld::client
