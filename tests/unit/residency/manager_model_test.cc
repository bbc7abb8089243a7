// The manager against chance: whatever happens, in whatever order, it keeps its promises.
//
// MODELD_MODEL_SEED begins with another seed, MODELD_MODEL_STEPS does another number of steps.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "model/world.h"
#include "support/sanitizer.h"

namespace modeld::residency::model {
namespace {

constexpr uint64_t kStepsPerWorld = 5'000;
constexpr uint64_t kStepsPerRest = 1'000;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(ManagerModelTest, KeepsItsPromisesWhateverHappens) {
  const uint64_t first_seed = FromEnvironment("MODELD_MODEL_SEED", 1);
  const uint64_t steps =
      FromEnvironment("MODELD_MODEL_STEPS", test::kSanitized ? 50'000 : 1'000'000);
  const uint64_t worlds = std::max<uint64_t>(1, steps / kStepsPerWorld);
  for (uint64_t seed = first_seed; seed < first_seed + worlds; ++seed) {
    World world(seed);
    for (uint64_t step = 1; step <= kStepsPerWorld && !world.journal().is_broken(); ++step) {
      world.Step();
      if (step % kStepsPerRest == 0 && !world.journal().is_broken()) world.ComeToRest();
    }
    ASSERT_FALSE(world.journal().is_broken())
        << "MODELD_MODEL_SEED=" << seed << " MODELD_MODEL_STEPS=" << kStepsPerWorld << "\n"
        << world.journal().Report();
  }
}

}  // namespace
}  // namespace modeld::residency::model
