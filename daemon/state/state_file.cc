#include "state/state_file.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "state/line.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::state {
namespace {

absl::Status Refused(const std::string& path, std::string_view why) {
  return wire::MakeError(wire::Reason::kStateNotSaved,
                         wire::StrCat("cannot save to ", path, ": ", why), {{"file", path}},
                         "modelctl health");
}

bool IsTooLong(const Entry& entry) { return entry.line.size() > kMaxLineBytes; }

}  // namespace

absl::StatusOr<std::unique_ptr<StateFile>> StateFile::Open(const std::string& directory) {
  absl::StatusOr<Journal::Opened> opened = Journal::Open(directory);
  if (!opened.ok()) return opened.status();
  return std::unique_ptr<StateFile>(new StateFile(*std::move(opened)));
}

StateFile::StateFile(Journal::Opened opened)
    : journal_(std::move(opened.journal)),
      loaded_(std::move(opened.state)),
      notes_(std::move(opened.notes)),
      path_(journal_->path()),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "state");
}

StateFile::~StateFile() { Close(); }

void StateFile::Close() {
  {
    wire::MutexLock lock(mutex_);
    closing_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

residency::DurableState StateFile::TakeLoaded() { return std::exchange(loaded_, {}); }

uint64_t StateFile::dropped_events() const {
  wire::MutexLock lock(mutex_);
  return dropped_;
}

void StateFile::Save(residency::StateChange change, std::function<void(absl::Status)> done) {
  std::string_view refusal;
  {
    wire::MutexLock lock(mutex_);
    if (!closing_ && saves_.size() < kMaxWaitingSaves) {
      saves_.push_back({std::move(change), std::move(done)});
      wake_.NotifyAll();
      return;
    }
    refusal = closing_ ? "modeld is stopping"
                       : "the disk does not answer, and too many changes wait for it";
  }
  done(Refused(path_, refusal));
}

void StateFile::OnEvent(const residency::Event& event) {
  residency::Event copy = event;
  {
    wire::MutexLock lock(mutex_);
    if (closing_) {
      ++dropped_;
      return;
    }
    if (events_.empty()) events_due_ = std::chrono::steady_clock::now() + kEventDelay;
    events_.push_back(std::move(copy));
    if (events_.size() > kMaxWaitingEvents) {
      events_.pop_front();
      ++dropped_;
    }
    // Whoever waits for more events knows until when.
    if (events_.size() > 1) return;
  }
  wake_.NotifyAll();
}

void StateFile::Run() {
  while (std::optional<Batch> batch = Next()) Write(*std::move(batch));
  LogDropped();
}

std::optional<StateFile::Batch> StateFile::Next() {
  wire::MutexLock lock(mutex_);
  while (saves_.empty() && !closing_) {
    if (events_.empty()) {
      wake_.Wait(mutex_);
    } else if (std::chrono::steady_clock::now() < events_due_) {
      wake_.WaitUntil(mutex_, events_due_);
    } else {
      break;
    }
  }
  if (saves_.empty() && events_.empty()) return std::nullopt;
  return Batch{std::exchange(saves_, {}), std::exchange(events_, {})};
}

void StateFile::Write(Batch batch) {
  std::vector<std::function<void(absl::Status)>> waiting;
  std::vector<Entry> entries;
  for (WaitingSave& save : batch.saves) {
    Entry entry(ToRecord(std::move(save.change)));
    if (IsTooLong(entry)) {
      save.done(Refused(path_, wire::StrCat("it takes ", entry.line.size(), " bytes, and at most ",
                                            kMaxLineBytes, " are kept of one change")));
      continue;
    }
    entries.push_back(std::move(entry));
    waiting.push_back(std::move(save.done));
  }
  const size_t save_count = entries.size();
  size_t too_long = 0;
  for (const residency::Event& event : batch.events) {
    Entry entry{Record(event)};
    if (IsTooLong(entry)) {
      ++too_long;
    } else {
      entries.push_back(std::move(entry));
    }
  }

  const absl::Status status = journal_->Append(entries);
  LogOutcome(status);
  if (status.ok()) {
    CountDropped(too_long);
  } else {
    KeepForLater(std::move(batch.events));
  }
  // There may be room at least for what somebody waits for.
  const bool again = !status.ok() && save_count < entries.size();
  const absl::Status saved =
      again ? journal_->Append(std::span(entries).first(save_count)) : status;
  for (const auto& done : waiting) done(saved);
  if (status.ok()) LogDropped();
  journal_->CompactIfGrown();
}

void StateFile::KeepForLater(std::deque<residency::Event> events) {
  wire::MutexLock lock(mutex_);
  // After a failure there is no later.
  const size_t room = closing_ ? 0 : kMaxWaitingEvents - events_.size();
  const size_t kept = std::min(room, events.size());
  dropped_ += events.size() - kept;
  events_.insert(events_.begin(),
                 std::make_move_iterator(events.end() - static_cast<std::ptrdiff_t>(kept)),
                 std::make_move_iterator(events.end()));
  events_due_ = std::chrono::steady_clock::now() + kRetryDelay;
}

void StateFile::CountDropped(size_t count) {
  wire::MutexLock lock(mutex_);
  dropped_ += count;
}

void StateFile::LogOutcome(const absl::Status& status) {
  if (!status.ok() && !failing_) {
    spdlog::warn("msg=\"state not saved\" why=\"{}\"", wire::ToStd(status.message()));
  }
  if (status.ok() && failing_) spdlog::info("msg=\"state saved again\" file=\"{}\"", path_);
  failing_ = !status.ok();
}

void StateFile::LogDropped() {
  const uint64_t dropped = dropped_events();
  if (dropped == logged_dropped_) return;
  spdlog::warn("msg=\"events not kept\" count={} file=\"{}\"", dropped - logged_dropped_, path_);
  logged_dropped_ = dropped;
}

}  // namespace modeld::state
