#include "fake_cudart/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <sstream>

#include "fake_cudart/config.h"
#include "fake_cudart/errors.h"
#include "fake_cudart/mutex.h"
#include "fake_cudart/process_info.h"

namespace fake_cudart {
namespace {

constexpr size_t kCommLength = 15;  // the kernel cuts a comm to this

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size_bytes = -1;
  timespec modified = {};

  bool operator==(const FileIdentity& other) const {
    return device == other.device && inode == other.inode && size_bytes == other.size_bytes &&
           modified.tv_sec == other.modified.tv_sec && modified.tv_nsec == other.modified.tv_nsec;
  }
};

FileIdentity Identify(const std::string& path) {
  struct stat info = {};
  if (path.empty() || stat(path.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino, info.st_size, info.st_mtim};
}

class FaultFile {
 public:
  std::shared_ptr<const FaultSet> Current() {
    const std::string& path = GetConfig().faults_path;
    const FileIdentity now = Identify(path);
    MutexLock lock(mutex_);
    if (!(now == identity_)) {
      // Identified before it is read: a change in between is seen by the next call.
      identity_ = now;
      set_ = std::make_shared<FaultSet>(now.size_bytes < 0 ? std::string() : ReadProcFile(path),
                                        ++version_);
    }
    return set_;
  }

 private:
  Mutex mutex_;
  FileIdentity identity_ MODELD_GUARDED_BY(mutex_);
  uint64_t version_ MODELD_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const FaultSet> set_ MODELD_GUARDED_BY(mutex_) =
      std::make_shared<FaultSet>(std::string(), 0);
};

// Takes the qualifiers off the words; false when they name another process.
bool ConcernsThisProcess(std::vector<std::string>& words) {
  const Config& config = GetConfig();
  bool concerns = true;
  const auto is_qualifier = [&](const std::string& word) {
    if (word.compare(0, 4, "pid=") == 0) {
      concerns = concerns && word.substr(4) == std::to_string(config.pid);
      return true;
    }
    if (word.compare(0, 8, "program=") == 0) {
      concerns = concerns && word.substr(8, kCommLength) == config.program;
      return true;
    }
    return false;
  };
  words.erase(std::remove_if(words.begin(), words.end(), is_qualifier), words.end());
  return concerns;
}

std::optional<uint64_t> ParseNumber(const std::string& text) {
  char* end = nullptr;
  const uint64_t number = strtoull(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0') return std::nullopt;
  return number;
}

}  // namespace

FaultSet::FaultSet(const std::string& text, uint64_t version) : version_(version) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    line.resize(std::min(line.find('#'), line.size()));
    if (!ParseLine(line)) {
      fprintf(stderr, "fake_cudart: FAKE_CUDA_FAULTS: cannot read '%s'; the line is ignored\n",
              line.c_str());
    }
  }
}

bool FaultSet::ParseLine(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.empty()) return true;
  const bool concerns = ConcernsThisProcess(words);
  const std::string verb = words.empty() ? std::string() : words[0];
  if (verb == "fail" && (words.size() == 3 || words.size() == 4)) {
    const std::optional<int> error = ParseError(words[2]);
    const auto count = words.size() == 4 ? ParseNumber(words[3]) : std::optional<uint64_t>(0);
    if (!error || !count) return false;
    auto failure = std::make_unique<Failure>();
    failure->function = words[1];
    failure->error = *error;
    failure->counted = words.size() == 4;
    failure->remaining = static_cast<int64_t>(*count);
    if (concerns) failures_.push_back(std::move(failure));
    return true;
  }
  if (verb == "sticky" && words.size() == 3) {
    const std::optional<int> error = ParseError(words[2]);
    if (!error) return false;
    if (concerns) sticky_.push_back({words[1], *error});
    return true;
  }
  if (verb == "gone" && words.size() == 2) {
    if (concerns) gone_.push_back(words[1]);
    return true;
  }
  if (verb == "copy_delay_us_per_mib" && words.size() == 2) {
    const std::optional<uint64_t> delay = ParseNumber(words[1]);
    if (!delay) return false;
    if (concerns) copy_delay_us_per_mib_ = *delay;
    return true;
  }
  return false;
}

bool FaultSet::IsGone(const std::string& device_name) const {
  return std::find(gone_.begin(), gone_.end(), device_name) != gone_.end();
}

std::optional<int> FaultSet::Sticky(const std::string& device_name) const {
  for (const Sticking& sticking : sticky_) {
    if (sticking.device_name == device_name) return sticking.error;
  }
  return std::nullopt;
}

std::optional<int> FaultSet::TakeFailure(const std::string& function) const {
  for (const auto& failure : failures_) {
    if (failure->function != function) continue;
    if (!failure->counted || failure->remaining.fetch_sub(1) > 0) return failure->error;
  }
  return std::nullopt;
}

std::shared_ptr<const FaultSet> CurrentFaults() {
  static FaultFile& file = *new FaultFile;
  return file.Current();
}

}  // namespace fake_cudart
