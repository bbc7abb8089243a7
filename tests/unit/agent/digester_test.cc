#include "agent/digester.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <future>
#include <string>
#include <vector>

#include "agent/messages.h"
#include "memory/host_segment.h"
#include "wire/digest.h"
#include "wire/tensor_table.h"

namespace modeld::agent {
namespace {

// A residency of one tensor with `size_bytes` bytes of `value`.
std::shared_ptr<Residency> Make(const std::string& id, uint64_t size_bytes, int value) {
  const uint64_t segment_bytes =
      (size_bytes / wire::kSegmentUnitBytes + 1) * wire::kSegmentUnitBytes;
  memory::HostAllocator allocator{memory::PageChoice{}};
  auto fill = allocator.Allocate(id, segment_bytes);
  EXPECT_TRUE(fill.ok()) << fill.status();
  for (uint64_t at = 0; at < size_bytes; at += memory::kMaxWindowBytes) {
    auto window = (*fill)->Open(at, std::min(memory::kMaxWindowBytes, size_bytes - at));
    EXPECT_TRUE(window.ok()) << window.status();
    std::memset(window->data, value, window->size_bytes);
  }
  auto residency = std::make_shared<Residency>();
  residency->id = id;
  residency->segments.push_back(
      std::make_shared<HeldSegment>(HeldSegment{SegmentId(id, 0), *(*fill)->Export()}));
  wire::TableBuilder table;
  table.AddRegion(segment_bytes);
  const int64_t shape[] = {static_cast<int64_t>(size_bytes)};
  const int64_t strides[] = {1};
  table.Add({.name = "t",
             .dtype = wire::DType::kU8,
             .shape = shape,
             .strides = strides,
             .size_bytes = size_bytes});
  auto sealed = plan::SealedTable::Make(table.Build(), {});
  EXPECT_TRUE(sealed.ok()) << sealed.status();
  residency->table = *sealed;
  return residency;
}

TEST(Digester, ComputesTheDigestOfWhatIsResident) {
  std::promise<std::shared_ptr<const Digests>> known;
  Digester digester(
      [&](const std::string& id, absl::StatusOr<std::shared_ptr<const Digests>> digests) {
        EXPECT_EQ(id, "a");
        known.set_value(*std::move(digests));
      });
  const auto residency = Make("a", 5'000'000, 7);
  digester.Add(residency);
  const auto digests = known.get_future().get();
  const std::vector<std::byte> bytes(5'000'000, std::byte{7});
  const wire::Digest tensor = wire::TensorDigest(bytes);
  EXPECT_EQ(digests->weights, wire::WeightsDigest(residency->table->view(), {&tensor, 1}));
}

TEST(Digester, RestsWhileLoadsRun) {
  std::promise<void> known;
  Digester digester([&](const std::string&, absl::StatusOr<std::shared_ptr<const Digests>>) {
    known.set_value();
  });
  digester.LoadBegan();
  digester.Add(Make("a", 100, 1));
  auto future = known.get_future();
  EXPECT_EQ(future.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  digester.LoadEnded();
  future.get();
}

TEST(Digester, LetsGoOfAResidencyBeforeForgetReturns) {
  Digester digester([](const std::string&, absl::StatusOr<std::shared_ptr<const Digests>>) {});
  auto current = Make("current", 64 << 20, 1);
  auto queued = Make("queued", 100, 1);
  const std::weak_ptr<Residency> watch_current = current;
  const std::weak_ptr<Residency> watch_queued = queued;
  digester.Add(current);
  digester.Add(queued);
  digester.Forget(queued.get());
  digester.Forget(current.get());
  current.reset();
  queued.reset();
  EXPECT_TRUE(watch_current.expired());
  EXPECT_TRUE(watch_queued.expired());
}

TEST(Digester, EndsInTheMiddleOfADigest) {
  auto residency = Make("a", 256 << 20, 1);
  const auto start = std::chrono::steady_clock::now();
  {
    Digester digester([](const std::string&, absl::StatusOr<std::shared_ptr<const Digests>>) {});
    digester.Add(residency);
    digester.LoadBegan();  // also while it rests
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace modeld::agent
