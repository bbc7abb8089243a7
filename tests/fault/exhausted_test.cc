// Descriptors and disks that are full: whoever comes too late is told, nobody else notices, and all
// is as before once there is room.

#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/bytes.h"
#include "support/checkpoint_writer.h"
#include "support/lease_holder.h"
#include "support/processes.h"
#include "under_faults.h"
#include "wire/error.h"

namespace modeld::test {
namespace {

using faults::Call;
using ::testing::HasSubstr;

// A process may open so many files more, for as long as this lives.
class FdLimit {
 public:
  FdLimit(pid_t pid, size_t more) : pid_(pid) {
    EXPECT_EQ(::prlimit(pid_, RLIMIT_NOFILE, nullptr, &before_), 0);
    rlimit low = before_;
    // The kernel limits the number that a descriptor may have, and gives the lowest that is free.
    for (low.rlim_cur = 0; more > 0; ++low.rlim_cur) {
      const auto path = "/proc/" + std::to_string(pid_) + "/fd/" + std::to_string(low.rlim_cur);
      if (!std::filesystem::is_symlink(path)) --more;
    }
    EXPECT_EQ(::prlimit(pid_, RLIMIT_NOFILE, &low, nullptr), 0);
  }
  ~FdLimit() { EXPECT_EQ(::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr), 0); }
  FdLimit(const FdLimit&) = delete;
  FdLimit& operator=(const FdLimit&) = delete;

 private:
  const pid_t pid_;
  rlimit before_ = {};
};

size_t CountOf(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class ExhaustedDescriptors : public UnderFaults {};

TEST_F(ExhaustedDescriptors, OfModeldAreRefusedToNewClientsAndLeftToThoseThatAreThere) {
  StartDaemon();
  std::vector<std::unique_ptr<LeaseHolder>> holders;
  absl::Status refused;
  {
    const FdLimit limit(daemon().pid(), 80);
    while (refused.ok() && holders.size() < 200) {
      auto holder = LeaseHolder::Connect(daemon().runtime_dir());
      refused = holder.status();
      if (!holder.ok()) break;
      refused = (*holder)->Acquire("held.safetensors").status();
      if (refused.ok()) holders.push_back(*std::move(holder));
    }
    EXPECT_GT(holders.size(), 2u);
    EXPECT_LT(holders.size(), 100u);

    // One that speaks as libmodeld does is told why, and not left to wait.
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(NewWorker().Ask("acquire held.safetensors"), "error LIMIT_REACHED");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_THAT(daemon().log(), HasSubstr("the few that are left are not for connections"));

    // Everybody else, the operator and the loads go on.
    ExpectHolderUnharmed();
    EXPECT_TRUE(holders.front()->rpc().List().ok());
    EXPECT_TRUE(RpcClient(daemon().socket("admin.sock")).ServerInfo().ok());
    EXPECT_TRUE(admin().Preload("m.safetensors").ok());
    EXPECT_TRUE(admin().Evict("m.safetensors").ok());
    EXPECT_TRUE(Host().available());
    EXPECT_EQ(daemon().log().find("is away"), std::string::npos);

    // Who leaves makes room.
    holders.clear();
    EXPECT_TRUE(
        Eventually([&] { return NewWorker().Ask("acquire held.safetensors").starts_with("ok "); }));
  }
  LoadAndEvict();
  ExpectNothingLeft();
}

TEST_F(ExhaustedDescriptors, OfModeldFailOneLoadAndNotTheAgent) {
  StartDaemon();
  {
    const FdLimit limit(daemon().pid(), 1);
    const absl::Status failed = FailedLoad();
    EXPECT_EQ(wire::GetReason(failed), wire::Reason::kLimitReached) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("m.safetensors"));
    ExpectHolderUnharmed();
    EXPECT_TRUE(Host().available());
  }
  LoadAndEvict();
  ExpectNothingLeft();
}

// A request whose descriptors do not arrive whole ends the connection, since nobody can tell what
// they were: modeld comes again.
TEST_F(ExhaustedDescriptors, OfTheAgentFailTheLoadsInFlightAndNothingThatIsResident) {
  StartDaemon();
  const pid_t agent = daemon().agent_pid();
  {
    const FdLimit limit(agent, 1);
    const absl::Status failed = FailedLoad();
    EXPECT_EQ(wire::GetReason(failed), wire::Reason::kDeviceUnavailable) << failed;
    ExpectHolderUnharmed();
  }
  // modeld came again while it was as bad as before, and may find out only now.
  ASSERT_TRUE(Eventually([&] { return admin().Preload("m.safetensors").ok(); }));
  EXPECT_EQ(daemon().agent_pid(), agent);
  LoadAndEvict();
  ExpectNothingLeft();
}

TEST_F(ExhaustedDescriptors, OfTheAgentThatAreShortForASegmentFailItsLoadOnly) {
  StartDaemon();
  const pid_t agent = daemon().agent_pid();
  {
    // The file and the table arrive.
    const FdLimit limit(agent, 2);
    const absl::Status failed = FailedLoad();
    EXPECT_EQ(wire::GetReason(failed), wire::Reason::kLimitReached) << failed;
    EXPECT_TRUE(Host().available());
    ExpectHolderUnharmed();
  }
  EXPECT_EQ(daemon().agent_pid(), agent);
  LoadAndEvict();
  ExpectNothingLeft();
}

// A state directory of its own that is full after a few files, or whose writes are refused.
class FullDisk : public UnderFaults {
 protected:
  void TearDown() override {
    if (mounted_) {
      EXPECT_EQ(::umount2(directory().c_str(), MNT_DETACH), 0);
    }
  }

  std::string directory() const { return directory_ / "s"; }
  bool Mount() {
    directory_.Mkdir("s");
    mounted_ = ::mount("modeld-test", directory().c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
                       "size=64k,mode=0700") == 0;
    return mounted_;
  }
  void Start() {
    directory_.Mkdir("s");
    StartDaemon({.args = {"--state-dir", directory()}});
    // Digests are kept only of files that have not been written to for a while.
    faults().ShiftWallClock(std::chrono::hours(1));
  }
  void LoadAndDigest() {
    ASSERT_TRUE(admin().Preload("m.safetensors").ok());
    ASSERT_TRUE(Eventually([&] { return DigestsAreKnown(); }));
    ASSERT_TRUE(admin().Evict("m.safetensors").ok());
  }
  size_t KeptDigests() const {
    std::error_code error;
    const std::filesystem::directory_iterator files(directory() + "/digests", error);
    return error ? 0 : static_cast<size_t>(std::distance(files, {}));
  }
  // While the disk is full, and afterwards.
  void ExpectOneWarningAndGoOn(const std::function<void()>& make_room) {
    const size_t before = KeptDigests();
    for (int i = 0; i < 3; ++i) LoadAndDigest();
    ASSERT_TRUE(Eventually([&] { return CountOf(daemon().log(), "cannot be kept") > 0; }));
    EXPECT_EQ(CountOf(daemon().log(), "cannot be kept"), 1u);
    EXPECT_THAT(daemon().log(), HasSubstr("No space left on device"));
    EXPECT_EQ(KeptDigests(), before);
    make_room();
    LoadAndDigest();
    EXPECT_TRUE(Eventually([&] { return KeptDigests() == before + 1; }));
    // The file is there before the words.
    EXPECT_TRUE(Eventually([&] { return CountOf(daemon().log(), "digests are kept again") > 0; }));
    EXPECT_EQ(CountOf(daemon().log(), "digests are kept again"), 1u);
    faults().ShiftWallClock({});
    ExpectNothingLeft();
  }

 private:
  TempDir directory_;
  bool mounted_ = false;
};

TEST_F(FullDisk, UnderTheStateDirectoryCostsADigestAndOneWarning) {
  if (!Mount()) GTEST_SKIP() << "takes root, to mount a small disk: " << ::strerror(errno);
  Start();
  const std::string filler = directory() + "/filler";
  {
    const wire::UniqueFd file(::open(filler.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string page(4096, 'x');
    while (::write(file.get(), page.data(), page.size()) > 0) {
    }
    ASSERT_EQ(errno, ENOSPC);
  }
  ExpectOneWarningAndGoOn([&] { std::filesystem::remove(filler); });
}

TEST_F(FullDisk, ThatRefusesOnlyToWriteCostsADigestAndOneWarningToo) {
  Start();
  faults().Inject(
      {.call = Call::kWrite, .error = ENOSPC, .program = kDaemon, .path = "/s/digests/"});
  ExpectOneWarningAndGoOn([&] {
    EXPECT_GT(faults().hits(), 0u);
    faults().Clear();
    faults().ShiftWallClock(std::chrono::hours(1));
  });
}

}  // namespace
}  // namespace modeld::test
