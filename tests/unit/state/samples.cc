#include "samples.h"

#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <iterator>

#include "state/record.h"

namespace modeld::state {

base::WallTime At(int64_t nanos) { return base::WallTime(std::chrono::nanoseconds(nanos)); }

residency::Alias FullAlias(std::string_view name) {
  using std::string_literals::operator""s;
  residency::Alias alias;
  alias.name = name;
  alias.spec.reference = "/m\xE9t\xE9o/100%/\"a\\b\"\n"s + '\0';
  alias.spec.device = "GPU-1";
  alias.spec.instance = "\xFF\xFE";
  alias.spec.private_copy = true;
  alias.spec.keep_host = true;
  alias.spec.config.cast = wire::DType::kBF16;
  alias.spec.config.include = {"*.weight", "", "\x80*"};
  alias.spec.config.exclude = {"\u00E9%25"};
  alias.spec.config.key_prefix = "model.";
  alias.spec.expected_digest = "sha256:00";
  alias.keep_alive = base::Duration(-1);
  alias.content_key = "3:/\xC3(:1:2\n"s + '\0' + "\n";
  alias.digest = "sha256:01";
  alias.set_time = At(1'700'000'000'123'456'789);
  return alias;
}

residency::Event FullEvent(uint64_t sequence) {
  residency::Event event;
  event.sequence = sequence;
  event.time = At(1'700'000'001'987'654'321);
  event.type = residency::EventType::kLeaseEnded;
  event.residency_id = "r1";
  event.reference = "caf\xE9";
  event.device = "host";
  event.lease_id = UINT64_MAX;
  event.pid = 4711;
  event.scope = "world/stage";
  event.bytes = UINT64_MAX - 1;
  event.reason = "DEVICE_LOST";
  event.cause = "died";
  event.message = "it \u2620\n%";
  return event;
}

residency::Key FullKey(std::string_view content) { return {std::string(content), "GPU-1", "\xFF"}; }

residency::SetAlias SetAliasAt(std::string_view name, int64_t nanos, size_t extra_bytes) {
  residency::Alias alias;
  alias.name = name;
  alias.content_key.assign(extra_bytes, 'x');
  alias.set_time = At(nanos);
  return {std::move(alias)};
}

residency::Event PlainEvent(uint64_t sequence) {
  residency::Event event;
  event.sequence = sequence;
  return event;
}

std::vector<std::string> TextOf(const residency::DurableState& state) {
  std::vector<std::string> text;
  for (const auto& [name, alias] : state.aliases) {
    EXPECT_EQ(name, alias.name);
    text.push_back(EncodeRecord(residency::SetAlias{alias}));
  }
  for (const auto& [key, reference] : state.pins) {
    text.push_back(EncodeRecord(residency::SetPin{key, reference}));
  }
  for (const residency::Event& event : state.events) text.push_back(EncodeRecord(event));
  return text;
}

std::unique_ptr<StateFile> OpenOrFail(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<StateFile>> file = StateFile::Open(directory);
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) std::abort();
  return *std::move(file);
}

std::vector<std::string> StateIn(const std::string& directory) {
  return TextOf(OpenOrFail(directory)->loaded());
}

absl::Status SaveAndWait(StateFile& file, residency::StateChange change) {
  std::promise<absl::Status> done;
  file.Save(std::move(change), [&](absl::Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace modeld::state
