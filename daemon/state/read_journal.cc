#include "state/read_journal.h"

#include <errno.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "state/line.h"

namespace modeld::state {
namespace {

constexpr size_t kReadBytes = 1 << 18;

// Puts chunks of a file together to lines, and lines to what they come to.
class Collector {
 public:
  void Take(std::string_view chunk) {
    contents_.read_bytes += chunk.size();
    while (!chunk.empty()) {
      const size_t end = chunk.find('\n');
      Extend(chunk.substr(0, end));
      if (end == std::string_view::npos) return;
      if (too_long_ || !AddLine(line_)) ++contents_.damaged_lines;
      StartLine();
      chunk.remove_prefix(end + 1);
    }
  }

  JournalContents Finish(bool too_large) && {
    contents_.too_large = too_large;
    if (!too_large) TakeTail();
    if (contents_.newer_version) {
      contents_.state = {};
      contents_.image = Image();
    }
    TrimEvents(Image::kMaxEvents);
    return std::move(contents_);
  }

 private:
  void Extend(std::string_view more) {
    if (line_.size() + more.size() >= kMaxLineBytes) too_long_ = true;
    if (!too_long_) line_ += more;
  }

  void StartLine() {
    line_.clear();
    too_long_ = false;
  }

  void TakeTail() {
    if (line_.empty() && !too_long_) return;
    contents_.torn_tail = true;
    // All of it but the line feed may be there, and that may be another byte.
    if (too_long_ || AddLine(line_)) return;
    line_.pop_back();
    AddSound(line_);
  }

  // Is there nothing else in it than what is sound?
  bool AddLine(std::string_view line) {
    if (AddSound(line)) return true;
    const std::vector<std::string_view> parts = SplitJoined(line);
    if (parts.size() > 1) {
      for (const std::string_view part : parts) AddSound(part);
    }
    return false;
  }

  bool AddSound(std::string_view line) {
    const std::optional<std::string_view> text = TextOf(line);
    if (!text) return false;
    std::optional<Record> record = DecodeRecord(*text);
    if (!record) return false;
    if (const auto* const header = std::get_if<Header>(&*record)) {
      contents_.has_header = true;
      if (header->version > kFormatVersion) contents_.newer_version = header->version;
      return true;
    }
    Entry entry(*std::move(record), std::string(line) + "\n");
    contents_.image.Apply(entry);
    std::visit([this](auto& known) { Apply(std::move(known)); }, entry.record);
    return true;
  }

  void Apply(Header) {}
  void Apply(residency::SetAlias set) {
    std::string name = set.alias.name;
    contents_.state.aliases.insert_or_assign(std::move(name), std::move(set.alias));
  }
  void Apply(const residency::RemoveAlias& removed) { contents_.state.aliases.erase(removed.name); }
  void Apply(residency::SetPin set) {
    contents_.state.pins.insert_or_assign(std::move(set.key), std::move(set.reference));
  }
  void Apply(const residency::RemovePin& removed) { contents_.state.pins.erase(removed.key); }
  void Apply(residency::Event event) {
    contents_.state.events.push_back(std::move(event));
    if (contents_.state.events.size() >= 2 * Image::kMaxEvents) TrimEvents(Image::kMaxEvents);
  }

  void TrimEvents(size_t limit) {
    std::vector<residency::Event>& events = contents_.state.events;
    if (events.size() <= limit) return;
    events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(limit));
  }

  JournalContents contents_;
  std::string line_;  // what there is of it yet
  bool too_long_ = false;
};

}  // namespace

absl::StatusOr<JournalContents> ReadJournal(int fd) {
  Collector collector;
  std::vector<char> buffer(kReadBytes);
  uint64_t offset = 0;
  while (offset < kMaxFileBytes) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, "read");
    if (count == 0) return std::move(collector).Finish(/*too_large=*/false);
    collector.Take({buffer.data(), static_cast<size_t>(count)});
    offset += static_cast<uint64_t>(count);
  }
  return std::move(collector).Finish(/*too_large=*/true);
}

}  // namespace modeld::state
