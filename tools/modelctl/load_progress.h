// How far a load is, on a terminal.

#pragma once

#include <string>
#include <utility>

#include "modelctl/progress_bar.h"
#include "modelctl/text.h"
#include "modeld/v1/residency_service.pb.h"

namespace modeld::modelctl {

// `waits for 4.0 GiB, 1.0 GiB free: held by pid 4711 (python, world/train)`
inline std::string WaitingText(const v1::Progress& progress) {
  const std::string bytes = "waits for " + HumanBytes(progress.bytes_total()) + ", " +
                            HumanBytes(progress.bytes_done()) + " free";
  return progress.message().empty() ? bytes : bytes + ": " + Printable(progress.message());
}

class LoadProgress {
 public:
  explicit LoadProgress(const std::string& reference) : display_(reference) {}

  void Show(const v1::Progress& progress) {
    switch (progress.phase()) {
      case v1::Progress::LOADING:
        display_.ShowBytes(progress.bytes_done(), progress.bytes_total());
        break;
      case v1::Progress::WAITING:
        display_.ShowText(WaitingText(progress));
        break;
      case v1::Progress::IDENTIFYING:
        display_.ShowText("comparing it with what is resident");
        break;
      default:
        display_.ShowText("reading its header");
    }
  }
  void Clear() { display_.Clear(); }

 private:
  ProgressDisplay display_;
};

}  // namespace modeld::modelctl
