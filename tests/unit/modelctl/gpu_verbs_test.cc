// verify and export of what lies on a GPU, with a fake plugin.

#include <gtest/gtest.h>

#include "fake_plugin.h"
#include "support/read_file.h"
#include "unit/modelctl/fake_daemon.h"
#include "unit/modelctl/run_modelctl.h"

namespace modeld::test {
namespace {

constexpr char kId[] = "3f2a91c07b5e4d21";

class GpuVerbTest : public ::testing::Test {
 protected:
  GpuVerbTest() : model(MakeFakeModel(kId, "models/backbone.safetensors")) {
    model.residency.set_device(testing::kGpuB);
    *daemon.residencies.add_residencies() = model.residency;
    daemon.model = &model;
  }

  ModelctlResult Run(std::vector<std::string> args, const std::string& plugin = FAKE_PLUGIN) {
    return RunModelctl(std::move(args),
                       {.env = {"MODELD_ENDPOINT=" + daemon.endpoint(), "LD_PRELOAD=" + plugin}});
  }

  FakeModel model;
  FakeDaemon daemon;
};

TEST_F(GpuVerbTest, VerifyReadsTheGpu) {
  const ModelctlResult good = Run({"verify", kId});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_NE(good.out.find(model.weights_digest), std::string::npos) << good.out;
  EXPECT_EQ(daemon.acquire_request.spec().device(), testing::kGpuB);

  std::vector<wire::Digest> digests = model.digests;
  digests[1][0] ^= std::byte{1};
  model.SetDigests(digests);
  const ModelctlResult bad = Run({"verify", kId});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_NE(bad.err.find("tensor b of models/backbone.safetensors differs"), std::string::npos);
}

TEST_F(GpuVerbTest, ExportWritesTheSameFileAsFromTheHost) {
  const TempDir dir;
  const ModelctlResult result = Run({"export", kId, dir / "gpu"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  model.residency.set_device("host");
  *daemon.residencies.mutable_residencies(0) = model.residency;
  ASSERT_EQ(Run({"export", kId, dir / "host"}).exit_code, 0);
  EXPECT_EQ(ReadFile(dir / "gpu"), ReadFile(dir / "host"));
}

TEST_F(GpuVerbTest, AGpuThatIsHiddenIsNamed) {
  model.residency.set_device("GPU-cccc0000-1111-2222-3333-444444444444");
  *daemon.residencies.mutable_residencies(0) = model.residency;
  const ModelctlResult result = Run({"verify", kId});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("GPU GPU-cccc0000-1111-2222-3333-444444444444 is not visible to this "
                            "process"),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("next: look at CUDA_VISIBLE_DEVICES"), std::string::npos);
}

TEST_F(GpuVerbTest, APluginThatDoesNotFitIsToldWithTheNextStep) {
  const ModelctlResult result = Run({"verify", kId}, STALE_PLUGIN);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("next: install the same release of libmodeld and libmodeld-cuda"),
            std::string::npos)
      << result.err;
}

}  // namespace
}  // namespace modeld::test
