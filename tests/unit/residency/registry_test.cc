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

TEST(Registry, FindsByReferenceIdAndUniquePrefix) {
  Registry registry;
  Residency& a = registry.Add(Make("aa11", "/m/a.safetensors", 1));
  Residency& b = registry.Add(Make("ab22", "/m/b.safetensors", 2));
  EXPECT_EQ(*registry.Find("/m/a.safetensors"), &a);
  EXPECT_EQ(*registry.Find("ab22"), &b);
  EXPECT_EQ(*registry.Find("ab"), &b);
}

TEST(Registry, NamesTheCandidatesOfAnAmbiguousPrefix) {
  Registry registry;
  registry.Add(Make("aa11", "/m/a", 1));
  registry.Add(Make("ab22", "/m/b", 2));
  const auto found = registry.Find("a");
  EXPECT_EQ(wire::GetReason(found.status()), wire::Reason::kFieldInvalid);
  EXPECT_EQ(wire::GetErrorInfo(found.status()).metadata.at("candidates"), "aa11, ab22");
}

TEST(Registry, FindsNothingForAnEmptySelector) {
  Registry registry;
  registry.Add(Make("aa11", "/m/a", 1));
  EXPECT_EQ(wire::GetReason(registry.Find("").status()), wire::Reason::kResidencyNotFound);
}

TEST(Registry, FindsByAPrefixOfTheDigestWithAndWithoutItsScheme) {
  Registry registry;
  Residency& a = registry.Add(Make("aa11", "/m/a", 1));
  auto digests = std::make_shared<ResidentDigests>();
  plan::ContentDigests content;
  content.weights.fill(std::byte{0xcd});
  digests->content = std::make_shared<const plan::ContentDigests>(content);
  a.digests = digests;
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
