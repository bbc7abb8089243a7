// How far something is that moves bytes, on one line of a terminal that is written again and again.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace modeld::modelctl {

// Bytes a second, from what was seen: smoothed over the last seconds. Externally synchronised; time
// is given.
class RateMeter {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `bytes` is the total so far. A smaller total than before starts anew.
  void Add(TimePoint now, uint64_t bytes);
  // Absent until two totals at different times are known.
  std::optional<double> bytes_per_second() const { return rate_; }
  // Absent where the rate is, or is 0. REQUIRES: done <= total
  std::optional<std::chrono::seconds> TimeLeft(uint64_t done, uint64_t total) const;

 private:
  bool started_ = false;
  TimePoint last_time_;
  uint64_t last_bytes_ = 0;
  std::optional<double> rate_;
};

// `[#####-----]  50%`; 100% only for done == total. A total of 0 is done.
std::string Bar(uint64_t done, uint64_t total, size_t bar_width);

// `0:08`, `12:34`, `1:02:03`
std::string ClockText(std::chrono::seconds time);

// One line, at most `width` columns: the label, the bar, bytes, rate and time left, of which those
// go first that do not fit.
std::string ProgressLine(const std::string& label, uint64_t done, uint64_t total,
                         const RateMeter& rate, size_t width);

// The same for words in place of a bar: where both do not fit the label goes, then the middle of
// the words.
std::string WordsLine(const std::string& label, const std::string& words, size_t width);

// Writes the lines to stderr if that is a terminal, at most ten a second, and takes the last one
// away when it is destroyed. Externally synchronised.
class ProgressDisplay {
 public:
  explicit ProgressDisplay(std::string label);
  ~ProgressDisplay() { Clear(); }
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void ShowBytes(uint64_t done, uint64_t total);
  // Words in place of a bar.
  void ShowText(const std::string& text);
  void Clear();

 private:
  bool MayDraw(bool important);
  void Draw(const std::string& line);

  const std::string label_;
  const bool enabled_;
  RateMeter rate_;
  std::string shown_text_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point drawn_time_;
};

}  // namespace modeld::modelctl
