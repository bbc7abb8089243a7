#include "piped_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "bench_tools.h"

namespace modeld::bench {

PipedProcess::PipedProcess(const std::string& program, const std::vector<std::string>& arguments) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) Die("no pipes for a worker");
  input_.reset(in[1]);
  output_.reset(::fdopen(out[0], "r"));
  const wire::UniqueFd their_input(in[0]);
  const wire::UniqueFd their_output(out[1]);
  process_ = OrDie(base::ChildProcess::Spawn(
      {.path = program,
       .args = arguments,
       .fds = {{their_input.get(), STDIN_FILENO}, {their_output.get(), STDOUT_FILENO}}}));
}

PipedProcess::~PipedProcess() {
  if (!process_.valid()) return;
  input_.reset();
  process_.Wait();
}

void PipedProcess::Send(const std::string& text) {
  if (::write(input_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    Die("a worker is gone");
  }
}

std::string PipedProcess::ReadLine() {
  char line[256];
  if (std::fgets(line, sizeof(line), output_.get()) == nullptr) Die("a worker has failed");
  std::string text = line;
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

double PipedProcess::Read() {
  const std::string line = ReadLine();
  char* end = nullptr;
  const double number = std::strtod(line.c_str(), &end);
  if (end == line.c_str()) Die("a worker says: " + line);
  return number;
}

void Say(double number) {
  std::printf("%.6f\n", number);
  std::fflush(stdout);
}

bool NextTurn() {
  char byte = 0;
  return ::read(STDIN_FILENO, &byte, 1) == 1;
}

}  // namespace modeld::bench
