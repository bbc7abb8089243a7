#include "memory/page_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/host_pages.h"

namespace modeld::memory {
namespace {

TEST(PageChoice, IsWhatSegmentsReallyGet) {
  const PageChoice choice = ProbePages();
  EXPECT_EQ(choice.page_size_bytes,
            choice.kind == PageKind::kSmall ? SmallPageBytes() : kHugePageBytes);
  auto fd = CreateMemfd("page-choice-test", 4 * kHugePageBytes, choice.kind);
  ASSERT_TRUE(fd.ok()) << fd.status();
  auto mapping = MapWritable(fd->get(), 4 * kHugePageBytes, choice.kind);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(mapping->data()) % kHugePageBytes, 0u);
  const auto huge_bytes = Populate(mapping->data(), mapping->size_bytes(), choice.kind);
  ASSERT_TRUE(huge_bytes.ok()) << huge_bytes.status();
  if (choice.kind == PageKind::kSmall) {
    EXPECT_EQ(*huge_bytes, 0u);
  } else {
    EXPECT_GT(*huge_bytes, 0u);
  }
}

TEST(PageChoice, TellsOperatorsWhyAndWhatWouldBeFaster) {
  const PageChoice choice = ProbePages();
  if (choice.kind == PageKind::kSmall) {
    EXPECT_THAT(choice.note, testing::HasSubstr("shmem_enabled"));
    EXPECT_THAT(choice.note, testing::HasSubstr("vm.nr_hugepages"));
  } else {
    EXPECT_THAT(choice.note, testing::HasSubstr("2 MiB pages"));
  }
}

}  // namespace
}  // namespace modeld::memory
