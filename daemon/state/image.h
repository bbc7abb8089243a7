// What a journal comes to: the lines that a fresh one would have.

#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>

#include "residency/event_log.h"
#include "state/record.h"

namespace modeld::state {

// A record, and the line that says it.
struct Entry {
  explicit Entry(Record record);
  // REQUIRES: `line` is of `record`.
  Entry(Record record, std::string line) : record(std::move(record)), line(std::move(line)) {}

  Record record;
  std::string line;
};

// The aliases and pins that there are, and the last events: kMaxEvents of them, and no more than
// take kMaxEventBytes. Externally synchronised.
class Image {
 public:
  static constexpr size_t kMaxEvents = residency::EventLog::kHistory;
  static constexpr size_t kMaxEventBytes = 64 << 20;

  Image();

  void Apply(const Entry& entry);

  // Of Text().
  size_t size_bytes() const { return size_bytes_; }
  // A header, then everything else.
  std::string Text() const;

 private:
  template <typename Map>
  void Set(Map& lines, const typename Map::key_type& key, const std::string& line);
  template <typename Map>
  void Remove(Map& lines, const typename Map::key_type& key);
  void AddEvent(const std::string& line);

  std::string header_;
  std::map<std::string, std::string> aliases_;  // by name
  std::map<residency::Key, std::string> pins_;
  std::deque<std::string> events_;
  size_t event_bytes_ = 0;
  size_t size_bytes_ = 0;
};

}  // namespace modeld::state
