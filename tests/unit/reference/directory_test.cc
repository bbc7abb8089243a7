// Directories and models of Hugging Face caches, through the resolver.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "reference/hub_cache.h"
#include "reference/resolver.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using wire::Reason;

constexpr char kCommit[] = "0123456789abcdef0123456789abcdef01234567";
constexpr char kOlder[] = "89abcdef0123456789abcdef0123456789abcdef";

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    dir_.Mkdir("a");
    dir_.Mkdir("b");
    dir_.Write("out/secret.safetensors", "secret");
  }

  // `name=content` of weights and `+name=content` of companions, in their order.
  std::vector<std::string> Files(const std::string& reference) {
    const auto checkpoint = resolver_.Resolve(reference);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    std::vector<std::string> files;
    if (!checkpoint.ok()) return files;
    EXPECT_EQ((*checkpoint)->reference, reference);
    for (const plan::OpenFile& file : (*checkpoint)->files) {
      char bytes[64];
      const ssize_t count = ::pread(file.fd.get(), bytes, sizeof(bytes), 0);
      files.push_back((file.companion ? "+" : "") + file.name + "=" +
                      std::string(bytes, std::max<ssize_t>(count, 0)));
      struct stat status;
      EXPECT_EQ(::fstat(file.fd.get(), &status), 0);
      EXPECT_EQ(file.identity, plan::IdentityOf(status));
      EXPECT_EQ(::fcntl(file.fd.get(), F_GETFD), FD_CLOEXEC);
    }
    return files;
  }

  absl::Status Refused(const std::string& reference, Reason reason) {
    const auto checkpoint = resolver_.Resolve(reference);
    EXPECT_FALSE(checkpoint.ok()) << reference;
    EXPECT_EQ(wire::GetReason(checkpoint.status()), reason) << checkpoint.status();
    EXPECT_FALSE(wire::GetErrorInfo(checkpoint.status()).hint.empty());
    return checkpoint.status();
  }

  std::string Message(const std::string& reference, Reason reason) {
    return std::string(Refused(reference, reason).message());
  }

  // A model as a client of the hub leaves it, below `cache`.
  void WriteModel(const std::string& cache, const std::string& folder, const std::string& commit,
                  const std::string& content) {
    const std::string model = cache + "/models--" + folder;
    dir_.Write(model + "/blobs/" + commit, content);
    dir_.Symlink("../../blobs/" + commit, model + "/snapshots/" + commit + "/model.safetensors");
    dir_.Write(model + "/snapshots/" + commit + "/unet/model.safetensors", "unet of " + content);
  }

  test::TempDir dir_;
  Resolver resolver_{ResolverOptions{.roots = {dir_ / "a", dir_ / "b"}}};
};

TEST_F(DirectoryTest, IsItsWeightsAndThenWhatGoesWithThem) {
  dir_.Write("a/m/tokenizer.json", "tok");
  dir_.Write("a/m/config.json", "{}");
  dir_.Write("a/m/model-00002-of-00002.safetensors", "two");
  dir_.Write("a/m/model-00001-of-00002.safetensors", "one");
  dir_.Write("a/m/model.safetensors.index.json", "idx");
  dir_.Write("a/m/photo.png", "png");
  const auto expected =
      ElementsAre("model-00001-of-00002.safetensors=one", "model-00002-of-00002.safetensors=two",
                  "+config.json={}", "+model.safetensors.index.json=idx", "+tokenizer.json=tok");
  EXPECT_THAT(Files("m"), expected);
  EXPECT_THAT(Files("m/"), expected);
  EXPECT_THAT(Files(dir_ / "a/m"), expected);
  EXPECT_THAT(Files("file://" + dir_ / "a/m"), expected);
  EXPECT_THAT(Files("m/model.safetensors.index.json"), expected);
  EXPECT_THAT(Files("m/model-00001-of-00002.safetensors"),
              ElementsAre("model-00001-of-00002.safetensors=one"));
}

TEST_F(DirectoryTest, APipelineIsItsSmallFilesAndNamesItsComponents) {
  dir_.Write("a/sd/model_index.json", "{}");
  dir_.Write("a/sd/v1.safetensors", "not this");
  dir_.Write("a/sd/unet/diffusion_pytorch_model.safetensors", "unet");
  dir_.Write("a/sd/unet/config.json", "{}");
  dir_.Write("a/sd/scheduler/scheduler_config.json", "{}");
  dir_.Write("a/sd/vae/a.safetensors", "a");
  dir_.Write("a/sd/vae/b.safetensors", "b");
  dir_.Mkdir("a/sd/empty");
  dir_.Write("a/sd/.cache/config.json", "{}");
  dir_.Symlink(dir_ / "out", "a/sd/outside");
  EXPECT_THAT(Files("sd"), ElementsAre("+model_index.json={}"));
  EXPECT_THAT((*resolver_.Resolve("sd"))->components, ElementsAre("scheduler", "unet", "vae"));
  EXPECT_THAT(Files("sd/unet"),
              ElementsAre("diffusion_pytorch_model.safetensors=unet", "+config.json={}"));
  EXPECT_THAT(Files("sd/scheduler"), ElementsAre("+scheduler_config.json={}"));
  EXPECT_THAT((*resolver_.Resolve("sd/unet"))->components, IsEmpty());
  Refused("sd/vae", Reason::kFieldInvalid).IgnoreError();
}

TEST_F(DirectoryTest, TheComponentsAreAPartOfTheKey) {
  dir_.Write("a/sd/model_index.json", "{}");
  dir_.Write("a/sd/vae/model.safetensors", "v");
  const std::string before = (*resolver_.Resolve("sd"))->Key();
  dir_.Write("a/sd/unet/model.safetensors", "u");
  EXPECT_NE((*resolver_.Resolve("sd"))->Key(), before);
}

TEST_F(DirectoryTest, SaysWhichPartsADirectoryHasThatIsNoCheckpoint) {
  dir_.Write("a/org/m/model.safetensors", "m");
  dir_.Mkdir("a/org/empty");
  const absl::Status status = Refused("org", Reason::kFormatUnsupported);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_ / "a/org/m"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("empty")));
  EXPECT_EQ(wire::GetErrorInfo(status).metadata.at("components"), "m");
  EXPECT_THAT(Message("org/empty", Reason::kFormatUnsupported), HasSubstr("directory"));
}

TEST_F(DirectoryTest, WhereItIsNotClearTheChoicesAreListed) {
  dir_.Write("a/m/q4.gguf", "4");
  dir_.Write("a/m/q8.gguf", "8");
  const std::string message = Message("m", Reason::kFieldInvalid);
  EXPECT_THAT(message, HasSubstr(dir_ / "a/m/q4.gguf"));
  EXPECT_THAT(message, HasSubstr(dir_ / "a/m/q8.gguf"));
}

TEST_F(DirectoryTest, AMissingShardIsNamedAndNoOtherRootIsMeant) {
  dir_.Write("a/m/model-00001-of-00002.safetensors", "one");
  dir_.Write("b/m/model.safetensors", "whole");
  EXPECT_THAT(Message("m", Reason::kCheckpointNotFound),
              HasSubstr("model-00002-of-00002.safetensors"));
}

TEST_F(DirectoryTest, FollowsSymlinksIntoARootAndRefusesThoseThatLeadOut) {
  dir_.Write("b/blobs/1", "weights");
  dir_.Symlink(dir_ / "b/blobs/1", "a/m/model.safetensors");
  dir_.Symlink("../../b/blobs/1", "a/m/config.json");
  EXPECT_THAT(Files("m"), ElementsAre("model.safetensors=weights", "+config.json=weights"));
  EXPECT_EQ((*resolver_.Resolve("m"))->files[0].path, dir_ / "b/blobs/1");

  // A companion is checked like the weights.
  const std::string secret = dir_ / "out/secret.safetensors";
  dir_.Symlink(secret, "a/m/vocab.txt");
  const std::string there = Message("m", Reason::kPathNotAllowed);
  EXPECT_THAT(there, HasSubstr(secret));
  std::filesystem::remove(secret);
  EXPECT_EQ(Message("m", Reason::kPathNotAllowed), there) << "whether something is there or not";
}

TEST_F(DirectoryTest, ADirectoryThatIsASymlinkOutIsRefused) {
  dir_.Symlink("../out", "a/m");
  Refused("m", Reason::kPathNotAllowed).IgnoreError();
  Refused(dir_ / "out", Reason::kPathNotAllowed).IgnoreError();
}

TEST_F(DirectoryTest, WhatIsNoFileIsNoPartOfIt) {
  dir_.Write("a/m/model.safetensors", "m");
  dir_.Mkdir("a/m/strange.json");
  dir_.Symlink("strange.json", "a/m/link.json");
  ASSERT_EQ(::mkfifo((dir_ / "a/m/fifo.json").c_str(), 0600), 0);
  EXPECT_THAT(Files("m"), ElementsAre("model.safetensors=m"));
  // Weights that are none are not passed over.
  dir_.Symlink("../m/strange.json", "a/n/model.safetensors");
  Refused("n", Reason::kFormatUnsupported).IgnoreError();
  dir_.Symlink("../m/fifo.json", "a/o/model.safetensors");
  EXPECT_THAT(Message("o", Reason::kFormatUnsupported), HasSubstr("fifo"));
}

TEST_F(DirectoryTest, EmptyWeightsAreRefusedAndEmptyCompanionsAreNot) {
  dir_.Write("a/m/model.safetensors", "");
  Refused("m", Reason::kCheckpointMalformed).IgnoreError();
  dir_.Write("a/n/model.safetensors", "n");
  dir_.Write("a/n/merges.txt", "");
  EXPECT_THAT(Files("n"), ElementsAre("model.safetensors=n", "+merges.txt="));
}

TEST_F(DirectoryTest, CompanionsThatAreTooLargeAreLeftOut) {
  dir_.Write("a/m/model.safetensors", "m");
  for (const char* name : {"a.json", "b.json", "c.json", "huge.json", "z.json"}) {
    const std::string path = dir_.Write(std::string("a/m/") + name, "x");
    ASSERT_EQ(::truncate(path.c_str(), std::string(name) == "huge.json" ? (64 << 20) + 1
                                       : std::string(name) == "z.json"  ? 1
                                                                        : 60 << 20),
              0);
  }
  const auto checkpoint = resolver_.Resolve("m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<std::string> names;
  for (const plan::OpenFile& file : (*checkpoint)->files) names.push_back(file.name);
  EXPECT_THAT(names, ElementsAre("model.safetensors", "a.json", "b.json", "z.json"));
}

TEST_F(DirectoryTest, NoMoreFilesThanACheckpointMayHave) {
  dir_.Write("a/m/model.safetensors", "m");
  for (int i = 0; i < 300; ++i) dir_.Write("a/m/" + std::to_string(i) + ".json", "{}");
  EXPECT_EQ((*resolver_.Resolve("m"))->files.size(), plan::kMaxFiles);
}

TEST_F(DirectoryTest, ADirectoryOfVeryManyEntriesIsRefused) {
  dir_.Mkdir("a/m");
  for (int i = 0; i < 65'600; ++i) {
    const wire::UniqueFd made(
        ::open((dir_ / "a/m/" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_TRUE(made.valid());
  }
  EXPECT_THAT(Message("m", Reason::kFieldInvalid), HasSubstr("more than 65536 entries"));
}

TEST_F(DirectoryTest, LeavesNoDescriptorBehind) {
  dir_.Write("a/sd/model_index.json", "{}");
  dir_.Write("a/sd/unet/model.safetensors", "u");
  dir_.Write("a/m/q4.gguf", "4");
  dir_.Write("a/m/q8.gguf", "8");
  WriteModel("a", "org--name", kCommit, "m");
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  (void)resolver_.Resolve("/etc/passwd");  // opens both roots
  const auto before = count();
  for (int i = 0; i < 10; ++i) {
    for (const char* reference : {"sd", "sd/unet", "m", "org/name", "org/name@x", "org/none"}) {
      (void)resolver_.Resolve(reference);
    }
  }
  EXPECT_EQ(count(), before);
}

TEST_F(DirectoryTest, ADigestNamesWhatIsResident) {
  EXPECT_THAT(Message("sha256:" + std::string(64, 'a'), Reason::kCheckpointNotFound),
              HasSubstr("nothing resident"));
}

TEST(HubName, IsAPathARevisionAndNoMore) {
  EXPECT_EQ(ParseHubName("org/name"), (HubName{"org/name", "main"}));
  EXPECT_EQ(ParseHubName("gpt2"), (HubName{"gpt2", "main"}));
  EXPECT_EQ(ParseHubName("org/name@v1.0"), (HubName{"org/name", "v1.0"}));
  EXPECT_EQ(ParseHubName("org/name/unet@refs/pr/1"), (HubName{"org/name/unet", "refs/pr/1"}));
  for (const char* none :
       {"", "@main", "org/name@", "../name", "org/../x", "/org/name", "org//name", "-x/y", "~/x",
        "a b/c", "org/name@../../x", "org/name@a/./b"}) {
    EXPECT_EQ(ParseHubName(none), std::nullopt) << none;
  }
}

TEST_F(DirectoryTest, FindsAModelOfTheHubInARootThatIsACache) {
  WriteModel("a", "org--name", kCommit, "new");
  WriteModel("a", "org--name", kOlder, "old");
  dir_.Write("a/models--org--name/refs/main", kCommit);
  dir_.Write("a/models--org--name/refs/v1", std::string(kOlder) + "\n");
  dir_.Write("a/models--org--name/refs/refs/pr/7", kOlder);
  EXPECT_THAT(Files("org/name"), ElementsAre("model.safetensors=new"));
  EXPECT_THAT(Files("org/name@main"), ElementsAre("model.safetensors=new"));
  EXPECT_THAT(Files("org/name@v1"), ElementsAre("model.safetensors=old"));
  EXPECT_THAT(Files("org/name@refs/pr/7"), ElementsAre("model.safetensors=old"));
  EXPECT_THAT(Files(std::string("org/name@") + kOlder), ElementsAre("model.safetensors=old"));
  EXPECT_THAT(Files("org/name/unet@v1"), ElementsAre("model.safetensors=unet of old"));
  EXPECT_THAT(Files("org/name/model.safetensors"), ElementsAre("model.safetensors=new"));
  EXPECT_EQ((*resolver_.Resolve("org/name"))->files[0].path,
            dir_ / ("a/models--org--name/blobs/" + std::string(kCommit)));
}

TEST_F(DirectoryTest, FindsAModelOfTheHubInTheHubDirectoryOfARoot) {
  WriteModel("b/hub", "org--name", kCommit, "m");
  dir_.Write("b/hub/models--org--name/refs/main", kCommit);
  EXPECT_THAT(Files("org/name"), ElementsAre("model.safetensors=m"));
}

TEST_F(DirectoryTest, FindsAModelWithoutAnOrganisation) {
  WriteModel("a", "gpt2", kCommit, "m");
  dir_.Write("a/models--gpt2/refs/main", kCommit);
  EXPECT_THAT(Files("gpt2"), ElementsAre("model.safetensors=m"));
  EXPECT_THAT(Files("gpt2/unet"), ElementsAre("model.safetensors=unet of m"));
}

TEST_F(DirectoryTest, APathBelowARootWinsOverANameOfTheHub) {
  WriteModel("a", "org--name", kCommit, "of the hub");
  dir_.Write("a/models--org--name/refs/main", kCommit);
  dir_.Write("b/org/name/model.safetensors", "of the root");
  EXPECT_THAT(Files("org/name"), ElementsAre("model.safetensors=of the root"));
  EXPECT_THAT(Files("org/name@main"), ElementsAre("model.safetensors=of the hub"));
}

TEST_F(DirectoryTest, SaysWhatACacheHasInstead) {
  WriteModel("a", "org--name", kCommit, "m");
  dir_.Write("a/models--org--name/refs/main", kCommit);
  const std::string revision = Message("org/name@v2", Reason::kCheckpointNotFound);
  EXPECT_THAT(revision, HasSubstr("revision `v2`"));
  EXPECT_THAT(revision, HasSubstr("main"));
  Refused(std::string("org/name@") + kOlder, Reason::kCheckpointNotFound).IgnoreError();
  EXPECT_THAT(Message("org/name/vae", Reason::kCheckpointNotFound), HasSubstr("vae"));
  EXPECT_THAT(Message("org/other@main", Reason::kCheckpointNotFound),
              HasSubstr("Hugging Face cache"));
  dir_.Write("a/models--org--cut/refs/main", kOlder);
  Refused("org/cut", Reason::kCheckpointNotFound).IgnoreError();
}

TEST_F(DirectoryTest, ACacheCannotLeadOutOfTheRoots) {
  dir_.Write("out/x/model.safetensors", "secret");
  dir_.Write("a/models--org--ref/refs/main", "../../../out/x");
  Refused("org/ref", Reason::kCheckpointMalformed).IgnoreError();
  dir_.Symlink(dir_ / "out/secret.safetensors", "a/models--org--linked/refs/main");
  Refused("org/linked", Reason::kPathNotAllowed).IgnoreError();
  dir_.Write("a/models--org--snap/refs/main", kCommit);
  dir_.Symlink(dir_ / "out/x", std::string("a/models--org--snap/snapshots/") + kCommit);
  Refused("org/snap", Reason::kPathNotAllowed).IgnoreError();
  dir_.Symlink(dir_ / "out", "a/models--org--whole");
  Refused("org/whole", Reason::kPathNotAllowed).IgnoreError();
}

}  // namespace
}  // namespace modeld::reference
