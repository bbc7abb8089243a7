#include "app/preload_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/config_file.h"
#include "wire/error.h"

namespace modeld::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kDigest[] =
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

std::vector<Preload> Parse(const std::string& text) {
  auto file = ParseConfigText(text, "m.toml");
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? file->preloads : std::vector<Preload>();
}

// Of an entry with these lines after `[[preload]]` and a reference: they begin on line 3.
std::string ManifestRefusal(const std::string& lines, const std::string& reference = "\"a\"") {
  const auto file =
      ParseConfigText("[[preload]]\nreference = " + reference + "\n" + lines, "m.toml");
  EXPECT_TRUE(absl::IsInvalidArgument(file.status())) << lines << ": " << file.status();
  return std::string(file.status().message());
}

std::string Everything() {
  return std::string(
             "[[preload]]\n"
             "reference = \"sd/backbone \\\"2\\\".safetensors\"\n"
             "device = \"cuda:1\"\n"
             "pin = true\n"
             "alias = \"backbone\"\n"
             "cast = \"BF16\"\n"
             "include = [\"unet.*\", \"vae.*\"]\n"
             "exclude = [\"*.optimizer\"]\n"
             "key_prefix = \"model.\"\n"
             "expected_digest = \"") +
         kDigest +
         "\"\n"
         "keep_host = true\n"
         "keep_alive = \"5min\"\n";
}

TEST(PreloadManifest, TakesEveryKey) {
  const auto preloads = Parse(Everything());
  ASSERT_EQ(preloads.size(), 1u);
  const Preload& preload = preloads.front();
  EXPECT_EQ(preload.spec.reference, "sd/backbone \"2\".safetensors");
  EXPECT_EQ(preload.spec.device, "cuda:1");
  EXPECT_TRUE(preload.pin);
  EXPECT_EQ(preload.alias, "backbone");
  EXPECT_EQ(preload.spec.config.cast, wire::DType::kBF16);
  EXPECT_THAT(preload.spec.config.include, ElementsAre("unet.*", "vae.*"));
  EXPECT_THAT(preload.spec.config.exclude, ElementsAre("*.optimizer"));
  EXPECT_EQ(preload.spec.config.key_prefix, "model.");
  EXPECT_EQ(preload.spec.expected_digest, kDigest);
  EXPECT_TRUE(preload.spec.keep_host);
  EXPECT_EQ(preload.keep_alive, std::chrono::minutes(5));
}

TEST(PreloadManifest, NeedsAReferenceAndNothingElse) {
  const auto preloads = Parse("[[preload]]\nreference = \"a\"\n");
  ASSERT_EQ(preloads.size(), 1u);
  Preload expected;
  expected.spec.reference = "a";
  EXPECT_EQ(preloads.front(), expected);
  EXPECT_EQ(preloads.front().spec.device, "host");
}

TEST(PreloadManifest, KeepsTheOrderOfTheFile) {
  const auto preloads = Parse(
      "log_level = \"warn\"\n[[preload]]\nreference = \"b\"\n[[preload]]\nreference = \"a\"\n"
      "instance = \"mine\"\nkeep_alive = \"forever\"\n[[preload]]\nreference = \"c\"\n"
      "keep_alive = \"0s\"\n");
  ASSERT_EQ(preloads.size(), 3u);
  EXPECT_EQ(preloads[0].spec.reference, "b");
  EXPECT_EQ(preloads[1].spec.instance, "mine");
  EXPECT_EQ(preloads[1].keep_alive, residency::kForever);
  EXPECT_EQ(preloads[2].keep_alive, base::Duration::zero());
}

TEST(PreloadManifest, NamesThePlaceOfWhatIsWrong) {
  EXPECT_THAT(ManifestRefusal("pin = \"true\""),
              StartsWith("m.toml:3:7: preload.pin must be true or false"));
  EXPECT_THAT(ManifestRefusal("keep_host = 1"),
              StartsWith("m.toml:3:13: preload.keep_host must be true"));
  EXPECT_THAT(ManifestRefusal("alias = true"),
              StartsWith("m.toml:3:9: preload.alias must be text"));
  EXPECT_THAT(ManifestRefusal("alias = [\"a\"]"),
              StartsWith("m.toml:3:9: preload.alias must be text"));
  EXPECT_THAT(ManifestRefusal("include = \"a\""),
              StartsWith("m.toml:3:11: preload.include must be a list"));
  EXPECT_THAT(ManifestRefusal("exclude = [1]"),
              StartsWith("m.toml:3:11: preload.exclude must be a list"));
  EXPECT_THAT(ManifestRefusal("exclude = [\"\"]"),
              StartsWith("m.toml:3:11: preload.exclude has an empty glob; `*`"));
  EXPECT_THAT(ManifestRefusal("", "\"\""),
              StartsWith("m.toml:2:13: preload.reference is empty; say which"));
  EXPECT_THAT(ManifestRefusal("", "1"), StartsWith("m.toml:2:13: preload.reference must be text"));
  EXPECT_THAT(ManifestRefusal("device = \"cuda\""),
              StartsWith("m.toml:3:10: preload.device: \"cuda\" is neither"));
  EXPECT_THAT(ManifestRefusal("device = \"cuda:-1\""), StartsWith("m.toml:3:10: preload.device:"));
  EXPECT_THAT(ManifestRefusal("device = \"\""), StartsWith("m.toml:3:10: preload.device:"));
  EXPECT_THAT(ManifestRefusal("cast = \"F64\""),
              StartsWith("m.toml:3:8: preload.cast is \"F64\"; it may be F32, F16 or BF16"));
  EXPECT_THAT(ManifestRefusal("alias = \"a/b\""),
              StartsWith("m.toml:3:9: preload.alias is no name for an alias"));
  EXPECT_THAT(ManifestRefusal("alias = \"\""), StartsWith("m.toml:3:9: preload.alias is no name"));
  EXPECT_THAT(ManifestRefusal("instance = \"a\\u0007\""),
              StartsWith("m.toml:3:12: preload.instance contains control characters"));
  EXPECT_THAT(ManifestRefusal("key_prefix = \"" + std::string(300, 'x') + "\""),
              StartsWith("m.toml:3:14: preload.key_prefix has 300 bytes"));
  EXPECT_THAT(
      ManifestRefusal("expected_digest = \"md5:1\""),
      StartsWith("m.toml:3:19: preload.expected_digest is no weights digest; it is sha256:"));
  EXPECT_THAT(ManifestRefusal("keep_alive = \"5\""),
              StartsWith("m.toml:3:14: preload.keep_alive: `5` is not a duration"));
  EXPECT_THAT(ManifestRefusal("keep_alive = 5"),
              StartsWith("m.toml:3:14: preload.keep_alive must be text"));
  EXPECT_THAT(ManifestRefusal("instance = \"a\"\nalias = \"b\""),
              StartsWith("m.toml:4:9: preload.alias names a version, and an instance a copy"));
  EXPECT_THAT(ManifestRefusal("pin = 2026-01-31"),
              StartsWith("m.toml:3:7: `preload.pin` must be text"));
}

TEST(PreloadManifest, NamesTheEntryThatHasNoReference) {
  const auto file = ParseConfigText("\n[[preload]]\npin = true\n", "m.toml");
  EXPECT_THAT(std::string(file.status().message()),
              StartsWith("m.toml:2:1: preload.reference is empty"));
}

TEST(PreloadManifest, SuggestsTheNearestKey) {
  EXPECT_THAT(ManifestRefusal("  pinned = true"),
              StartsWith("m.toml:3:3: `pinned` is no key of a preload; did you mean `pin`?"));
  EXPECT_THAT(ManifestRefusal("keepalive = \"1s\""), HasSubstr("did you mean `keep_alive`?"));
  EXPECT_THAT(ManifestRefusal("xyzzy = 1"), HasSubstr("man 5 modeld.toml"));
  const auto file = ParseConfigText("[[preloads]]\nreference = \"a\"\n", "m.toml");
  EXPECT_THAT(std::string(file.status().message()),
              HasSubstr("`preloads` is no setting; did you mean `preload`?"));
}

TEST(PreloadManifest, IsAListOfTables) {
  EXPECT_THAT(
      std::string(ParseConfigText("[preload]\nreference = \"a\"\n", "m.toml").status().message()),
      StartsWith("m.toml:1:1: write [[preload]]"));
  EXPECT_THAT(std::string(ParseConfigText("preload = [\"a\"]\n", "m.toml").status().message()),
              StartsWith("m.toml:1:12: a preload is a table"));
  EXPECT_TRUE(Parse("preload = []\n").empty());
  EXPECT_EQ(Parse("preload = [{reference = \"a\"}]\n").size(), 1u);
}

TEST(PreloadManifest, GivesANameOnce) {
  const auto file = ParseConfigText(
      "[[preload]]\nreference = \"a\"\nalias = \"x\"\n[[preload]]\nreference = \"b\"\nalias = "
      "\"x\"\n",
      "m.toml");
  EXPECT_EQ(file.status().message(), "m.toml:6:9: preload.alias: \"x\" is the name of a already");
}

TEST(PreloadManifest, ReadsBackFromItsText) {
  const auto preloads = Parse(Everything() +
                              "[[preload]]\nreference = \"c\"\n"
                              "instance = \"mine\"\nkeep_alive = \"forever\"\n");
  std::string text;
  for (const Preload& preload : preloads) text += PreloadText(preload);
  EXPECT_EQ(Parse(text), preloads) << text;
}

TEST(DeviceOf, CountsAsTheDevicesAreListed) {
  const std::vector<std::string> gpus = {"GPU-aa", "GPU-bb"};
  EXPECT_EQ(DeviceOf("host", gpus).value(), "host");
  EXPECT_EQ(DeviceOf("cuda:0", gpus).value(), "GPU-aa");
  EXPECT_EQ(DeviceOf("cuda:1", gpus).value(), "GPU-bb");
  EXPECT_EQ(DeviceOf("gpu-BB", gpus).value(), "GPU-bb");
  const auto missing = DeviceOf("cuda:2", gpus).status();
  EXPECT_EQ(wire::GetReason(missing), wire::Reason::kDeviceUnavailable);
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr("no cuda:2, but: cuda:0 (GPU-aa), cuda:1 (GPU-bb)"));
  EXPECT_THAT(std::string(DeviceOf("GPU-cc", {}).status().message()), HasSubstr("no other GPU"));
}

}  // namespace
}  // namespace modeld::app
