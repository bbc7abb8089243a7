// What outlives modeld besides memory: the operator's wishes, and what happened.

#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "residency/types.h"

namespace modeld::residency {

// A name for one version of a model. What it names changes only when it is set again, whatever
// happens to the files.
struct Alias {
  std::string name;
  ModelSpec spec;  // as it was set; of its device only that the version was READY there then
  std::optional<base::Duration> keep_alive;  // of acquires that do not say otherwise
  std::string content_key;                   // what the reference led to when it was set
  std::string digest;                        // `sha256:...`; empty: not known yet
  base::WallTime set_time;
};

struct DurableState {
  std::map<std::string, Alias> aliases;  // by name
  std::map<Key, std::string> pins;       // the reference that each was pinned under
  std::vector<Event> events;             // oldest first
};

struct SetAlias {
  Alias alias;
};
struct RemoveAlias {
  std::string name;
};
struct SetPin {
  Key key;
  std::string reference = {};
};
struct RemovePin {
  Key key;
};
using StateChange = std::variant<SetAlias, RemoveAlias, SetPin, RemovePin>;

// Where the state is kept. Thread-safe.
class StateStore {
 public:
  virtual ~StateStore() = default;
  // Changes become durable in the order of the calls. `done` is called once, from any thread, when
  // this one is (a crash or loss of power from then on does not undo it), or with why it is not:
  // then it is as if it had not been asked for. Does not block.
  virtual void Save(StateChange change, std::function<void(absl::Status)> done) = 0;
};

}  // namespace modeld::residency
