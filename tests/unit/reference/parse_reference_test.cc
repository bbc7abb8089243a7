#include "reference/parse_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/error.h"

namespace modeld::reference {
namespace {

using ::testing::HasSubstr;

ReferencePath Parsed(std::string_view reference) {
  const auto parsed = ParseReference(reference);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.value_or(ReferencePath{});
}

void ExpectInvalid(std::string_view reference, std::string_view words) {
  const auto parsed = ParseReference(reference);
  ASSERT_FALSE(parsed.ok()) << parsed->path;
  EXPECT_EQ(wire::GetReason(parsed.status()), wire::Reason::kFieldInvalid);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(std::string(words)));
  EXPECT_FALSE(wire::GetErrorInfo(parsed.status()).hint.empty());
}

TEST(ParseReference, TakesPathsAsTheyAre) {
  EXPECT_EQ(Parsed("/a/b%20c"), (ReferencePath{"/a/b%20c", true}));
  EXPECT_EQ(Parsed("shared/backbone.pt"), (ReferencePath{"shared/backbone.pt", false}));
  EXPECT_EQ(Parsed("a:b"), (ReferencePath{"a:b", false}));
  EXPECT_EQ(Parsed("/"), (ReferencePath{"/", true}));
}

TEST(ParseReference, KnowsADigestFromAPath) {
  const std::string digest = "sha256:" + std::string(32, 'a') + std::string(32, '0');
  EXPECT_TRUE(Parsed(digest).digest);
  EXPECT_FALSE(Parsed(digest).absolute);
  for (const std::string& path :
       {digest + "0", digest.substr(0, 70), "sha256:" + std::string(64, 'g'), "./" + digest}) {
    EXPECT_FALSE(Parsed(path).digest) << path;
  }
}

TEST(ParseReference, DecodesFileUris) {
  EXPECT_EQ(Parsed("file:///a/b%20c%2Fd%C3%A4"), (ReferencePath{"/a/b c/d\xC3\xA4", true}));
  EXPECT_EQ(Parsed("file://localhost/a"), (ReferencePath{"/a", true}));
  EXPECT_EQ(Parsed("FILE://LocalHost/a%3fb"), (ReferencePath{"/a?b", true}));
  EXPECT_EQ(Parsed("file:/a"), (ReferencePath{"/a", true}));
}

TEST(ParseReference, RefusesWhatCanNameNoFile) {
  ExpectInvalid("", "empty");
  ExpectInvalid(std::string("/a\0b", 4), "NUL");
  ExpectInvalid("file:///a%00b", "NUL");
  ExpectInvalid(std::string(kMaxReferenceBytes + 1, 'a'), "4097 bytes");
  ExpectInvalid("/x/" + std::string(256, 'a'), "256 bytes");
}

TEST(ParseReference, AllowsTheLongestThereIs) {
  std::string longest;
  while (longest.size() < kMaxReferenceBytes) longest += "/" + std::string(255, 'a');
  longest.resize(kMaxReferenceBytes);
  EXPECT_EQ(Parsed(longest).path, longest);
}

TEST(ParseReference, RefusesUrisOfOtherPlaces) {
  ExpectInvalid("file://storage/a", "`storage`");
  ExpectInvalid("s3://bucket/a", "`s3`");
  ExpectInvalid("https://example.org/a", "`https`");
  ExpectInvalid("file:a", "absolute");
  ExpectInvalid("file://", "absolute");
  ExpectInvalid("file:", "absolute");
}

TEST(ParseReference, RefusesBrokenUris) {
  ExpectInvalid("file:///a%", "%");
  ExpectInvalid("file:///a%2", "%");
  ExpectInvalid("file:///a%zz", "%");
  ExpectInvalid("file:///a?b", "query");
  ExpectInvalid("file:///a#b", "fragment");
}

TEST(Quoted, EscapesWhatWouldSpoilALine) {
  EXPECT_EQ(Quoted("/a\nb"), "`/a\\nb`");
  EXPECT_EQ(Quoted("/\xC3\xA4"), "`/\xC3\xA4`");
  EXPECT_LT(Quoted(std::string(4096, 'a')).size(), 600u);
}

}  // namespace
}  // namespace modeld::reference
