// libmodeld-cuda itself, on a CUDA runtime whose GPUs are memfds (tests/fake_cudart), with a
// process beside it that exports.

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "device/plugin.h"
#include "exported_segment.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::device {
namespace {

using test::ExportedSegment;
using ::testing::ElementsAre;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

constexpr uint64_t kUnit = wire::kSegmentUnitBytes;

// The UUID of one of the GPUs that the test is run with: `UUID:SIZE,UUID:SIZE`.
std::string FakeGpu(size_t index) {
  const char* const devices = getenv("FAKE_CUDA_DEVICES");
  if (devices == nullptr) return "";
  std::istringstream list(devices);
  std::string device;
  for (size_t i = 0; i <= index; ++i) std::getline(list, device, ',');
  return device.substr(0, device.find(':'));
}

const std::string kGpuA = FakeGpu(0);
const std::string kGpuB = FakeGpu(1);

// What the fake writes down and what it shall do: files that the processes of one run share.
class Files {
 public:
  Files() {
    if (const char* folder = getenv("CUDA_PLUGIN_TEST_FOLDER")) {
      folder_ = folder;
      return;
    }
    own_.emplace();
    folder_ = own_->path();
    setenv("CUDA_PLUGIN_TEST_FOLDER", folder_.c_str(), 1);
    setenv("FAKE_CUDA_LOG", (folder_ + "/log").c_str(), 1);
    setenv("FAKE_CUDA_FAULTS", (folder_ + "/faults").c_str(), 1);
  }

  void Fail(const std::string& lines) const {
    std::ofstream(folder_ + "/next") << lines << "\n";
    rename((folder_ + "/next").c_str(), (folder_ + "/faults").c_str());
  }
  // The events of this process that begin so.
  int Count(const std::string& event) const {
    std::ifstream in(folder_ + "/log");
    int count = 0;
    for (std::string line; std::getline(in, line);) {
      count += line.starts_with(event) && line.ends_with("pid=" + std::to_string(getpid())) ? 1 : 0;
    }
    return count;
  }

 private:
  std::optional<test::TempDir> own_;
  std::string folder_;
};

const Files& TheFiles() {
  static const Files files;
  return files;
}

const Plugin& ThePlugin() {
  TheFiles();
  const auto plugin = Plugin::Load(std::vector<std::string>{PLUGIN_DIR});
  if (!plugin.ok()) {
    std::cerr << plugin.status() << "\n";
    std::abort();
  }
  return **plugin;
}

absl::StatusOr<DeviceMapping> Map(const ExportedSegment& segment, int ordinal,
                                  std::optional<int> peer = std::nullopt) {
  return ThePlugin().Map(segment.info(), segment.fds(), ordinal, peer);
}

std::string Read(const DeviceMapping& mapping, uint64_t size_bytes, int ordinal) {
  std::string bytes(size_bytes, '\0');
  const absl::Status copied = ThePlugin().CopyToHost(
      ordinal, mapping.data(), std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
  EXPECT_TRUE(copied.ok()) << copied;
  return bytes;
}

class CudaPlugin : public ::testing::Test {
 protected:
  CudaPlugin() { TheFiles().Fail(""); }
};

// For what is decided at the first call of CUDA: the statement runs in a new process.
class CudaPluginDeathTest : public CudaPlugin {
 protected:
  CudaPluginDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(CudaPlugin, ListsTheGpusOfThisProcess) {
  EXPECT_THAT(*ThePlugin().Uuids(), ElementsAre(kGpuA, kGpuB));
  EXPECT_EQ(*ThePlugin().OrdinalOf(kGpuB), 1);
  EXPECT_EQ(*ThePlugin().Resolve(*ParseDeviceName("cuda:1")), kGpuB);
}

TEST_F(CudaPlugin, MapsChunksOneAfterAnother) {
  // The last one is smaller.
  const ExportedSegment segment = ExportedSegment::Vmm(1, 5 * kUnit, 2 * kUnit);
  ASSERT_EQ(segment.fds().size(), 3u);
  const auto mapping = Map(segment, 1);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(Read(*mapping, 5 * kUnit, 1) == segment.bytes());
}

TEST_F(CudaPlugin, KeepsWhatItMappedWhenTheExporterIsKilledAndTheDescriptorsAreClosed) {
  ExportedSegment segment = ExportedSegment::Vmm(0, 4 * kUnit, kUnit);
  const auto mapping = Map(segment, 0);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  segment.KillExporter();
  segment.CloseDescriptors();
  EXPECT_TRUE(Read(*mapping, 4 * kUnit, 0) == segment.bytes());
}

TEST_F(CudaPlugin, OpensAnIpcHandleOnceHoweverManyHaveIt) {
  const ExportedSegment segment = ExportedSegment::Ipc(0, 2 * kUnit);
  const int opened = TheFiles().Count("ipc_open");
  const int closed = TheFiles().Count("ipc_close");
  std::vector<DeviceMapping> mappings;
  for (int i = 0; i < 3; ++i) {
    auto mapping = Map(segment, 0);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
    mappings.push_back(*std::move(mapping));
  }
  EXPECT_EQ(mappings[0].data(), mappings[2].data());
  EXPECT_EQ(TheFiles().Count("ipc_open"), opened + 1);
  mappings.erase(mappings.begin());
  mappings.pop_back();
  EXPECT_EQ(TheFiles().Count("ipc_close"), closed);
  EXPECT_TRUE(Read(mappings[0], 2 * kUnit, 0) == segment.bytes());
  mappings.clear();
  EXPECT_EQ(TheFiles().Count("ipc_close"), closed + 1);
  const auto again = Map(segment, 0);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(Read(*again, 2 * kUnit, 0) == segment.bytes());
}

TEST_F(CudaPlugin, OpensAndClosesOneHandleFromManyThreads) {
  const ExportedSegment segment = ExportedSegment::Ipc(0, kUnit);
  const std::string expected = segment.bytes();
  const int opened = TheFiles().Count("ipc_open");
  const int closed = TheFiles().Count("ipc_close");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 25; ++k) {
        const auto mapping = Map(segment, 0);
        ASSERT_TRUE(mapping.ok()) << mapping.status();
        EXPECT_TRUE(Read(*mapping, kUnit, 0) == expected);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(TheFiles().Count("ipc_open") - opened, TheFiles().Count("ipc_close") - closed);
}

TEST_F(CudaPlugin, GivesTheMemoryBack) {
  // Each is more than half of what the GPU has.
  for (int i = 0; i < 3; ++i) {
    ExportedSegment segment = ExportedSegment::Vmm(0, 40 * kUnit, 8 * kUnit);
    const auto mapping = Map(segment, 0);
    ASSERT_TRUE(mapping.ok()) << mapping.status();
  }
}

TEST_F(CudaPlugin, TellsMemoryOfAnotherGpu) {
  const auto mapping = Map(ExportedSegment::Vmm(1, kUnit, kUnit), 0);
  EXPECT_EQ(wire::GetReason(mapping.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(mapping.status().message()),
              HasSubstr("what came as memory of " + kGpuA + " lies elsewhere"));
  const auto ipc = Map(ExportedSegment::Ipc(1, kUnit), 0);
  EXPECT_THAT(std::string(ipc.status().message()), HasSubstr("cudaErrorPeerAccessUnsupported"));
}

TEST_F(CudaPlugin, RefusesAPeerThatCannotReachIt) {
  const auto mapping = Map(ExportedSegment::Vmm(0, kUnit, kUnit), 0, 1);
  EXPECT_EQ(wire::GetReason(mapping.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_EQ(mapping.status().message(),
            kGpuB + " cannot read the memory of " + kGpuA + ": cudaDeviceCanAccessPeer says no");
  EXPECT_THAT(std::string(Map(ExportedSegment::Ipc(0, kUnit), 0, 1).status().message()),
              HasSubstr("mapped for one GPU only"));
}

TEST_F(CudaPlugin, RefusesWhatIsNoDeviceMemory) {
  const auto memfd = wire::UniqueFd(memfd_create("no device memory", 0));
  const std::vector<wire::UniqueFd> none;
  const wire::SegmentInfo vmm = {
      .kind = wire::SegmentKind::kCudaVmm, .size_bytes = kUnit, .chunk_bytes = kUnit};
  const auto foreign = ThePlugin().Map(vmm, std::span(&memfd, 1), 0, std::nullopt);
  EXPECT_EQ(wire::GetReason(foreign.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(foreign.status().message()), HasSubstr("the driver refuses the handle"));
  EXPECT_EQ(wire::GetReason(ThePlugin().Map(vmm, none, 0, std::nullopt).status()),
            wire::Reason::kInternal);
  const wire::SegmentInfo ipc = {
      .kind = wire::SegmentKind::kCudaIpc, .size_bytes = kUnit, .ipc_handle = std::string(64, 'x')};
  const auto handle = ThePlugin().Map(ipc, none, 0, std::nullopt);
  EXPECT_EQ(wire::GetReason(handle.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(wire::GetErrorInfo(handle.status()).hint, HasSubstr("acquire it again"));
}

TEST_F(CudaPlugin, RefusesAnIpcHandleWhoseExporterIsDead) {
  ExportedSegment segment = ExportedSegment::Ipc(0, kUnit);
  segment.KillExporter();
  const auto mapping = Map(segment, 0);
  EXPECT_EQ(wire::GetReason(mapping.status()), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(mapping.status().message()), HasSubstr(kGpuA));
}

TEST_F(CudaPlugin, UndoesAllOfASegmentThatCannotBeMappedAsAWhole) {
  const ExportedSegment segment = ExportedSegment::Vmm(0, 40 * kUnit, 8 * kUnit);
  for (const std::string function :
       {"cuMemImportFromShareableHandle", "cuMemMap", "cuMemSetAccess", "cuMemAddressReserve"}) {
    TheFiles().Fail("fail " + function + " CUDA_ERROR_OUT_OF_MEMORY 1");
    const auto mapping = Map(segment, 0);
    EXPECT_EQ(wire::GetReason(mapping.status()), wire::Reason::kBudgetExceeded) << function;
    EXPECT_THAT(std::string(mapping.status().message()), HasSubstr("cudaErrorMemoryAllocation"));
  }
  TheFiles().Fail("");
  const auto mapping = Map(segment, 0);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_TRUE(Read(*mapping, 40 * kUnit, 0) == segment.bytes());
}

TEST_F(CudaPlugin, DoesNothingInAForkedChild) {
  const ExportedSegment segment = ExportedSegment::Vmm(0, kUnit, kUnit);
  auto vmm = Map(segment, 0);
  auto ipc = Map(ExportedSegment::Ipc(0, kUnit), 0);
  ASSERT_TRUE(vmm.ok() && ipc.ok());
  const pid_t child = fork();
  if (child == 0) {
    { const auto gone = std::pair(*std::move(vmm), *std::move(ipc)); }
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Read(*vmm, kUnit, 0) == segment.bytes());
}

TEST_F(CudaPlugin, LeavesTheCallersLastErrorAlone) {
  EXPECT_NE(cudaSetDevice(99), cudaSuccess);
  { const auto mapping = Map(ExportedSegment::Vmm(0, kUnit, kUnit), 0); }
  TheFiles().Fail("fail cudaIpcOpenMemHandle cudaErrorInvalidValue 1");
  EXPECT_FALSE(Map(ExportedSegment::Ipc(0, kUnit), 0).ok());
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
}

TEST_F(CudaPluginDeathTest, MakesAContextOnTheGpuInQuestionAndOnNoOther) {
  EXPECT_EXIT(
      {
        {
          const auto vmm = Map(ExportedSegment::Vmm(1, kUnit, kUnit), 1);
          const auto ipc = Map(ExportedSegment::Ipc(1, kUnit), 1);
          if (!vmm.ok() || !ipc.ok()) _exit(1);
        }
        int device = -1;
        cudaGetDevice(&device);
        std::cerr << "device " << device << ", on A "
                  << TheFiles().Count("context_created " + kGpuA) << ", on B "
                  << TheFiles().Count("context_created " + kGpuB);
        _exit(0);
      },
      ExitedWithCode(0), "device 0, on A 0, on B 1$");
}

TEST_F(CudaPluginDeathTest, OutlivesAResetOfTheDevice) {
  EXPECT_EXIT(
      {
        {
          const auto vmm = Map(ExportedSegment::Vmm(0, kUnit, kUnit), 0);
          const auto ipc = Map(ExportedSegment::Ipc(0, kUnit), 0);
          if (!vmm.ok() || !ipc.ok() || cudaDeviceReset() != cudaSuccess) _exit(1);
        }
        std::cerr << TheFiles().Count("context_created") << " context";
        _exit(0);
      },
      ExitedWithCode(0), "1 context$");
}

TEST_F(CudaPluginDeathTest, OpensAnIpcHandleAnewAfterAReset) {
  EXPECT_EXIT(
      {
        const ExportedSegment segment = ExportedSegment::Ipc(0, kUnit);
        const auto stale = Map(segment, 0);
        if (!stale.ok() || cudaDeviceReset() != cudaSuccess) _exit(1);
        const auto mapping = Map(segment, 0);
        _exit(mapping.ok() && Read(*mapping, kUnit, 0) == segment.bytes() ? 0 : 2);
      },
      ExitedWithCode(0), "");
}

TEST_F(CudaPluginDeathTest, MappingsMayEndAfterMain) {
  EXPECT_EXIT(
      {
        static auto& vmm = *new absl::StatusOr<DeviceMapping>(absl::UnknownError(""));
        std::atexit([] { delete &vmm; });
        vmm = Map(ExportedSegment::Vmm(0, kUnit, kUnit), 0);
        std::exit(vmm.ok() ? 0 : 1);
      },
      ExitedWithCode(0), "");
}

TEST_F(CudaPluginDeathTest, ShowsAPeerWhatItMayRead) {
  EXPECT_EXIT(
      {
        setenv("FAKE_CUDA_PEER", "1", 1);
        const ExportedSegment segment = ExportedSegment::Vmm(0, 2 * kUnit, kUnit);
        const auto mapping = Map(segment, 0, 1);
        if (!mapping.ok()) std::cerr << mapping.status();
        _exit(mapping.ok() && Read(*mapping, 2 * kUnit, 1) == segment.bytes() ? 0 : 2);
      },
      ExitedWithCode(0), "");
}

TEST_F(CudaPluginDeathTest, AStoreToAVmmMappingFaults) {
  EXPECT_EXIT(
      {
        const auto mapping = Map(ExportedSegment::Vmm(0, kUnit, kUnit), 0);
        cudaMemset(const_cast<std::byte*>(mapping->data()), 0, kUnit);
        cudaDeviceSynchronize();
        std::string bytes(kUnit, '\0');
        const absl::Status lost = ThePlugin().CopyToHost(
            0, mapping->data(), std::as_writable_bytes(std::span(bytes.data(), bytes.size())));
        std::cerr << wire::ReasonName(wire::GetReason(lost)) << " " << lost.message();
        std::exit(0);
      },
      ExitedWithCode(0), "DEVICE_LOST .*cudaErrorIllegalAddress");
}

TEST_F(CudaPluginDeathTest, CountsWhatCudaVisibleDevicesLeaves) {
  EXPECT_EXIT(
      {
        setenv("CUDA_VISIBLE_DEVICES", "1", 1);
        std::cerr << *ThePlugin().Resolve(*ParseDeviceName("cuda:0")) << " "
                  << ThePlugin().OrdinalOf(kGpuA).status().message();
        _exit(Map(ExportedSegment::Vmm(1, kUnit, kUnit), 0).ok() ? 0 : 1);
      },
      ExitedWithCode(0), kGpuB + " GPU " + kGpuA + " is not visible to this process");
}

TEST_F(CudaPluginDeathTest, SaysThatThereIsNoDriver) {
  EXPECT_EXIT(
      {
        setenv("FAKE_CUDA_DRIVER", "none", 1);
        const auto uuids = ThePlugin().Uuids();
        std::cerr << wire::ReasonName(wire::GetReason(uuids.status())) << " "
                  << uuids.status().message() << "; " << wire::GetErrorInfo(uuids.status()).hint;
        _exit(0);
      },
      ExitedWithCode(0),
      "DEVICE_UNAVAILABLE this process cannot use a GPU: cudaErrorInsufficientDriver .*device "
      "host");
}

TEST_F(CudaPluginDeathTest, SaysThatThisDriverCannotMapSegmentsOfTheKind) {
  EXPECT_EXIT(
      {
        ExportedSegment segment = ExportedSegment::Vmm(0, kUnit, kUnit);
        setenv("FAKE_CUDA_VMM", "0", 1);
        const auto mapping = Map(segment, 0);
        std::cerr << mapping.status().message() << "; "
                  << wire::GetErrorInfo(mapping.status()).hint;
        _exit(0);
      },
      ExitedWithCode(0), "the driver has no cuMemImportFromShareableHandle.*export = \"ipc\"");
}

}  // namespace
}  // namespace modeld::device
