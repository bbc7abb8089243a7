// A worker in a process of its own that is told when to go on, and answers with numbers.

#pragma once

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/child_process.h"
#include "wire/unique_fd.h"

namespace modeld::bench {

// This program, once more.
inline constexpr char kSelf[] = "/proc/self/exe";

// A program with pipes to its stdin and from its stdout. Externally synchronised. Whatever fails
// ends this program.
class PipedProcess {
 public:
  PipedProcess(const std::string& program, const std::vector<std::string>& arguments);
  PipedProcess(PipedProcess&&) = default;
  // Ends its input and waits for its end.
  ~PipedProcess();

  pid_t pid() const { return process_.pid(); }

  void Send(const std::string& text);
  // Lets it go on after NextTurn.
  void Continue() { Send("+"); }

  // The next line that it prints, and the number in it.
  std::string ReadLine();
  double Read();

 private:
  base::ChildProcess process_;
  wire::UniqueFd input_;
  std::unique_ptr<FILE, int (*)(FILE*)> output_{nullptr, std::fclose};
};

// ---- in the worker ----

// Prints a number for Read.
void Say(double number);
// Waits for Continue; false when there is no more to come.
bool NextTurn();

}  // namespace modeld::bench
