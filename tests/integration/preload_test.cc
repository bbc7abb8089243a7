// What the manifest of modeld.toml makes resident.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"

namespace modeld::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Entry(const std::string& reference, const std::string& more = "") {
  return "[[preload]]\nreference = \"" + reference + "\"\n" + more;
}

size_t Count(const std::string& text, const std::string& words) {
  size_t count = 0;
  for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1))
    ++count;
  return count;
}

class PreloadTest : public ::testing::Test {
 protected:
  PreloadTest() {
    WriteCheckpoint(models_ / "a.safetensors", SmallSpec(1));
    WriteCheckpoint(models_ / "b.safetensors", SmallSpec(2));
    models_.Write("broken.safetensors", "this is no checkpoint");
  }

  DaemonOptions With(const std::string& config) const {
    return {.roots = {models_.path()}, .config = config};
  }

  static bool IsDone(const DaemonFixture& daemon, size_t times = 1) {
    return Eventually(
        [&] { return Count(daemon.log(), "msg=\"the preloads are done\"") == times; });
  }

  static std::vector<std::string> Notes(const DaemonFixture& daemon) {
    const auto info = RpcClient(daemon.socket()).ServerInfo();
    EXPECT_TRUE(info.ok()) << info.status();
    if (!info.ok()) return {};
    return {info->degraded().begin(), info->degraded().end()};
  }

  // References, in order, of the events of a type.
  static std::vector<std::string> Told(const DaemonFixture& daemon, v1::Event::Type type) {
    std::vector<std::string> references;
    const auto events = RpcClient(daemon.socket()).Events(1000);
    EXPECT_TRUE(events.ok()) << events.status();
    for (const v1::Event& event : events.value_or(std::vector<v1::Event>())) {
      if (event.type() == type) references.push_back(event.reference());
    }
    return references;
  }

  TempDir models_;
};

TEST_F(PreloadTest, LoadsOneAfterAnotherAndGoesOnAfterABrokenOne) {
  DaemonFixture daemon(With(
      Entry("b.safetensors", "pin = true\n") + Entry("broken.safetensors", "pin = true\n") +
      Entry("missing.safetensors") + Entry("a.safetensors", "pin = true\nkeep_alive = \"0s\"\n")));
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon));
  EXPECT_TRUE(RpcClient(daemon.socket()).IsServing());
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 2u);
  for (const v1::Residency& residency : *list) {
    EXPECT_EQ(residency.state(), v1::Residency::READY);
    EXPECT_TRUE(residency.pinned());
  }
  EXPECT_THAT(Told(daemon, v1::Event::RESIDENCY_READY),
              ElementsAre("b.safetensors", "a.safetensors"));
  EXPECT_THAT(Notes(daemon), ElementsAre(HasSubstr("preload of broken.safetensors failed: "),
                                         HasSubstr("preload of missing.safetensors failed: ")));
  // One line for each failure.
  const std::string log = daemon.log();
  EXPECT_EQ(Count(log, "level=error msg=\"a preload failed\" reference=broken.safetensors"), 1u);
  EXPECT_EQ(Count(log, "level=error msg=\"a preload failed\" reference=missing.safetensors"), 1u);
  EXPECT_EQ(Count(log, "level=error"), 2u);
  EXPECT_EQ(Count(log, "level=warn"), 0u);
}

TEST_F(PreloadTest, LoadsNothingAnewAfterACrash) {
  DaemonFixture daemon(With(Entry("a.safetensors", "pin = true\nalias = \"first\"\n") +
                            Entry("b.safetensors", "pin = true\n")));
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon));
  const auto before = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_EQ(before->size(), 2u);

  daemon.Kill(SIGKILL);
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon, 2));
  const auto after = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(after.ok()) << after.status();
  ASSERT_EQ(after->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*after)[i].id(), (*before)[i].id());
    EXPECT_TRUE((*after)[i].pinned());
  }
  EXPECT_EQ(Count(daemon.log(), "msg=\"load started\""), 2u);
  EXPECT_THAT(Notes(daemon), IsEmpty());
}

TEST_F(PreloadTest, GivesNamesButTakesNoneAway) {
  DaemonOptions options = With(Entry("a.safetensors", "alias = \"first\"\n"));
  options.keep_state = true;
  DaemonFixture daemon(options);
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon));
  EXPECT_THAT(Notes(daemon), IsEmpty());
  const auto list = RpcClient(daemon.socket()).List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_THAT(list->front().aliases(), ElementsAre("first"));

  v1::SetAliasRequest request;
  request.mutable_alias()->set_name("first");
  request.mutable_alias()->mutable_spec()->set_reference("b.safetensors");
  ASSERT_TRUE(RpcClient(daemon.socket("admin.sock")).SetAlias(request).ok());

  daemon.Kill(SIGKILL);
  daemon.Start();
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon, 2));
  EXPECT_THAT(Notes(daemon),
              ElementsAre(HasSubstr("alias first stays with another version, b.safetensors")));
  EXPECT_EQ(Count(daemon.log(), "level=warn msg=\"an alias stays where it is\" alias=first"), 1u);
}

TEST_F(PreloadTest, NeverDelaysReadinessNorAStop) {
  WriteCheckpoint(models_ / "large.safetensors", LargeSpec(uint64_t{256} << 20));
  DaemonFixture daemon(With(Entry("large.safetensors") + Entry("a.safetensors")));
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(Eventually([&] { return Count(daemon.log(), "msg=\"residency created\"") > 0; }));
  const auto exit = daemon.Stop();
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
  EXPECT_EQ(Count(daemon.log(), "level=error"), 0u) << "what is given up is no failure";
}

TEST_F(PreloadTest, SaysWhichGpuIsNotThere) {
  DaemonFixture daemon(With("gpus = \"none\"\n" + Entry("a.safetensors", "device = \"cuda:0\"\n")));
  ASSERT_TRUE(daemon.running());
  ASSERT_TRUE(IsDone(daemon));
  EXPECT_THAT(Notes(daemon), ElementsAre(HasSubstr("modeld has no cuda:0 and no other GPU")));
}

}  // namespace
}  // namespace modeld::test
