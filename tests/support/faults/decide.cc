#include "support/faults/decide.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace modeld::test::faults {
namespace {

Table* MapTable() {
  const char* const path = getenv(kTableVariable);
  if (path == nullptr) return nullptr;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* const table = mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return table == MAP_FAILED ? nullptr : static_cast<Table*>(table);
}

Table* table = nullptr;

// Before main: later a sandbox may not let a file be opened.
__attribute__((constructor)) void FindTable() { table = MapTable(); }

bool NameHolds(const Subject& subject, const char* part) {
  if (part[0] == '\0') return true;
  if (subject.name != nullptr) return strstr(subject.name, part) != nullptr;
  char link[32];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", subject.fd);
  char target[PATH_MAX];
  const ssize_t size = readlink(link, target, sizeof(target) - 1);
  if (size < 0) return false;
  target[size] = '\0';
  return strstr(target, part) != nullptr;
}

bool IsAbout(const Rule& rule, const Subject& subject) {
  return (rule.program[0] == '\0' || strcmp(rule.program, program_invocation_short_name) == 0) &&
         subject.size_bytes >= rule.least_bytes && NameHolds(subject, rule.path);
}

bool IsDue(Rule& rule) {
  const uint64_t number = rule.seen.fetch_add(1);
  if (number < rule.after || (number - rule.after) % rule.every != 0) return false;
  return (number - rule.after) / rule.every < rule.times;
}

}  // namespace

Table* SharedTable() { return table; }

std::optional<Failure> FailureOf(Call call, const Subject& subject) {
  if (table == nullptr) return std::nullopt;
  for (Rule& rule : table->rules) {
    if (rule.call.load(std::memory_order_acquire) != call) continue;
    const int error = errno;
    const bool fails = IsAbout(rule, subject) && IsDue(rule);
    errno = error;
    if (!fails) continue;
    rule.hits.fetch_add(1);
    return Failure{rule.error, rule.most_bytes};
  }
  return std::nullopt;
}

}  // namespace modeld::test::faults
