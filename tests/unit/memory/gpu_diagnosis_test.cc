#include "memory/gpu_diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "support/temp_dir.h"

namespace modeld::memory {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Why(NoGpu kind, const DriverFacts& facts, uint32_t driver = 0) {
  return WhyNoGpu(kind, driver, 13000, "cudaErrorUnknown", facts);
}

TEST(GpuDiagnosis, TellsAMissingDriverFromOneWhoseLibraryIsMissing) {
  EXPECT_THAT(Why(NoGpu::kNoDriver, {}), HasSubstr("no NVIDIA driver"));
  EXPECT_THAT(Why(NoGpu::kNoDriver, {.device_files = {{.path = "/dev/nvidiactl"}}}),
              HasSubstr("libcuda.so.1 is not found"));
}

TEST(GpuDiagnosis, NamesTheReleaseThatTheDriverHasAndTheOneItNeeds) {
  EXPECT_THAT(Why(NoGpu::kOldDriver, {}, 12040),
              AllOf(HasSubstr("supports CUDA 12.4"), HasSubstr("needs one for CUDA 13.0")));
}

TEST(GpuDiagnosis, NamesTheDeviceFileThatMayNotBeUsed) {
  const DriverFacts facts = {
      .device_files = {{.path = "/dev/nvidia-uvm", .usable = true, .mode = 0666, .group = "root"},
                       {.path = "/dev/nvidia0", .usable = false, .mode = 0660, .group = "video"}}};
  EXPECT_THAT(Why(NoGpu::kNoDevice, facts),
              HasSubstr("may not use /dev/nvidia0 (mode 0660, group video)"));
  // The driver does not say no device in every release.
  EXPECT_THAT(Why(NoGpu::kOther, facts),
              AllOf(HasSubstr("cudaErrorUnknown"), HasSubstr("may not use /dev/nvidia0")));
}

TEST(GpuDiagnosis, TellsAContainerWithoutGpusFromAModuleThatIsNotLoaded) {
  EXPECT_THAT(Why(NoGpu::kNoDevice, {.kernel_module = "580.65.06"}),
              AllOf(HasSubstr("580.65.06 is loaded"), HasSubstr("--gpus all")));
  EXPECT_THAT(Why(NoGpu::kNoDevice, {}), HasSubstr("modprobe nvidia"));
  EXPECT_THAT(Why(NoGpu::kNoDevice, {.device_files = {{.path = "/dev/nvidia0", .usable = true}}}),
              HasSubstr("although there is /dev/nvidia0"));
}

TEST(GpuDiagnosis, BlamesTheVariableThatHidesAllGpusFirst) {
  EXPECT_THAT(Why(NoGpu::kNoDevice, {.device_files = {{.path = "/dev/nvidia0"}},
                                     .hides_by_variable = true,
                                     .visible_devices = "7"}),
              HasSubstr("CUDA_VISIBLE_DEVICES=7"));
}

TEST(GpuDiagnosis, ReadsWhatTheDriverLeavesOnAMachine) {
  const test::TempDir root;
  root.Write("proc/driver/nvidia/version",
             "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:29:20 UTC "
             "2025\nGCC version:  gcc version 13.3.0\n");
  for (const char* name : {"nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia-modeset",
                           "nvidia", "nvidiafb", "null"}) {
    root.Write(std::string("dev/") + name, "");
  }
  ::setenv("CUDA_VISIBLE_DEVICES", "0", 1);
  const DriverFacts facts = ReadDriverFacts(root.path());
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(facts.kernel_module, "580.65.06");
  ASSERT_THAT(facts.device_files, SizeIs(4));
  EXPECT_EQ(facts.device_files[1].path, root / "dev/nvidia0");
  EXPECT_TRUE(facts.device_files[1].usable);
  EXPECT_TRUE(facts.hides_by_variable);
  EXPECT_EQ(facts.visible_devices, "0");

  const test::TempDir bare;
  EXPECT_THAT(ReadDriverFacts(bare.path()).device_files, IsEmpty());
  EXPECT_EQ(ReadDriverFacts(bare.path()).kernel_module, "");
  EXPECT_FALSE(ReadDriverFacts(bare.path()).hides_by_variable);
}

}  // namespace
}  // namespace modeld::memory
