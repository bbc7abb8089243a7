#include "rpc/status.h"

#include <string>
#include <string_view>
#include <utility>

#include "modeld/v1/error.pb.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/utf8.h"

namespace modeld::rpc {
namespace {

// Percent-encoding may triple the message, base64 adds a third to the details.
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxValueBytes = 512;
constexpr size_t kMaxDetailBytes = 3072;

std::string WithoutMiddle(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  constexpr std::string_view kGap = " ... ";
  const size_t half = (limit - kGap.size()) / 2;
  std::string cut(text.substr(0, half));
  cut += kGap;
  cut += text.substr(text.size() - half);
  // A character that was cut in two is three bytes of replacement at most: the limits have room for
  // that.
  return wire::ToUtf8(cut);
}

std::string BoundedDetail(std::string serialized) {
  if (serialized.size() <= kMaxValueBytes) return serialized;
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(serialized)) return {};
  detail.set_hint(WithoutMiddle(detail.hint(), kMaxValueBytes));
  for (auto& [key, value] : *detail.mutable_metadata())
    value = WithoutMiddle(value, kMaxValueBytes);
  // The reason is what programs need: it goes in any case.
  if (detail.ByteSizeLong() > kMaxDetailBytes) detail.clear_metadata();
  return detail.SerializeAsString();
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      WithoutMiddle(wire::ToStd(status.message()), kMaxMessageBytes),
                      BoundedDetail(wire::SerializeDetail(status)));
}

}  // namespace modeld::rpc
