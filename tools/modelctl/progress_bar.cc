#include "modelctl/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "modelctl/terminal.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

// After this long, what was seen before counts for a third.
constexpr double kMemorySeconds = 3.0;
constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr size_t kBarWidth = 30;
constexpr size_t kMaxLabelWidth = 40;

}  // namespace

void RateMeter::Add(TimePoint now, uint64_t bytes) {
  if (!started_ || bytes < last_bytes_) {
    started_ = true;
    rate_.reset();
    last_time_ = now;
    last_bytes_ = bytes;
    return;
  }
  const double seconds = std::chrono::duration<double>(now - last_time_).count();
  if (seconds <= 0) return;
  const double seen = static_cast<double>(bytes - last_bytes_) / seconds;
  const double keep = rate_ ? std::exp(-seconds / kMemorySeconds) : 0;
  rate_ = rate_.value_or(0) * keep + seen * (1 - keep);
  last_time_ = now;
  last_bytes_ = bytes;
}

std::optional<std::chrono::seconds> RateMeter::TimeLeft(uint64_t done, uint64_t total) const {
  if (!rate_ || *rate_ <= 0) return std::nullopt;
  const double seconds = std::ceil(static_cast<double>(total - done) / *rate_);
  if (seconds > 1e9) return std::nullopt;
  return std::chrono::seconds(static_cast<int64_t>(seconds));
}

std::string Bar(uint64_t done, uint64_t total, size_t bar_width) {
  done = std::min(done, total);
  const double part = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  size_t filled = static_cast<size_t>(part * static_cast<double>(bar_width));
  int percent = static_cast<int>(part * 100);
  if (done < total) {  // rounding must not say that it is done
    percent = std::min(percent, 99);
    filled = std::min(filled, bar_width - 1);
  }
  return absl::StrFormat("[%s%s] %3d%%", std::string(filled, '#'),
                         std::string(bar_width - filled, '-'), percent);
}

std::string ClockText(std::chrono::seconds time) {
  const int64_t s = std::max<int64_t>(0, time.count());
  if (s < 3600) return absl::StrFormat("%d:%02d", s / 60, s % 60);
  return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
}

std::string ProgressLine(const std::string& label, uint64_t done, uint64_t total,
                         const RateMeter& rate, size_t width) {
  done = std::min(done, total);
  const std::string bytes = absl::StrCat("  ", HumanBytes(done), " of ", HumanBytes(total));
  const std::string speed =
      rate.bytes_per_second()
          ? absl::StrCat("  ", HumanBytes(static_cast<uint64_t>(*rate.bytes_per_second())), "/s")
          : "";
  const auto left = rate.TimeLeft(done, total);
  const std::string eta = left ? absl::StrCat("  ETA ", ClockText(*left)) : "";

  std::string line = absl::StrCat(TruncateMiddle(Printable(label), kMaxLabelWidth), "  ");
  if (DisplayWidth(line) + kBarWidth + 7 > width) line.clear();
  line += Bar(done, total, kBarWidth);
  for (const std::string& part : {bytes, speed, eta}) {
    if (DisplayWidth(line) + DisplayWidth(part) > width) break;
    line += part;
  }
  return TruncateMiddle(line, width);
}

std::string WordsLine(const std::string& label, const std::string& words, size_t width) {
  const std::string line =
      absl::StrCat(TruncateMiddle(Printable(label), kMaxLabelWidth), "  ", words);
  return DisplayWidth(line) <= width ? line : TruncateMiddle(words, width);
}

ProgressDisplay::ProgressDisplay(std::string label)
    : label_(std::move(label)), enabled_(LookAt(STDERR_FILENO).is_terminal) {}

void ProgressDisplay::ShowBytes(uint64_t done, uint64_t total) {
  if (!enabled_) return;
  rate_.Add(std::chrono::steady_clock::now(), done);
  if (!MayDraw(done >= total)) return;
  // The last column stays free: some terminals wrap when it is written.
  Draw(ProgressLine(label_, done, total, rate_, LookAt(STDERR_FILENO).width - 1));
}

void ProgressDisplay::ShowText(const std::string& text) {
  if (!enabled_ || !MayDraw(text != shown_text_)) return;
  shown_text_ = text;
  Draw(WordsLine(label_, text, LookAt(STDERR_FILENO).width - 1));
}

void ProgressDisplay::Clear() {
  if (!drawn_) return;
  drawn_ = false;
  // A terminal that does not take words on stderr any more is not an error of the verb.
  WriteAll(STDERR_FILENO, "\r\033[K", "stderr").IgnoreError();
}

bool ProgressDisplay::MayDraw(bool important) {
  return important || !drawn_ || std::chrono::steady_clock::now() - drawn_time_ >= kRedrawInterval;
}

void ProgressDisplay::Draw(const std::string& line) {
  drawn_ = true;
  drawn_time_ = std::chrono::steady_clock::now();
  WriteAll(STDERR_FILENO, absl::StrCat("\r", line, "\033[K"), "stderr").IgnoreError();
}

}  // namespace modeld::modelctl
