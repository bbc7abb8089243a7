// What this process has with one modeld: a connection, and the Models it holds.

#pragma once

#include <map>
#include <memory>

#include "absl/status/status.h"
#include "connection_keeper.h"
#include "endpoint.h"
#include "flight.h"
#include "fork_guard.h"
#include "modeld/client.h"
#include "resident_model.h"
#include "wire/mutex.h"

namespace modeld::client {

// One per process and endpoint, kept alive by its Clients and Models. Thread-safe.
class Core : public std::enable_shared_from_this<Core> {
 public:
  // The one of this endpoint, connected.
  static absl::StatusOr<std::shared_ptr<Core>> Get(const Endpoint& endpoint);

  explicit Core(Endpoint endpoint)
      : keeper_(std::make_shared<ConnectionKeeper>(std::move(endpoint))) {}

  const std::shared_ptr<ConnectionKeeper>& keeper() const { return keeper_; }
  // Is this process a forked child of the one that made it? Then nothing else of it may be used.
  bool forked() const { return ForkGeneration() != fork_generation_; }

  // As Client::Acquire.
  absl::StatusOr<std::shared_ptr<const Model>> Acquire(const ModelSpec& spec,
                                                       const AcquireOptions& options);

  // Makes a new Model the one of its spec, and returns it; or, if another flight was faster, that
  // one's.
  std::shared_ptr<const ResidentModel> Publish(std::shared_ptr<const ResidentModel> model);
  // A flight is not to be joined any more.
  void Land(const ModelSpec& spec, const Flight* flight);
  // A Model of that spec is gone.
  void Forget(const ModelSpec& spec);

 private:
  struct Entry {
    std::weak_ptr<const ResidentModel> model;
    std::shared_ptr<Flight> flight;
  };

  // The Model there is, or the flight to wait for; `start` tells whether to start it.
  struct Found {
    std::shared_ptr<const ResidentModel> model;
    std::shared_ptr<Flight> flight;
    bool start = false;
  };
  Found Find(const ModelSpec& spec, const Flight::Wishes& wishes);
  void EraseIfEmpty(std::map<ModelSpec, Entry>::iterator entry) MODELD_REQUIRES(mutex_);

  const uint64_t fork_generation_ = ForkGeneration();
  const std::shared_ptr<ConnectionKeeper> keeper_;

  wire::Mutex mutex_;
  std::map<ModelSpec, Entry> entries_ MODELD_GUARDED_BY(mutex_);
};

}  // namespace modeld::client
