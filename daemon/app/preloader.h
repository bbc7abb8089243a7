// Makes resident what the manifest lists.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "app/preload_manifest.h"
#include "residency/manager.h"
#include "wire/mutex.h"

namespace modeld::app {

// Loads one entry after another, in a thread of its own, while modeld serves. One that fails is a
// line in the log and a note; the next is loaded all the same.
//
// Externally synchronised, but for what says otherwise.
class Preloader {
 public:
  // `manager` outlives it.
  explicit Preloader(residency::Manager& manager) : manager_(manager) {}
  // Stop(), if nobody did.
  ~Preloader();

  // Once, when the devices are there. `gpus`: UUIDs in the order in which `cuda:N` counts.
  void Start(std::vector<Preload> preloads, std::vector<std::string> gpus);

  // What is being loaded is given up, the rest is not begun, nothing is logged any more. Waits for
  // the thread, not for the load. Idempotent.
  void Stop();

  // What is not as the manifest wants it: words for an operator. Thread-safe.
  std::vector<std::string> notes() const;

  // Is it this that is being loaded, so that the log hears of its failure from here? Thread-safe.
  bool IsLoading(std::string_view reference) const;

 private:
  // Shared with answers that come when nobody waits any more.
  struct State {
    mutable wire::Mutex mutex;
    wire::CondVar changed;
    bool stopping MODELD_GUARDED_BY(mutex) = false;
    std::string reference MODELD_GUARDED_BY(mutex);  // that is being loaded
    std::vector<std::string> notes MODELD_GUARDED_BY(mutex);
  };
  template <class T>
  class Answer;
  template <class Observer, class Result>
  class Observed;

  void Run(const std::vector<Preload>& preloads, const std::vector<std::string>& gpus);
  // False: told to stop.
  bool Load(const Preload& preload, const std::vector<std::string>& gpus);
  bool GiveName(const Preload& preload, const residency::ModelSpec& spec,
                const residency::ResidencyInfo& residency);
  void SetLoading(const std::string& reference);
  void SayFailed(const Preload& preload, const absl::Status& why);
  void Note(std::string note);

  residency::Manager& manager_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace modeld::app
