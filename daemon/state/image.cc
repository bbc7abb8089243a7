#include "state/image.h"

#include <utility>

#include "state/line.h"

namespace modeld::state {
namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace

Entry::Entry(Record of) : record(std::move(of)), line(MakeLine(EncodeRecord(record))) {}

Image::Image() : header_(Entry(Header{}).line), size_bytes_(header_.size()) {}

void Image::Apply(const Entry& entry) {
  const std::string& line = entry.line;
  std::visit(Overloaded{
                 [](const Header&) {},
                 [&](const residency::SetAlias& set) { Set(aliases_, set.alias.name, line); },
                 [&](const residency::RemoveAlias& removed) { Remove(aliases_, removed.name); },
                 [&](const residency::SetPin& set) { Set(pins_, set.key, line); },
                 [&](const residency::RemovePin& removed) { Remove(pins_, removed.key); },
                 [&](const residency::Event&) { AddEvent(line); },
             },
             entry.record);
}

template <typename Map>
void Image::Set(Map& lines, const typename Map::key_type& key, const std::string& line) {
  std::string& place = lines[key];
  size_bytes_ += line.size() - place.size();
  place = line;
}

template <typename Map>
void Image::Remove(Map& lines, const typename Map::key_type& key) {
  const auto found = lines.find(key);
  if (found == lines.end()) return;
  size_bytes_ -= found->second.size();
  lines.erase(found);
}

void Image::AddEvent(const std::string& line) {
  events_.push_back(line);
  event_bytes_ += line.size();
  size_bytes_ += line.size();
  while (events_.size() > kMaxEvents || event_bytes_ > kMaxEventBytes) {
    event_bytes_ -= events_.front().size();
    size_bytes_ -= events_.front().size();
    events_.pop_front();
  }
}

std::string Image::Text() const {
  std::string text;
  text.reserve(size_bytes_);
  text += header_;
  for (const auto& [name, line] : aliases_) text += line;
  for (const auto& [key, line] : pins_) text += line;
  for (const std::string& line : events_) text += line;
  return text;
}

}  // namespace modeld::state
