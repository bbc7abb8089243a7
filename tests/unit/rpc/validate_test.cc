#include "rpc/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "wire/error.h"

namespace modeld::rpc {
namespace {

using wire::Reason;

constexpr base::TimePoint kNow{std::chrono::hours(1)};

v1::AcquireRequest Good() {
  v1::AcquireRequest request;
  request.mutable_spec()->set_reference("backbone.safetensors");
  return request;
}

absl::StatusOr<residency::AcquireRequest> Check(const v1::AcquireRequest& request) {
  const Session session{.number = 3, .id = "", .pid = 4, .uid = 5, .gid = 6, .program = "worker"};
  return ToAcquireRequest(request, session, kNow);
}

absl::Status With(const std::function<void(v1::AcquireRequest&)>& change) {
  v1::AcquireRequest request = Good();
  change(request);
  return Check(request).status();
}

TEST(ToAcquireRequest, CarriesTheVerifiedHolder) {
  v1::AcquireRequest request = Good();
  request.set_scope("world/stage");
  request.mutable_spec()->set_device("host");
  const auto result = Check(request);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->spec.device, "host");
  EXPECT_EQ(result->holder.session, 3u);
  EXPECT_EQ(result->holder.pid, 4);
  EXPECT_EQ(result->holder.uid, 5u);
  EXPECT_EQ(result->holder.gid, 6u);
  EXPECT_EQ(result->holder.program, "worker");
  EXPECT_EQ(result->holder.scope, "world/stage");
  EXPECT_FALSE(result->deadline);
  EXPECT_FALSE(result->resume);
}

TEST(ToAcquireRequest, RefusesFieldsOutOfBounds) {
  const std::function<void(v1::AcquireRequest&)> changes[] = {
      [](auto& r) { r.mutable_spec()->clear_reference(); },
      [](auto& r) { r.mutable_spec()->set_reference(std::string(4097, 'x')); },
      [](auto& r) { r.mutable_spec()->set_reference("not \xff UTF-8"); },
      [](auto& r) { r.mutable_spec()->set_reference(std::string("a\0b", 3)); },
      [](auto& r) { r.mutable_spec()->set_instance(std::string(129, 'x')); },
      [](auto& r) { r.mutable_spec()->set_instance("a\nb"); },
      [](auto& r) { r.set_scope(std::string(1025, 'x')); },
      [](auto& r) { r.set_scope("a\x1b[2Jb"); },
      [](auto& r) {
        r.set_scope(
            "a\xc2\x9b"
            "2Jb");
      },
      [](auto& r) {
        r.mutable_spec()->set_instance("mine");
        r.mutable_spec()->set_private_copy(true);
      },
      [](auto& r) { r.mutable_wait_timeout()->set_seconds(-1); },
      [](auto& r) { r.mutable_wait_timeout()->set_nanos(-1); },
      [](auto& r) { r.mutable_wait_timeout()->set_nanos(1'000'000'000); },
      [](auto& r) { r.mutable_wait_timeout()->set_seconds(INT64_MAX); },
      [](auto& r) { r.mutable_resume(); },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    const absl::Status status = With(changes[i]);
    EXPECT_EQ(wire::GetReason(status), Reason::kFieldInvalid) << i;
    EXPECT_TRUE(wire::GetErrorInfo(status).metadata.contains("field")) << i;
  }
}

TEST(ToAcquireRequest, TakesFieldsAtTheirBounds) {
  EXPECT_TRUE(With([](auto& r) { r.mutable_spec()->set_reference(std::string(4096, 'x')); }).ok());
  EXPECT_TRUE(With([](auto& r) { r.mutable_spec()->set_instance(std::string(128, 'x')); }).ok());
  EXPECT_TRUE(With([](auto& r) { r.set_scope(std::string(1024, 'x')); }).ok());
  EXPECT_TRUE(With([](auto& r) { r.set_scope("w\xc3\xb6rld"); }).ok());
}

TEST(ToAcquireRequest, LeavesItToTheManagerWhichDevicesThereAre) {
  EXPECT_TRUE(With([](auto& r) { r.mutable_spec()->set_device("GPU-0"); }).ok());
  EXPECT_FALSE(With([](auto& r) { r.mutable_spec()->set_device("GPU\n0"); }).ok());
}

TEST(ToAcquireRequest, CountsTheTimeoutFromNow) {
  v1::AcquireRequest request = Good();
  request.mutable_wait_timeout()->set_seconds(2);
  request.mutable_wait_timeout()->set_nanos(7);
  EXPECT_EQ(Check(request)->deadline, kNow + std::chrono::seconds(2) + std::chrono::nanoseconds(7));
}

TEST(ToAcquireRequest, TakesTenThousandYearsForAsLongAsItTakes) {
  v1::AcquireRequest request = Good();
  request.mutable_wait_timeout()->set_seconds(315'576'000'000);
  const auto result = Check(request);
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->deadline);
}

TEST(ToPreloadRequest, RefusesACopyThatNobodyCouldGet) {
  v1::PreloadRequest request;
  request.mutable_spec()->set_reference("backbone.safetensors");
  EXPECT_TRUE(ToPreloadRequest(request, kNow).ok());
  request.mutable_spec()->set_private_copy(true);
  EXPECT_EQ(wire::GetReason(ToPreloadRequest(request, kNow).status()), Reason::kFieldInvalid);
}

}  // namespace
}  // namespace modeld::rpc
