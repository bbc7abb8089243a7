// Where work that may block runs.

#pragma once

#include <functional>

namespace modeld::base {

using Task = std::function<void()>;

// Runs tasks, at some time, on some thread; thread-safe. Tasks do not throw.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Post(Task task) = 0;
};

// Runs each task inside Post: for tests, and for work that is known to be short.
class InlineExecutor : public Executor {
 public:
  void Post(Task task) override { task(); }
};

}  // namespace modeld::base
