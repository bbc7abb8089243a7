#include "support/processes.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>
#include <thread>

#include "support/read_file.h"

namespace modeld::test {
namespace {

namespace fs = std::filesystem;

}  // namespace

std::vector<ProcessInfo> ProcessesWith(const std::string& text) {
  std::vector<ProcessInfo> found;
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (!std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); })) {
      continue;
    }
    ProcessInfo process;
    process.command_line = ReadFile(it->path() / "cmdline");  // empty for a zombie
    std::replace(process.command_line.begin(), process.command_line.end(), '\0', ' ');
    if (process.command_line.find(text) == std::string::npos) continue;
    process.pid = std::stoi(name);
    // After the name, which is in parentheses and may hold anything: state, then parent. proc(5)
    const std::string stat = ReadFile(it->path() / "stat");
    std::istringstream rest(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
    std::string state;
    rest >> state >> process.parent;
    found.push_back(std::move(process));
  }
  return found;
}

size_t OpenFdCount(pid_t pid) {
  std::error_code error;
  const fs::directory_iterator fds("/proc/" + std::to_string(pid) + "/fd", error);
  return error ? 0 : static_cast<size_t>(std::distance(fds, fs::directory_iterator()));
}

std::string OpenFds(pid_t pid) {
  std::string text;
  std::error_code error;
  for (fs::directory_iterator it("/proc/" + std::to_string(pid) + "/fd", error), end; it != end;
       it.increment(error)) {
    text +=
        it->path().filename().string() + " " + fs::read_symlink(it->path(), error).string() + "\n";
  }
  return text;
}

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace modeld::test
