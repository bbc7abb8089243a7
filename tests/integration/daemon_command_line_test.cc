// The program from outside: what it prints and how it exits, before it serves.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/daemon_fixture.h"
#include "support/temp_dir.h"

namespace modeld::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(CommandLine, PrintsHelpAndVersionOnStdout) {
  const RunResult help = RunModeld({"--help"});
  EXPECT_TRUE(help.exit.ok());
  EXPECT_THAT(help.out, HasSubstr("--runtime-dir"));
  EXPECT_EQ(help.err, "");
  const RunResult version = RunModeld({"--version"});
  EXPECT_TRUE(version.exit.ok());
  EXPECT_THAT(version.out, StartsWith("modeld "));
}

TEST(CommandLine, ExitsWithTwoForWrongFlags) {
  const RunResult run = RunModeld({"--no-such-flag"});
  EXPECT_EQ(run.exit.value, 2);
  EXPECT_EQ(run.out, "");
  EXPECT_THAT(run.err, HasSubstr("--no-such-flag"));
}

TEST(CommandLine, ChecksTheConfiguration) {
  const TempDir dir;
  const std::string good = dir.Write("good.toml", "roots = [\"" + dir.path() + "\"]\n");
  const RunResult ok = RunModeld({"--config", good, "--runtime-dir", dir / "r", "--check-config"});
  EXPECT_TRUE(ok.exit.ok());
  EXPECT_THAT(ok.err, HasSubstr("valid"));
  EXPECT_NE(::access((dir / "r").c_str(), F_OK), 0) << "a check makes nothing";

  const std::string bad = dir.Write("bad.toml", "\nrots = []\n");
  const RunResult wrong =
      RunModeld({"--config", bad, "--runtime-dir", dir / "r", "--check-config"});
  EXPECT_EQ(wrong.exit.value, 2);
  EXPECT_THAT(wrong.err, HasSubstr(bad + ":2:1: `rots` is no setting; did you mean `roots`?"));

  const RunResult group =
      RunModeld({"--config", dir.Write("g.toml", "socket_group = \"no-such-group\""),
                 "--runtime-dir", dir / "r", "--check-config"});
  EXPECT_EQ(group.exit.value, 2);
  EXPECT_THAT(group.err, HasSubstr("no-such-group"));
}

TEST(CommandLine, DumpsWhatIsInForceAndWhy) {
  const TempDir dir;
  const std::string file = dir.Write("m.toml", "stop_timeout = \"7s\"\n");
  const RunResult run = RunModeld({"--config", file, "--runtime-dir", dir / "r", "--dump-config"},
                                  {"MODELD_HOST_CAPACITY=2GiB"});
  EXPECT_TRUE(run.exit.ok());
  EXPECT_THAT(run.out, HasSubstr("runtime_dir = \"" + (dir / "r") + "\"  # --runtime-dir"));
  EXPECT_THAT(run.out, HasSubstr("stop_timeout = \"7s\"  # " + file + ":1"));
  EXPECT_THAT(run.out,
              HasSubstr("host_capacity = \"2GiB\"  # MODELD_HOST_CAPACITY: 2147483648 bytes"));
}

TEST(CommandLine, RefusesRuntimeDirectoriesThatCannotBe) {
  const TempDir dir;
  const auto refusal = [&](const std::string& path) {
    const RunResult run = RunModeld({"--config", "/dev/null", "--runtime-dir", path});
    EXPECT_FALSE(run.exit.signaled);
    EXPECT_EQ(run.exit.value, 1);
    return run.err;
  };
  EXPECT_THAT(refusal(dir / std::string(120, 'x')), HasSubstr("too long"));
  EXPECT_THAT(refusal(dir / "missing/r"), HasSubstr("--runtime-dir"));
  EXPECT_THAT(refusal(dir.Write("file", "")), HasSubstr("not a directory"));
  ASSERT_EQ(::chmod(dir.Mkdir("open").c_str(), 0777), 0);
  EXPECT_THAT(refusal(dir / "open"), HasSubstr("everybody may write"));
}

TEST(CommandLine, SaysWhichProgramItMisses) {
  const TempDir dir;
  const RunResult run = RunModeld({"--config", "/dev/null", "--runtime-dir", dir / "r"},
                                  {"MODELD_LIBEXEC_DIR=" + dir.Mkdir("empty")});
  EXPECT_EQ(run.exit.value, 1);
  EXPECT_THAT(run.err, HasSubstr("modeld-agent-host"));
  EXPECT_THAT(run.err, HasSubstr("MODELD_LIBEXEC_DIR"));
}

}  // namespace
}  // namespace modeld::test
