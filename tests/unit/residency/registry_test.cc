#include "residency/registry.h"

#include <gtest/gtest.h>

#include "wire/error.h"

namespace modeld::residency {
namespace {

std::unique_ptr<Residency> Make(const std::string& id, const std::string& reference,
                                uint64_t generation) {
  ResidencyRecord record;
  record.id = id;
  record.sources.push_back(
      {.content_key = "content of " + reference + id, .references = {reference}});
  record.device = "host";
  record.generation = generation;
  return std::make_unique<Residency>(std::move(record));
}

std::shared_ptr<const ResidentDigests> Digests(std::byte of_weights) {
  plan::ContentDigests content;
  content.weights.fill(of_weights);
  auto digests = std::make_shared<ResidentDigests>();
  digests->content = std::make_shared<const plan::ContentDigests>(content);
  return digests;
}

TEST(Registry, FindsByReferenceIdAndUniquePrefix) {
  Registry registry;
  Residency& a = registry.Add(Make("aaaa1111", "/m/a.safetensors", 1));
  Residency& b = registry.Add(Make("aaab2222", "/m/b.safetensors", 2));
  EXPECT_EQ(*registry.Find("/m/a.safetensors"), &a);
  EXPECT_EQ(*registry.Find("aaab2222"), &b);
  EXPECT_EQ(*registry.Find("aaab"), &b);
}

TEST(Registry, TakesAShortSelectorForNoPrefix) {
  Registry registry;
  Residency& a = registry.Add(Make("aaaa1111", "/m/one", 1));
  a.digests = Digests(std::byte{0xcd});
  for (const char* selector : {"aaa", "cdc", "sha256:", "sha256:cdc"}) {
    EXPECT_EQ(wire::GetReason(registry.Find(selector).status()), wire::Reason::kResidencyNotFound)
        << selector;
  }
}

TEST(Registry, NamesTheCandidatesOfAnAmbiguousPrefix) {
  Registry registry;
  registry.Add(Make("aaaa1111", "/m/a", 1));
  registry.Add(Make("aaaa2222", "/m/b", 2));
  const auto found = registry.Find("aaaa");
  EXPECT_EQ(wire::GetReason(found.status()), wire::Reason::kFieldInvalid);
  EXPECT_EQ(wire::GetErrorInfo(found.status()).metadata.at("candidates"), "aaaa1111, aaaa2222");
}

TEST(Registry, FindsNothingForAnEmptySelector) {
  Registry registry;
  registry.Add(Make("aa11", "/m/a", 1));
  EXPECT_EQ(wire::GetReason(registry.Find("").status()), wire::Reason::kResidencyNotFound);
}

TEST(Registry, FindsByAPrefixOfTheDigestWithAndWithoutItsScheme) {
  Registry registry;
  Residency& a = registry.Add(Make("aa11", "/m/a", 1));
  a.digests = Digests(std::byte{0xcd});
  EXPECT_EQ(*registry.Find("sha256:cdcd"), &a);
  EXPECT_EQ(*registry.Find("cdcd"), &a);
}

TEST(Registry, LetsANewOneTakeTheKeyOfARetiredOne) {
  Registry registry;
  Residency& old = registry.Add(Make("aa11", "/m/a", 1));
  const Key key = old.KeyOf(old.record().sources.front());
  registry.Retire(old);
  EXPECT_EQ(registry.Current(key), nullptr);
  EXPECT_EQ(registry.Get("aa11"), &old);
}

TEST(Registry, RemembersOnlyTheLastThatEnded) {
  Registry registry;
  for (size_t i = 0; i < Registry::kRemembered + 5; ++i) {
    Residency& residency = registry.Add(Make("id" + std::to_string(i), "/m/a", i));
    residency.ChangeState(State::kFailed);
    registry.Remove(residency);
  }
  EXPECT_EQ(registry.ended().size(), Registry::kRemembered);
  EXPECT_EQ(registry.ended().front().id, "id5");
  EXPECT_TRUE(registry.All().empty());
}

}  // namespace
}  // namespace modeld::residency
