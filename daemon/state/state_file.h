// The state directory's file: aliases, pins and the history of events, kept by a thread of its own.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "residency/durable_state.h"
#include "residency/event_log.h"
#include "state/journal.h"
#include "wire/mutex.h"

namespace modeld::state {

// Changes are appended to the file by one thread, in the order of the calls, and those that wait
// share one sync. A disk that is full or fails costs the changes made then, with an error each, and
// events; when it takes data again, so does this. Logs when either begins.
//
// Thread-safe. Whoever calls Save and OnEvent is done with that before Close() or the destructor.
class StateFile final : public residency::StateStore {
 public:
  // Beyond these the oldest events are dropped, and changes refused: the disk does not answer.
  static constexpr size_t kMaxWaitingEvents = residency::EventLog::kHistory;
  static constexpr size_t kMaxWaitingSaves = 1000;
  // An event waits as long for others, and as long for room on the disk.
  static constexpr std::chrono::milliseconds kEventDelay{500};
  static constexpr std::chrono::milliseconds kRetryDelay{1000};

  // `directory` is there. Errors as of Journal::Open: modeld cannot start with that directory.
  static absl::StatusOr<std::unique_ptr<StateFile>> Open(const std::string& directory);
  ~StateFile() override;
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;

  // As it was when it was opened.
  const residency::DurableState& loaded() const { return loaded_; }
  // The same for whoever keeps it: loaded() is empty then. Externally synchronised.
  residency::DurableState TakeLoaded();
  // What was damaged then and where that was put, in words for the operator; mostly empty.
  const std::vector<std::string>& notes() const { return notes_; }
  const std::string& path() const { return path_; }

  // `done` runs on the thread of this object (in Save itself where it is refused at once) and must
  // not wait for another Save or for Close(). Errors: STATE_NOT_SAVED.
  void Save(residency::StateChange change, std::function<void(absl::Status)> done) override;

  // On the disk within a second, or with the next Save. Never blocks, never fails: for
  // EventLog::Subscribe. Sequence and time are kept as they are.
  void OnEvent(const residency::Event& event);

  // Events that were not kept: they came faster than the disk took them, or it took none.
  uint64_t dropped_events() const;

  // Writes what waits, and waits for that. What comes later is refused. Idempotent.
  void Close();

 private:
  struct WaitingSave {
    residency::StateChange change;
    std::function<void(absl::Status)> done;
  };
  struct Batch {
    std::vector<WaitingSave> saves;
    std::deque<residency::Event> events;
  };

  explicit StateFile(Journal::Opened opened);

  void Run();
  // Waits for something to write; nullopt: there will be nothing more.
  std::optional<Batch> Next();
  void Write(Batch batch);
  void KeepForLater(std::deque<residency::Event> events);
  void CountDropped(size_t count);
  void LogOutcome(const absl::Status& status);
  // Once the disk takes data again: as long as it does not they become more and more.
  void LogDropped();

  const std::unique_ptr<Journal> journal_;  // of thread_, once that runs
  residency::DurableState loaded_;
  const std::vector<std::string> notes_;
  const std::string path_;

  mutable wire::Mutex mutex_;
  wire::CondVar wake_;
  std::vector<WaitingSave> saves_ MODELD_GUARDED_BY(mutex_);
  std::deque<residency::Event> events_ MODELD_GUARDED_BY(mutex_);
  base::TimePoint events_due_ MODELD_GUARDED_BY(mutex_);  // where there are any
  uint64_t dropped_ MODELD_GUARDED_BY(mutex_) = 0;
  bool closing_ MODELD_GUARDED_BY(mutex_) = false;

  // Of thread_.
  bool failing_ = false;
  uint64_t logged_dropped_ = 0;

  std::thread thread_;
};

}  // namespace modeld::state
