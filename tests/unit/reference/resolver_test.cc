#include "reference/resolver.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::reference {
namespace {

using ::testing::HasSubstr;
using wire::Reason;

// Two roots and a place outside both, in one directory.
class ResolverTest : public ::testing::Test {
 protected:
  ResolverTest() {
    dir_.Mkdir("a");
    dir_.Mkdir("b");
    dir_.Write("out/secret.safetensors", "secret");
  }

  std::string Path(std::string_view name) const { return dir_ / name; }

  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference) {
    return resolver_.Resolve(reference);
  }

  // The bytes that `reference` leads to.
  std::string Read(const std::string& reference) {
    const auto checkpoint = Resolve(reference);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    if (!checkpoint.ok()) return {};
    char bytes[64];
    const ssize_t count = ::read((*checkpoint)->files.at(0).fd.get(), bytes, sizeof(bytes));
    return std::string(bytes, std::max<ssize_t>(count, 0));
  }

  absl::Status Refused(const std::string& reference, Reason reason) {
    const auto checkpoint = Resolve(reference);
    EXPECT_FALSE(checkpoint.ok()) << reference;
    EXPECT_EQ(wire::GetReason(checkpoint.status()), reason) << checkpoint.status();
    EXPECT_FALSE(wire::GetErrorInfo(checkpoint.status()).hint.empty());
    return checkpoint.status();
  }

  void ExpectRefused(const std::string& reference, Reason reason) {
    EXPECT_FALSE(Refused(reference, reason).ok());
  }

  std::string Message(const std::string& reference, Reason reason) {
    return std::string(Refused(reference, reason).message());
  }

  test::TempDir dir_;
  Resolver resolver_{ResolverOptions{.roots = {dir_ / "a", dir_ / "b"}}};
};

TEST_F(ResolverTest, OpensAnAbsolutePath) {
  const std::string path = dir_.Write("a/m.safetensors", "mmm");
  const auto checkpoint = Resolve(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->reference, path);
  ASSERT_EQ((*checkpoint)->files.size(), 1u);
  const plan::OpenFile& file = (*checkpoint)->files[0];
  EXPECT_EQ(file.path, path);

  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(file.identity.device, status.st_dev);
  EXPECT_EQ(file.identity.inode, status.st_ino);
  EXPECT_EQ(file.identity.size_bytes, 3u);
  EXPECT_EQ(file.identity.mtime_ns, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
  EXPECT_EQ(file.identity.ctime_ns, status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec);
}

TEST_F(ResolverTest, GivesAReadOnlyBlockingDescriptorThatIsNotInherited) {
  dir_.Write("a/m", "m");
  const auto checkpoint = Resolve("m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const int fd = (*checkpoint)->files[0].fd.get();
  EXPECT_EQ(::fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_PATH), O_RDONLY);
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST_F(ResolverTest, OpensAFileUri) {
  dir_.Write("a/my model", "m");
  EXPECT_EQ(Read("file://" + Path("a/my%20model")), "m");
}

TEST_F(ResolverTest, TriesTheRootsInTheirOrderForARelativeReference) {
  dir_.Write("b/m", "of b");
  EXPECT_EQ(Read("m"), "of b");
  dir_.Write("a/m", "of a");
  EXPECT_EQ(Read("m"), "of a");
  EXPECT_EQ(Read("./m"), "of a");
}

TEST_F(ResolverTest, NeverLooksInTheWorkingDirectory) {
  const auto before = std::filesystem::current_path();
  dir_.Write("out/here", "h");
  std::filesystem::current_path(Path("out"));
  ExpectRefused("here", Reason::kCheckpointNotFound);
  std::filesystem::current_path(before);
}

TEST_F(ResolverTest, FollowsSymlinksWithinARootAndIntoAnother) {
  dir_.Write("b/blobs/123", "blob");
  dir_.Symlink("../../b/blobs/123", "a/snapshot/relative");
  dir_.Symlink(Path("b/blobs/123"), "a/snapshot/absolute");
  dir_.Symlink("snapshot", "a/latest");
  EXPECT_EQ(Read("snapshot/relative"), "blob");
  EXPECT_EQ(Read(Path("a/latest/absolute")), "blob");
  EXPECT_EQ((*Resolve("latest/relative"))->files[0].path, Path("b/blobs/123"));
}

TEST_F(ResolverTest, OpensThroughADirectorySymlinkFromOutside) {
  dir_.Write("a/m", "m");
  dir_.Symlink(Path("a"), "out/link");
  EXPECT_EQ(Read(Path("out/link/m")), "m");
  EXPECT_THAT(Message(Path("out/link/missing"), Reason::kCheckpointNotFound),
              HasSubstr(Path("a/missing")));
}

TEST_F(ResolverTest, TakesARootThatIsItselfASymlink) {
  dir_.Write("out/data/m", "m");
  dir_.Symlink("out/data", "root");
  Resolver resolver({.roots = {Path("root")}});
  EXPECT_TRUE(resolver.Resolve(Path("root/m")).ok());
  EXPECT_TRUE(resolver.Resolve(Path("out/data/m")).ok());
  EXPECT_TRUE(resolver.Resolve("m").ok());
  EXPECT_FALSE(resolver.Resolve(Path("out/secret.safetensors")).ok());
}

TEST_F(ResolverTest, TakesTheRootOfTheFileSystem) {
  Resolver resolver({.roots = {"/"}});
  EXPECT_TRUE(resolver.Resolve(Path("out/secret.safetensors")).ok());
  EXPECT_TRUE(resolver.Resolve(Path("out/secret.safetensors").substr(1)).ok());
}

TEST_F(ResolverTest, RefusesEveryWayOutOfTheRoots) {
  const std::string secret = Path("out/secret.safetensors");
  dir_.Symlink(secret, "a/absolute");
  dir_.Symlink("../out/secret.safetensors", "a/relative");
  dir_.Symlink("../out", "a/directory");
  dir_.Symlink("directory", "a/twice");
  dir_.Mkdir("a/sub");
  for (const std::string& reference :
       {secret, std::string("../out/secret.safetensors"),
        std::string("sub/../../out/secret.safetensors"), Path("a/../out/secret.safetensors"),
        std::string("absolute"), std::string("relative"),
        std::string("directory/secret.safetensors"), std::string("twice/secret.safetensors"),
        "file://" + secret, Path("a/directory/../out/secret.safetensors")}) {
    const absl::Status status = Refused(reference, Reason::kPathNotAllowed);
    const std::string message(status.message());
    EXPECT_THAT(message, HasSubstr(secret));
    EXPECT_THAT(message, HasSubstr(Path("a")));
    EXPECT_THAT(message, HasSubstr(Path("b")));
    const auto info = wire::GetErrorInfo(status);
    EXPECT_EQ(info.metadata.at("real_path"), secret);
    EXPECT_THAT(info.hint, HasSubstr("--root " + Path("out")));
  }
}

TEST_F(ResolverTest, RefusesASiblingWhoseNameBeginsLikeARoot) {
  dir_.Write("ab/m", "m");
  ExpectRefused(Path("ab/m"), Reason::kPathNotAllowed);
}

TEST_F(ResolverTest, DoesNotTellWhetherSomethingOutsideExists) {
  dir_.Symlink("../out", "a/directory");
  dir_.Symlink("../out/secret.safetensors", "a/link");
  dir_.Symlink("../out/alias", "a/twice");
  dir_.Symlink("secret.safetensors", "out/alias");
  const std::vector<std::string> references = {Path("out/secret.safetensors"),
                                               "../out/secret.safetensors",
                                               "link",
                                               "twice",
                                               "directory/secret.safetensors",
                                               "directory/alias",
                                               "directory/x/secret.safetensors"};
  const auto refusals = [&] {
    std::vector<std::string> texts;
    for (const std::string& reference : references) {
      texts.push_back(Refused(reference, Reason::kPathNotAllowed).ToString());
    }
    return texts;
  };
  const auto there = refusals();
  std::filesystem::remove(Path("out/secret.safetensors"));
  EXPECT_EQ(refusals(), there);
  std::filesystem::remove(Path("out/alias"));
  EXPECT_EQ(refusals(), there);
  std::filesystem::remove(Path("out"));
  EXPECT_EQ(refusals(), there);
  dir_.Write("out/secret.safetensors/file", "a directory now");
  EXPECT_EQ(refusals(), there);
}

TEST_F(ResolverTest, TellsNothingOfOutsideThroughNamesThatAreNotThere) {
  EXPECT_THAT(Message("missing/../../out/secret.safetensors", Reason::kPathNotAllowed),
              HasSubstr(Path("out/secret.safetensors")));
}

TEST_F(ResolverTest, SaysWhereItLookedForWhatIsMissing) {
  const std::string message = Message("x/y", Reason::kCheckpointNotFound);
  EXPECT_THAT(message, HasSubstr(Path("a")));
  EXPECT_THAT(message, HasSubstr(Path("b")));
  EXPECT_THAT(Message(Path("a/x/y"), Reason::kCheckpointNotFound), HasSubstr(Path("a/x")));
  dir_.Symlink("blobs/1", "a/dangling");
  EXPECT_THAT(Message(Path("a/dangling"), Reason::kCheckpointNotFound), HasSubstr(Path("a/blobs")));
  dir_.Write("a/file", "f");
  EXPECT_THAT(Message(Path("a/file/x"), Reason::kCheckpointNotFound), HasSubstr("Not a directory"));
  EXPECT_THAT(Message(Path("a/file/"), Reason::kCheckpointNotFound), HasSubstr("Not a directory"));
}

TEST_F(ResolverTest, EndsSymlinkLoops) {
  dir_.Symlink("loop", "a/loop");
  dir_.Symlink("pong", "a/ping");
  dir_.Symlink("ping", "a/pong");
  EXPECT_THAT(Message(Path("a/loop"), Reason::kCheckpointNotFound), HasSubstr("symbolic links"));
  EXPECT_THAT(Message(Path("a/ping/x"), Reason::kCheckpointNotFound), HasSubstr("symbolic links"));
}

TEST_F(ResolverTest, RefusesSpecialFilesWithoutWaitingForThem) {
  ASSERT_EQ(::mkfifo(Path("a/fifo").c_str(), 0600), 0);
  EXPECT_THAT(Message("fifo", Reason::kFormatUnsupported), HasSubstr("fifo"));

  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, Path("a/socket").c_str(), sizeof(address.sun_path) - 1);
  const wire::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_THAT(Message("socket", Reason::kFormatUnsupported), HasSubstr("socket"));

  Resolver devices({.roots = {"/dev"}});
  const auto device = devices.Resolve("/dev/null");
  EXPECT_EQ(wire::GetReason(device.status()), Reason::kFormatUnsupported) << device.status();
}

TEST_F(ResolverTest, RefusesAnEmptyFile) {
  dir_.Write("a/empty", "");
  EXPECT_THAT(Message("empty", Reason::kCheckpointMalformed), HasSubstr(Path("a/empty")));
}

// Runs as somebody else as far as this thread's file accesses go, whoever runs the test.
class AsNobody {
 public:
  AsNobody() : uid_(::setfsuid(65534)), gid_(::setfsgid(65534)) {}
  ~AsNobody() {
    ::setfsuid(uid_);
    ::setfsgid(gid_);
  }

 private:
  const int uid_;
  const int gid_;
};

TEST_F(ResolverTest, SaysWhoMayNotReadWhat) {
  const std::string path = dir_.Write("a/locked", "l");
  dir_.Write("a/closed/m", "m");
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  ASSERT_EQ(::chmod(Path("a/closed").c_str(), 0), 0);
  {
    const AsNobody nobody;
    const std::string message = Message("locked", Reason::kReadFailed);
    EXPECT_THAT(message, HasSubstr(path));
    EXPECT_THAT(message, HasSubstr("Permission denied"));
    EXPECT_THAT(message, HasSubstr("mode 0000"));
    EXPECT_THAT(message, HasSubstr("uid " + std::to_string(::geteuid())));
    EXPECT_THAT(Message("closed/m", Reason::kReadFailed), HasSubstr(Path("a/closed")));
  }
  ASSERT_EQ(::chmod(Path("a/closed").c_str(), 0700), 0);
}

TEST_F(ResolverTest, WithoutRootsNothingIsAllowed) {
  Resolver resolver({.roots = {}});
  const auto checkpoint = resolver.Resolve(Path("a/m"));
  EXPECT_EQ(wire::GetReason(checkpoint.status()), Reason::kPathNotAllowed);
  EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr("no roots"));
}

TEST_F(ResolverTest, FindsARootThatComesLater) {
  Resolver resolver({.roots = {Path("later")}});
  EXPECT_EQ(wire::GetReason(resolver.Resolve("m").status()), Reason::kPathNotAllowed);
  dir_.Write("later/m", "m");
  EXPECT_TRUE(resolver.Resolve("m").ok());
  EXPECT_TRUE(resolver.Resolve(Path("later/m")).ok());
}

TEST_F(ResolverTest, FollowsARootThatIsReplaced) {
  dir_.Write("first/m", "first");
  dir_.Write("second/m", "second");
  dir_.Symlink("first", "current");
  Resolver resolver({.roots = {Path("current")}});
  ASSERT_TRUE(resolver.Resolve("m").ok());
  dir_.Symlink("second", "next");
  std::filesystem::rename(Path("next"), Path("current"));
  const auto checkpoint = resolver.Resolve("m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->files[0].path, Path("second/m"));
  EXPECT_EQ(wire::GetReason(resolver.Resolve(Path("first/m")).status()), Reason::kPathNotAllowed);
}

TEST_F(ResolverTest, RefusesAPathThatTheRootMakesTooLong) {
  std::string reference;
  while (reference.size() + 256 < kMaxReferenceBytes) reference += std::string(250, 'x') + "/";
  reference.resize(kMaxReferenceBytes - 1, 'y');
  ExpectRefused(reference, Reason::kFieldInvalid);
}

TEST_F(ResolverTest, LeavesNoDescriptorBehind) {
  dir_.Write("a/m", "m");
  dir_.Mkdir("a/directory");
  const auto count = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  (void)Resolve("/etc/passwd");  // opens both roots
  const auto before = count();
  for (int i = 0; i < 10; ++i) {
    (void)Resolve("m");
    (void)Resolve("missing");
    (void)Resolve("directory");
    (void)Resolve("/etc/passwd");
  }
  EXPECT_EQ(count(), before);
}

}  // namespace
}  // namespace modeld::reference
