#include "modelctl/tree.h"

#include <gtest/gtest.h>

namespace modeld::modelctl {
namespace {

v1::Residency MakeResidency(const std::string& id, uint64_t tensor_bytes,
                            v1::Residency::State state = v1::Residency::READY) {
  v1::Residency residency;
  residency.set_id(id);
  residency.set_reference(id + ".safetensors");
  residency.set_state(state);
  residency.set_tensor_bytes(tensor_bytes);
  residency.set_size_bytes(2 << 20);
  return residency;
}

v1::Lease MakeLease(const std::string& residency_id, const std::string& scope, int pid) {
  v1::Lease lease;
  lease.set_residency_id(residency_id);
  lease.set_reference(residency_id + ".safetensors");
  lease.set_scope(scope);
  lease.set_pid(pid);
  return lease;
}

// `world{a{g1:x,g2:x}}` and so on: names, children in braces, uses after a colon.
std::string Sketch(const ScopeNode& node) {
  std::string out = node.name();
  for (int i = 0; i < node.uses_size(); ++i) {
    const ScopeUse& use = node.uses(i);
    out += (i == 0 ? ":" : "+") + use.residency_id();
    if (use.lease_count() > 1) out += "x" + std::to_string(use.lease_count());
  }
  if (node.children().empty()) return out;
  out += "{";
  for (int i = 0; i < node.children_size(); ++i)
    out += (i == 0 ? "" : ",") + Sketch(node.children(i));
  return out + "}";
}

std::string Sketch(const ScopeTree& tree) {
  std::string out;
  for (const ScopeNode& root : tree.roots()) out += (out.empty() ? "" : " ") + Sketch(root);
  return out;
}

class TreeTest : public testing::Test {
 protected:
  ScopeTree Tree() const { return MakeScopeTree(residencies, leases); }
  void Add(const v1::Lease& lease) { *leases.add_leases() = lease; }

  v1::ListResidenciesResponse residencies;
  v1::ListLeasesResponse leases;
};

TEST_F(TreeTest, CountsACopyOnceHoweverOftenItIsUsed) {
  *residencies.add_residencies() = MakeResidency("m", 100);
  Add(MakeLease("m", "w/s/p1/g1/n1", 1));
  Add(MakeLease("m", "w/s/p1/g2/n1", 2));
  Add(MakeLease("m", "w/s/p2/g1/n1", 3));
  Add(MakeLease("m", "w/s/p2/g2/n1", 4));
  const ScopeTree tree = Tree();
  EXPECT_EQ(Sketch(tree), "w{s{p1{g1{n1:m},g2{n1:m}},p2{g1{n1:m},g2{n1:m}}}}");
  EXPECT_EQ(tree.uses(), 4u);
  EXPECT_EQ(tree.copies(), 1u);
  EXPECT_EQ(tree.bytes(), 100u);
  EXPECT_EQ(tree.bytes_without_sharing(), 400u);
  EXPECT_TRUE(tree.idle().empty());
}

TEST_F(TreeTest, TakesScopesOfAnyDepth) {
  *residencies.add_residencies() = MakeResidency("m", 1);
  Add(MakeLease("m", "w", 1));
  Add(MakeLease("m", "w/s", 2));
  Add(MakeLease("m", "w/s/p/g/n/more/parts", 3));
  EXPECT_EQ(Sketch(Tree()), "w:m{s:m{p{g{n{more{parts:m}}}}}}");
}

TEST_F(TreeTest, DropsEmptyPartsOfAScope) {
  *residencies.add_residencies() = MakeResidency("m", 1);
  Add(MakeLease("m", "/w//s/", 1));
  Add(MakeLease("m", "w/s", 2));
  EXPECT_EQ(Sketch(Tree()), "w{s:mx2}");
}

TEST_F(TreeTest, PutsHoldersWithoutAScopeLast) {
  *residencies.add_residencies() = MakeResidency("m", 1);
  Add(MakeLease("m", "", 1));
  Add(MakeLease("m", "/", 2));
  Add(MakeLease("m", "a", 3));
  EXPECT_EQ(Sketch(Tree()), "a:m :mx2");
}

TEST_F(TreeTest, JoinsHoldersOfOneScopeAndKeepsTheirPids) {
  *residencies.add_residencies() = MakeResidency("m", 10);
  *residencies.add_residencies() = MakeResidency("k", 1);
  Add(MakeLease("m", "w", 7));
  Add(MakeLease("k", "w", 7));
  Add(MakeLease("m", "w", 8));
  const ScopeTree tree = Tree();
  EXPECT_EQ(Sketch(tree), "w:mx2+k");
  EXPECT_EQ(tree.roots(0).uses(0).pids(0), 7);
  EXPECT_EQ(tree.roots(0).uses(0).pids(1), 8);
  EXPECT_EQ(tree.copies(), 2u);
  EXPECT_EQ(tree.bytes(), 11u);
  EXPECT_EQ(tree.bytes_without_sharing(), 21u);
}

TEST_F(TreeTest, ListsWhatIsResidentAndUnusedApart) {
  *residencies.add_residencies() = MakeResidency("used", 1);
  *residencies.add_residencies() = MakeResidency("idle", 2);
  *residencies.add_residencies() = MakeResidency("loading", 3, v1::Residency::LOADING);
  *residencies.add_residencies() = MakeResidency("gone", 4, v1::Residency::EVICTED);
  Add(MakeLease("used", "w", 1));
  const ScopeTree tree = Tree();
  ASSERT_EQ(tree.idle_size(), 1);
  EXPECT_EQ(tree.idle(0).residency_id(), "idle");
}

TEST_F(TreeTest, ShowsALeaseOfAResidencyThatIsNotListed) {
  Add(MakeLease("m", "w", 1));
  const ScopeTree tree = Tree();
  EXPECT_EQ(Sketch(tree), "w:m");
  EXPECT_EQ(tree.bytes(), 0u);
  EXPECT_EQ(tree.copies(), 1u);
}

TEST_F(TreeTest, OfNothingIsEmpty) { EXPECT_EQ(Tree().roots_size(), 0); }

}  // namespace
}  // namespace modeld::modelctl
