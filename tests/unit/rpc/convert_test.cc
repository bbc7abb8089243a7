#include "rpc/convert.h"

#include <gtest/gtest.h>

#include <chrono>

#include "wire/error.h"

namespace modeld::rpc {
namespace {

TEST(Convert, KnowsEveryTypeOfEvent) {
  const int last = static_cast<int>(residency::EventType::kStateNotSaved);
  for (int i = 0; i <= last; ++i) {
    residency::Event event;
    event.type = static_cast<residency::EventType>(i);
    v1::Event message;
    Fill(event, message);
    EXPECT_EQ(v1::Event::Type_Name(message.type()), residency::EventTypeName(event.type));
  }
  EXPECT_EQ(last + 1, v1::Event::Type_MAX);
}

TEST(Convert, KnowsEveryState) {
  for (int i = 0; i <= static_cast<int>(residency::State::kLost); ++i) {
    residency::ResidencyInfo info;
    info.state = static_cast<residency::State>(i);
    v1::Residency message;
    Fill(info, message);
    EXPECT_EQ(v1::Residency::State_Name(message.state()), residency::StateName(info.state));
  }
}

TEST(Convert, TellsTimesToTheNanosecondAlsoBeforeTheEpoch) {
  google::protobuf::Timestamp timestamp;
  Fill(base::WallTime(std::chrono::nanoseconds(-1)), timestamp);
  EXPECT_EQ(timestamp.seconds(), -1);
  EXPECT_EQ(timestamp.nanos(), 999'999'999);
}

TEST(Convert, SaysWhyAResidencyFailed) {
  residency::ResidencyInfo info;
  info.references = {"first", "second"};
  info.error = wire::MakeError(wire::Reason::kDeviceLost, "agent died \xff");
  v1::Residency message;
  Fill(info, message);
  EXPECT_EQ(message.reference(), "first");
  EXPECT_EQ(message.references_size(), 2);
  EXPECT_EQ(message.error_reason(), "DEVICE_LOST");
  EXPECT_FALSE(message.has_ready_time());
  // Protobuf refuses to read a string that is not UTF-8.
  EXPECT_TRUE(v1::Residency().ParseFromString(message.SerializeAsString()));
}

}  // namespace
}  // namespace modeld::rpc
