#include "checkpoint/zip_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "support/temp_dir.h"
#include "support/zip_writer.h"
#include "wire/error.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

// An archive on disk, open.
class Archive {
 public:
  explicit Archive(const std::string& bytes) : path_(dir_.Write("a.zip", bytes)) {
    fd_ = wire::UniqueFd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    file_ = {.path = path_, .name = path_, .fd = fd_.get(), .size_bytes = bytes.size()};
  }
  const InputFile& file() const { return file_; }

 private:
  test::TempDir dir_;
  std::string path_;
  wire::UniqueFd fd_;
  InputFile file_;
};

TEST(ZipReader, RecordsAreFoundWhereTheirBytesLie) {
  for (const bool zip64 : {true, false}) {
    const test::ZipFile zip =
        test::WriteZip({{.name = "a/one", .bytes = "first"},
                        {.name = "a/two", .bytes = std::string(1000, 'x'), .local_extra = 200},
                        {.name = "a/folder/"},
                        {.name = "a/three", .bytes = std::string(5000, 'y'), .deflate = true}},
                       {.zip64 = zip64, .comment = "PK\x05\x06 not this one"});
    const Archive archive(zip.bytes);
    const auto reader = ZipReader::Open(archive.file());
    ASSERT_TRUE(reader.ok()) << reader.status();
    ASSERT_EQ(reader->records().size(), 4u);
    EXPECT_EQ(*reader->Locate(*reader->Find("a/one")), zip.data_offsets[0]);
    EXPECT_EQ(*reader->Locate(*reader->Find("a/two")), zip.data_offsets[1]);
    EXPECT_EQ(*reader->Read(*reader->Find("a/one"), 5), "first");
    EXPECT_TRUE(reader->Find("a/three")->deflated);
    EXPECT_EQ(*reader->Read(*reader->Find("a/three"), 5000), std::string(5000, 'y'));
    EXPECT_EQ(reader->Find("a/four"), nullptr);
  }
}

TEST(ZipReader, SizesAndOffsetsMayBeInTheZip64Field) {
  const std::string bytes(77, 'z');
  const std::string extra = test::Little(0x4646, 2) + test::Little(2, 2) + "ab" +
                            test::Little(1, 2) + test::Little(24, 2) + test::Little(77, 8) +
                            test::Little(77, 8) + test::Little(0, 8);
  const test::ZipFile zip = test::WriteZip({{.name = "a",
                                             .bytes = bytes,
                                             .size_lie = 0xffffffff,
                                             .stored_lie = 0xffffffff,
                                             .offset_lie = 0xffffffff,
                                             .extra = extra}});
  const Archive archive(zip.bytes);
  const auto reader = ZipReader::Open(archive.file());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(*reader->Read(reader->records()[0], 100), bytes);
}

TEST(ZipReader, ALimitIsSaidBeforeAnythingIsRead) {
  const test::ZipFile zip = test::WriteZip({{.name = "a", .bytes = std::string(100, 'x')}});
  const Archive archive(zip.bytes);
  const auto reader = ZipReader::Open(archive.file());
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(wire::GetReason(reader->Read(reader->records()[0], 99).status()),
            wire::Reason::kFormatUnsupported);
}

TEST(ZipReader, AnEmptyArchiveHasNoRecords) {
  const Archive archive(test::WriteZip({}).bytes);
  const auto reader = ZipReader::Open(archive.file());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE(reader->records().empty());
}

}  // namespace
}  // namespace modeld::checkpoint
