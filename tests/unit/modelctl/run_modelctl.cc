#include "unit/modelctl/run_modelctl.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <unistd.h>

#include "support/processes.h"

namespace modeld::test {
namespace {

struct Pipe {
  wire::UniqueFd read;
  wire::UniqueFd write;
};

Pipe MakePipe() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
  return {wire::UniqueFd(fds[0]), wire::UniqueFd(fds[1])};
}

Pipe MakeTerminal(int columns) {
  int master = -1;
  int slave = -1;
  struct winsize size = {
      .ws_row = 24, .ws_col = static_cast<uint16_t>(columns), .ws_xpixel = 0, .ws_ypixel = 0};
  EXPECT_EQ(openpty(&master, &slave, nullptr, nullptr, &size), 0);
  fcntl(master, F_SETFD, FD_CLOEXEC);
  fcntl(slave, F_SETFD, FD_CLOEXEC);
  return {wire::UniqueFd(master), wire::UniqueFd(slave)};
}

}  // namespace

std::string ModelctlPath() { return MODELD_BIN_DIR "/modelctl"; }

void Modelctl::Reader::Start(wire::UniqueFd source) {
  fd = std::move(source);
  thread = std::thread([this] {
    char buffer[65536];
    // A terminal whose other end is closed gives EIO.
    for (ssize_t size; (size = read(fd.get(), buffer, sizeof(buffer))) > 0;) {
      wire::MutexLock lock(mutex);
      text.append(buffer, static_cast<size_t>(size));
    }
  });
}

std::string Modelctl::Reader::Text() const {
  wire::MutexLock lock(mutex);
  return text;
}

Modelctl::Modelctl(std::vector<std::string> args, const ModelctlOptions& options) {
  base::ChildProcess::Options spawn;
  spawn.path = ModelctlPath();
  spawn.args = std::move(args);
  spawn.env = options.env;
  // A name that came first wins.
  spawn.env.insert(spawn.env.end(),
                   {"MODELD_ENDPOINT=", "MODELD_SCOPE=", "NO_COLOR=", "TERM=xterm"});

  Pipe out;
  Pipe err;
  wire::UniqueFd file;
  if (options.terminal) {
    out = MakeTerminal(options.columns);
    spawn.fds = {{out.write.get(), 0}, {out.write.get(), 1}, {out.write.get(), 2}};
  } else {
    out = MakePipe();
    err = MakePipe();
    spawn.fds = {{out.write.get(), 1}, {err.write.get(), 2}};
    if (!options.stdout_path.empty()) {
      file.reset(open(options.stdout_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      spawn.fds[0].first = file.get();
    }
  }
  auto process = base::ChildProcess::Spawn(spawn);
  EXPECT_TRUE(process.ok()) << process.status();
  if (!process.ok()) return;
  process_ = *std::move(process);
  out_.Start(std::move(out.read));
  if (err.read.valid()) err_.Start(std::move(err.read));
}

Modelctl::~Modelctl() {
  if (process_.valid()) process_.Kill(SIGKILL);
  Wait();
}

std::string Modelctl::out() const { return out_.Text(); }

bool Modelctl::WaitForOut(const std::string& text) const {
  return Eventually([&] { return out().find(text) != std::string::npos; });
}

ModelctlResult Modelctl::Wait() {
  ModelctlResult result;
  if (process_.valid()) {
    auto ended = process_.Wait(base::SystemClock().Now() + std::chrono::seconds(60));
    if (ended && !ended->signaled) result.exit_code = ended->value;
    if (!ended) {
      ADD_FAILURE() << "modelctl does not end";
      process_.Kill(SIGKILL);
      process_.Wait();
    }
  }
  if (out_.thread.joinable()) out_.thread.join();
  if (err_.thread.joinable()) err_.thread.join();
  result.out = out_.Text();
  result.err = err_.Text();
  return result;
}

ModelctlResult RunModelctl(std::vector<std::string> args, const ModelctlOptions& options) {
  return Modelctl(std::move(args), options).Wait();
}

}  // namespace modeld::test
