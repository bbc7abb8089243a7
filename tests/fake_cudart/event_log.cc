#include "fake_cudart/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include "fake_cudart/config.h"
#include "wire/unique_fd.h"

namespace fake_cudart {

void LogEvent(const std::string& event) {
  const Config& config = GetConfig();
  if (config.log_path.empty()) return;
  // Opened each time: a program may close every descriptor that it does not know.
  const modeld::wire::UniqueFd fd(
      open(config.log_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid()) return;
  const std::string line = event + " pid=" + std::to_string(config.pid) + "\n";
  [[maybe_unused]] const ssize_t written = write(fd.get(), line.data(), line.size());
}

void LogEvent(const char* event, const std::string& device_name) {
  LogEvent(std::string(event) + " " + device_name);
}

void LogEvent(const char* event, const std::string& device_name, uint64_t bytes) {
  LogEvent(std::string(event) + " " + device_name + " " + std::to_string(bytes));
}

void LogEvent(const char* event, uint64_t bytes) {
  LogEvent(std::string(event) + " " + std::to_string(bytes));
}

}  // namespace fake_cudart
