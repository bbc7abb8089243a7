// A fixed number of threads and a queue.

#pragma once

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/executor.h"
#include "wire/mutex.h"

namespace modeld::base {

// Owns its threads. Thread-safe.
class ThreadPool : public Executor {
 public:
  // `name` (at most 15 bytes) is what the threads are called in `ps` and debuggers.
  ThreadPool(const std::string& name, int thread_count);
  // Stop().
  ~ThreadPool() override;

  // Dropped after Stop.
  void Post(Task task) override;

  // Lets the tasks that were posted finish, then joins. Idempotent. Not from one of its own
  // threads.
  void Stop();

 private:
  void Run();

  wire::Mutex mutex_;
  wire::CondVar wake_;
  std::deque<Task> tasks_ MODELD_GUARDED_BY(mutex_);
  bool stopping_ MODELD_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace modeld::base
