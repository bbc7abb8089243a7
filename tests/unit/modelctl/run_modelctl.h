// The real modelctl, run as people run it.

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/child_process.h"
#include "wire/mutex.h"
#include "wire/unique_fd.h"

namespace modeld::test {

struct ModelctlResult {
  int exit_code = -1;  // -1: it did not end by itself
  std::string out;
  std::string err;
};

struct ModelctlOptions {
  std::vector<std::string> env = {};  // NAME=value
  // stdin, stdout and stderr are a terminal of this width; both outputs come in `out`.
  bool terminal = false;
  int columns = 80;
  // stdout goes into this file instead.
  std::string stdout_path = {};
};

// One run. The environment of the test does not decide: MODELD_ENDPOINT, MODELD_SCOPE and NO_COLOR
// are empty unless given. Externally synchronised.
class Modelctl {
 public:
  explicit Modelctl(std::vector<std::string> args, const ModelctlOptions& options = {});
  // Kills it if it still runs.
  ~Modelctl();

  void Signal(int signal) { process_.Kill(signal); }
  // What it wrote so far, to stdout or the terminal.
  std::string out() const;
  // Waits until that holds `text`; false when it does not within 20 s.
  bool WaitForOut(const std::string& text) const;
  // Waits for the end, 60 s at most.
  ModelctlResult Wait();

 private:
  struct Reader {
    wire::UniqueFd fd;
    mutable wire::Mutex mutex;
    std::string text MODELD_GUARDED_BY(mutex);
    std::thread thread;

    void Start(wire::UniqueFd source);
    std::string Text() const;
  };

  base::ChildProcess process_;
  Reader out_;
  Reader err_;
};

// A run from beginning to end.
ModelctlResult RunModelctl(std::vector<std::string> args, const ModelctlOptions& options = {});

// The path of the program.
std::string ModelctlPath();

}  // namespace modeld::test
