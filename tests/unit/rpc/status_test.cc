#include "rpc/status.h"

#include <gtest/gtest.h>

#include <string>

#include "modeld/v1/error.pb.h"
#include "wire/error.h"

namespace modeld::rpc {
namespace {

// A gRPC client's default limit for trailing metadata.
constexpr size_t kMetadataBytes = 8192;

// As gRPC sends them: percent-encoded and in base64.
size_t WireSize(const grpc::Status& status) {
  size_t size = status.error_details().size() * 4 / 3 + 4;
  for (const char c : status.error_message()) size += c >= 0x20 && c < 0x7f && c != '%' ? 1 : 3;
  return size;
}

TEST(ToGrpcStatus, KeepsCodeMessageAndDetail) {
  const grpc::Status status = ToGrpcStatus(wire::MakeError(
      wire::Reason::kCheckpointMalformed, "bad header", {{"file", "a"}}, "mend it"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "bad header");
  v1::ErrorDetail detail;
  ASSERT_TRUE(detail.ParseFromString(status.error_details()));
  EXPECT_EQ(detail.reason(), "CHECKPOINT_MALFORMED");
  EXPECT_EQ(detail.metadata().at("file"), "a");
  EXPECT_EQ(detail.hint(), "mend it");
}

TEST(ToGrpcStatus, OfOkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(ToGrpcStatus, FitsIntoTrailingMetadataHoweverMuchThereIsToSay) {
  std::string path;
  while (path.size() < 4096) path += "/d\xc3\xa9p\xc3\xb4t";
  wire::ErrorMetadata metadata;
  for (int i = 0; i < 100; ++i) metadata["holder" + std::to_string(i)] = path;
  const grpc::Status status =
      ToGrpcStatus(wire::MakeError(wire::Reason::kResidencyLeased, path + path, metadata, path));
  EXPECT_LT(WireSize(status), kMetadataBytes - 1024);
  v1::ErrorDetail detail;
  ASSERT_TRUE(detail.ParseFromString(status.error_details()));
  EXPECT_EQ(detail.reason(), "RESIDENCY_LEASED");
}

TEST(ToGrpcStatus, CutsTheMiddleOutOfALongMessage) {
  const std::string message = "begin" + std::string(5000, 'x') + "end";
  const grpc::Status status = ToGrpcStatus(absl::InternalError(message));
  EXPECT_TRUE(status.error_message().starts_with("begin"));
  EXPECT_TRUE(status.error_message().ends_with("end"));
  EXPECT_LE(status.error_message().size(), 1024u);
}

}  // namespace
}  // namespace modeld::rpc
