// Reads, memory and processes that the kernel refuses while a checkpoint is loaded: the load fails
// with the reason, and nothing else does.

#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <ostream>
#include <string>

#include "support/bytes.h"
#include "support/processes.h"
#include "under_faults.h"
#include "wire/error.h"
#include "wire/unique_fd.h"

namespace modeld::test {
namespace {

using faults::Call;
using ::testing::HasSubstr;

// The next read of the file has to wait for the disk.
void DropFromPageCache(const std::string& path) {
  const wire::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::fsync(file.get()), 0);
  ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
}

// With the file in the page cache, and without.
class ReadFaults : public UnderFaults, public testing::WithParamInterface<bool> {
 protected:
  void StartDaemon() {
    UnderFaults::StartDaemon();
    if (!GetParam()) DropFromPageCache(path());
  }
};

TEST_P(ReadFaults, FailTheLoadNamingFileAndByteAndTheNextOneWorks) {
  StartDaemon();
  faults().Inject({.call = Call::kPread,
                   .error = EIO,
                   .program = kHostAgent,
                   .path = "m.safetensors",
                   .after = 2});
  const absl::Status failed = FailedLoad();
  EXPECT_EQ(wire::GetReason(failed), wire::Reason::kReadFailed) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr(path() + " at byte "));
  EXPECT_THAT(std::string(failed.message()), HasSubstr("Input/output error"));
  EXPECT_EQ(wire::GetErrorInfo(failed).metadata["file"], path());
  EXPECT_GT(faults().hits(), 0u);
  EXPECT_EQ(Host().reserved_bytes(), 0u);
  ExpectHolderUnharmed();
  faults().Clear();
  LoadAndEvict();
  ExpectNothingLeft();
}

TEST_P(ReadFaults, ThatOnlyMakeReadsShortOrInterruptThemChangeNoByte) {
  StartDaemon();
  const std::string expected = LoadAndEvict();
  for (const uint64_t most_bytes : {uint64_t{100'001}, uint64_t{5000}, uint64_t{4096}}) {
    if (!GetParam()) DropFromPageCache(path());
    faults().Inject({.call = Call::kPread,
                     .error = EINTR,
                     .program = kHostAgent,
                     .path = "m.safetensors",
                     .every = 3});
    faults().Inject({.call = Call::kPread,
                     .most_bytes = most_bytes,
                     .program = kHostAgent,
                     .path = "m.safetensors"});
    EXPECT_EQ(LoadAndEvict(), expected) << "by " << most_bytes;
    EXPECT_GT(faults().hits(), 16 * kMiB / most_bytes);
    faults().Clear();
  }
  ExpectNothingLeft();
}

TEST_P(ReadFaults, OfLessThanAPageAreNotTakenForTheEndOfTheFile) {
  StartDaemon();
  const std::string expected = LoadAndEvict();
  if (!GetParam()) DropFromPageCache(path());
  faults().Inject({.call = Call::kPread,
                   .most_bytes = 1000,
                   .least_bytes = 8192,
                   .program = kHostAgent,
                   .path = "m.safetensors",
                   .every = 3});
  EXPECT_EQ(LoadAndEvict(), expected);
  EXPECT_GT(faults().hits(), 0u);
  faults().Clear();
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(Of, ReadFaults, testing::Bool(),
                         [](const auto& info) { return info.param ? "cached" : "uncached"; });

class ParserFaults : public UnderFaults {};

TEST_F(ParserFaults, ThatKeepItFromReadingFailItsLoadNamingTheFile) {
  StartDaemon();
  faults().Inject({.call = Call::kPread, .error = EIO, .program = kParser});
  const absl::Status failed = FailedLoad();
  EXPECT_EQ(wire::GetReason(failed), wire::Reason::kReadFailed) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr(path()));
  faults().Clear();
  LoadAndEvict();
  ExpectNothingLeft();
}

TEST_F(ParserFaults, ThatMakeItsReadsShortChangeNothing) {
  StartDaemon();
  const std::string expected = LoadAndEvict();
  faults().Inject({.call = Call::kPread, .most_bytes = 7, .program = kParser});
  EXPECT_EQ(LoadAndEvict(), expected);
  EXPECT_GT(faults().hits(), 0u);
  faults().Clear();
  ExpectNothingLeft();
}

// What keeps modeld from having a checkpoint read is no matter of the checkpoint, and no bug.
TEST_F(ParserFaults, ThatKeepItFromStartingFailItsLoadAndSayWhatIsShort) {
  StartDaemon();
  for (const Fault& fault :
       {Fault{.call = Call::kClone, .error = EAGAIN, .program = kDaemon},
        Fault{.call = Call::kClone, .error = ENOMEM, .program = kDaemon},
        Fault{.call = Call::kMemfdCreate, .error = EMFILE, .program = kDaemon}}) {
    faults().Inject(fault);
    const absl::Status failed = FailedLoad();
    EXPECT_EQ(wire::GetReason(failed), wire::Reason::kLimitReached) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr(path()));
    EXPECT_THAT(std::string(failed.message()), HasSubstr(wire::ErrnoText(fault.error)));
    EXPECT_THAT(wire::GetErrorInfo(failed).hint, HasSubstr("Limit"));
    EXPECT_EQ(faults().hits(), 1u);
    faults().Clear();
    LoadAndEvict();
  }
  ExpectNothingLeft();
}

struct MemoryFault {
  std::string name;
  Fault fault;
  wire::Reason reason;
};

void PrintTo(const MemoryFault& fault, std::ostream* out) { *out << fault.name; }

class MemoryFaults : public UnderFaults, public testing::WithParamInterface<MemoryFault> {};

TEST_P(MemoryFaults, GiveTheReservationBackAndSayWhatIsShort) {
  StartDaemon();
  Fault fault = GetParam().fault;
  fault.program = kHostAgent;
  faults().Inject(fault);
  const absl::Status failed = FailedLoad();
  EXPECT_EQ(wire::GetReason(failed), GetParam().reason) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr("host segment"));
  EXPECT_THAT(std::string(failed.message()), HasSubstr(wire::ErrnoText(fault.error)));
  EXPECT_FALSE(wire::GetErrorInfo(failed).hint.empty());
  EXPECT_GT(faults().hits(), 0u);
  EXPECT_EQ(Host().reserved_bytes(), 0u);
  ExpectHolderUnharmed();
  faults().Clear();
  LoadAndEvict();
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(
    Of, MemoryFaults,
    testing::Values(
        MemoryFault{
            "files", {.call = Call::kMemfdCreate, .error = ENOMEM}, wire::Reason::kBudgetExceeded},
        MemoryFault{"descriptors",
                    {.call = Call::kMemfdCreate, .error = EMFILE},
                    wire::Reason::kLimitReached},
        MemoryFault{"space",
                    {.call = Call::kFtruncate, .error = ENOSPC, .least_bytes = 8 * kMiB},
                    wire::Reason::kBudgetExceeded},
        MemoryFault{"addresses",
                    {.call = Call::kMmap, .error = ENOMEM, .least_bytes = 16 * kMiB},
                    wire::Reason::kBudgetExceeded},
        MemoryFault{"pages",
                    {.call = Call::kMadvise, .error = ENOMEM, .after = 1},
                    wire::Reason::kBudgetExceeded}),
    [](const auto& info) { return info.param.name; });

class AgentFaults : public UnderFaults {};

TEST_F(AgentFaults, ThatKeepANewOneFromStartingLastAsLongAsTheyDo) {
  StartDaemon();
  faults().Inject({.call = Call::kClone, .error = EAGAIN, .program = kDaemon});
  const pid_t old = daemon().KillAgent();
  ASSERT_TRUE(Eventually([&] { return faults().hits() >= 2; })) << "it is tried again";
  EXPECT_FALSE(Host().available());
  ExpectHolderUnharmed();
  faults().Clear();
  ASSERT_TRUE(Eventually([&] { return Host().available() && Host().agent_pid() != old; }));
  LoadAndEvict();
  ExpectNothingLeft();
}

}  // namespace
}  // namespace modeld::test
