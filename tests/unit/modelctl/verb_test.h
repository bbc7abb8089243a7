// modelctl against a scripted daemon that has one model.

#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "unit/modelctl/fake_daemon.h"
#include "unit/modelctl/run_modelctl.h"

namespace modeld::test {

inline constexpr char kId[] = "3f2a91c07b5e4d21";
inline constexpr char kReference[] = "models/backbone.safetensors";

class VerbTest : public testing::Test {
 protected:
  VerbTest() : model(MakeFakeModel(kId, kReference)) {
    *daemon.residencies.add_residencies() = model.residency;
    daemon.model = &model;
  }

  ModelctlResult Run(std::vector<std::string> args, ModelctlOptions options = {}) {
    options.env.push_back("MODELD_ENDPOINT=" + daemon.endpoint());
    return RunModelctl(std::move(args), options);
  }
  std::unique_ptr<Modelctl> Start(std::vector<std::string> args, ModelctlOptions options = {}) {
    options.env.push_back("MODELD_ENDPOINT=" + daemon.endpoint());
    return std::make_unique<Modelctl>(std::move(args), options);
  }
  nlohmann::json RunJson(std::vector<std::string> args) {
    args.insert(args.begin(), {"-o", "json"});
    const ModelctlResult result = Run(std::move(args));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out);
  }

  FakeModel model;
  FakeDaemon daemon;
};

}  // namespace modeld::test
