#include "rpc/peer_policy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

namespace modeld::rpc {
namespace {

// Ids that nobody who runs tests has.
constexpr uid_t kOutsider = 4'000'000'001;
constexpr gid_t kGroup = 4'000'000'002;

wire::PeerCredentials Peer(uid_t uid, gid_t gid) { return {.pid = 1, .uid = uid, .gid = gid}; }

TEST(PeerPolicy, WithoutListsLeavesItToTheSocketsPermissions) {
  EXPECT_TRUE(PeerPolicy{}.Admits(Peer(kOutsider, kGroup), {}));
}

TEST(PeerPolicy, AdmitsAListedUser) {
  const PeerPolicy policy{.allow_uids = {kOutsider}, .allow_gids = {}};
  EXPECT_TRUE(policy.Admits(Peer(kOutsider, 1), {}));
  EXPECT_FALSE(policy.Admits(Peer(kOutsider + 5, 1), {}));
}

TEST(PeerPolicy, AdmitsTheGroupAndASupplementaryGroupOfAPeer) {
  const PeerPolicy policy{.allow_uids = {}, .allow_gids = {kGroup}};
  const gid_t groups[] = {1, kGroup, 3};
  EXPECT_TRUE(policy.Admits(Peer(kOutsider, kGroup), {}));
  EXPECT_TRUE(policy.Admits(Peer(kOutsider, 1), groups));
  EXPECT_FALSE(policy.Admits(Peer(kOutsider, 1), {}));
}

TEST(PeerPolicy, NeverLocksOutRootOrTheDaemonsOwnUser) {
  const PeerPolicy policy{.allow_uids = {kOutsider}, .allow_gids = {kGroup}};
  EXPECT_TRUE(policy.Admits(Peer(0, 1), {}));
  EXPECT_TRUE(policy.Admits(Peer(::geteuid(), 1), {}));
}

TEST(PeerGroups, AreThoseOfTheProcessAtTheOtherEnd) {
  auto pair = wire::UnixPair();
  ASSERT_TRUE(pair.ok());
  std::vector<gid_t> mine(::getgroups(0, nullptr));
  ASSERT_EQ(::getgroups(static_cast<int>(mine.size()), mine.data()), std::ssize(mine));
  std::vector<gid_t> told = PeerGroups(pair->first.get());
  std::ranges::sort(mine);
  std::ranges::sort(told);
  EXPECT_EQ(told, mine);
}

}  // namespace
}  // namespace modeld::rpc
