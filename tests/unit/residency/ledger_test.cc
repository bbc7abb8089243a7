#include "residency/ledger.h"

#include <gtest/gtest.h>

namespace modeld::residency {
namespace {

TEST(Ledger, RefusesWhatDoesNotFitAndChangesNothing) {
  Ledger ledger(100);
  EXPECT_TRUE(ledger.Reserve(60));
  EXPECT_FALSE(ledger.Reserve(41));
  EXPECT_EQ(ledger.reserved_bytes(), 60u);
  EXPECT_EQ(ledger.free_bytes(), 40u);
  EXPECT_TRUE(ledger.Reserve(40));
}

TEST(Ledger, KeepsCapacityEqualToReservedPlusResidentPlusFree) {
  Ledger ledger(100);
  ASSERT_TRUE(ledger.Reserve(30));
  ASSERT_TRUE(ledger.Reserve(20));
  ledger.Commit(30);
  EXPECT_EQ(ledger.resident_bytes(), 30u);
  EXPECT_EQ(ledger.reserved_bytes(), 20u);
  ledger.Cancel(20);
  ledger.Free(30);
  EXPECT_EQ(ledger.free_bytes(), 100u);
}

TEST(Ledger, HasNothingFreeWhileAdoptedBytesExceedTheCapacity) {
  Ledger ledger(100);
  ledger.Adopt(150);
  EXPECT_EQ(ledger.free_bytes(), 0u);
  EXPECT_FALSE(ledger.Reserve(1));
  ledger.Free(100);
  EXPECT_EQ(ledger.free_bytes(), 50u);
}

}  // namespace
}  // namespace modeld::residency
