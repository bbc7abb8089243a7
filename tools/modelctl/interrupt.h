// Ctrl-C and SIGTERM as something that a verb can wait for and that ends a call.

#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "absl/status/status.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::modelctl {

// Owns a thread that waits for the signals; they are blocked in every other thread. The first one
// raises the interrupt, so that verbs can cancel their calls and remove what they left half-done; a
// second one kills the process as if nobody had caught it. Thread-safe.
class Interrupt {
 public:
  // REQUIRES: no thread has been started yet.
  Interrupt();
  // Joins.
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool raised() const { return raised_.load(); }
  // OK, or CANCELLED once it is raised.
  absl::Status Check() const;
  // Readable once it is raised: for poll.
  int fd() const { return raised_event_.get(); }
  // Waits; false if it was raised meanwhile.
  bool Sleep(std::chrono::nanoseconds duration);

  // While one lives, an interrupt cancels the call. One at a time.
  class Guard {
   public:
    Guard(Interrupt& interrupt, grpc::ClientContext& context);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    Interrupt& interrupt_;
  };

 private:
  void Watch();

  wire::UniqueFd signals_;       // signalfd
  wire::UniqueFd stop_event_;    // eventfd
  wire::UniqueFd raised_event_;  // eventfd
  std::atomic<bool> raised_{false};
  wire::Mutex mutex_;
  grpc::ClientContext* context_ MODELD_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace modeld::modelctl
