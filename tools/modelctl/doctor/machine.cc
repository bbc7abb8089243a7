#include "modelctl/doctor/machine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "wire/text.h"
#include "wire/unique_fd.h"

namespace modeld::modelctl::doctor {
namespace {

constexpr size_t kMostBytes = 1 << 20;

}  // namespace

std::optional<std::string> Machine::Read(const std::string& path) const {
  const wire::UniqueFd fd(::open((prefix_ + path).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return std::nullopt;
  std::string text;
  std::array<char, 16384> part;
  while (text.size() < kMostBytes) {
    const ssize_t count = ::read(fd.get(), part.data(), part.size());
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    text.append(part.data(), static_cast<size_t>(count));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::optional<FileFacts> Machine::Look(const std::string& path) const {
  struct stat status;
  if (::stat((prefix_ + path).c_str(), &status) != 0) return std::nullopt;
  return FileFacts{status.st_mode, status.st_uid, status.st_gid};
}

std::vector<std::string> Machine::List(const std::string& path) const {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(prefix_ + path, ignored)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

std::optional<std::string> Machine::Link(const std::string& path) const {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(prefix_ + path, error);
  if (error) return std::nullopt;
  return target.string();
}

std::optional<std::string> Machine::Field(const std::string& path, std::string_view name) const {
  const auto text = Read(path);
  if (!text) return std::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, wire::ToAbsl(name)) || !absl::ConsumePrefix(&line, ":")) {
      continue;
    }
    return std::string(absl::StripAsciiWhitespace(line));
  }
  return std::nullopt;
}

std::optional<uint64_t> Machine::Number(const std::string& path, std::string_view name) const {
  const auto field = Field(path, name);
  uint64_t number = 0;
  if (!field || !absl::SimpleAtoi(field->substr(0, field->find_first_of(" \t")), &number)) {
    return std::nullopt;
  }
  return number;
}

bool Machine::Permits(const FileFacts& file, unsigned bits) const {
  constexpr char kStatus[] = "/proc/self/status";
  // The second of each four: the effective one.
  const auto effective = [&](std::string_view name) -> std::optional<uint64_t> {
    const auto field = Field(kStatus, name);
    if (!field) return std::nullopt;
    const std::vector<std::string> ids =
        absl::StrSplit(*field, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint64_t id = 0;
    if (ids.size() < 2 || !absl::SimpleAtoi(ids[1], &id)) return std::nullopt;
    return id;
  };
  const auto uid = effective("Uid");
  if (uid == 0u) return true;
  if (uid == file.uid) return ((file.mode >> 6) & bits) == bits;
  std::set<uint64_t> groups;
  if (const auto gid = effective("Gid")) groups.insert(*gid);
  for (const absl::string_view word :
       absl::StrSplit(Field(kStatus, "Groups").value_or(""), ' ', absl::SkipEmpty())) {
    uint64_t id = 0;
    if (absl::SimpleAtoi(word, &id)) groups.insert(id);
  }
  if (groups.contains(file.gid)) return ((file.mode >> 3) & bits) == bits;
  return (file.mode & bits) == bits;
}

}  // namespace modeld::modelctl::doctor
