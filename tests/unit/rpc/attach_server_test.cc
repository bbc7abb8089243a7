#include "rpc/attach_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "harness.h"
#include "wire/memfd.h"

namespace modeld::rpc {
namespace {

// True once modeld has hung up; what it still said is skipped.
bool HungUp(AttachClient& client) {
  while (client.Receive()) {
  }
  return true;
}

TEST(AttachServer, WelcomesEachClientWithASecretOfItsOwn) {
  Harness harness;
  AttachClient first(harness);
  AttachClient second(harness);
  EXPECT_EQ(first.session_id().size(), kSessionIdBytes);
  EXPECT_NE(first.session_id(), second.session_id());
}

TEST(AttachServer, GivesTheDescriptorsOfOnesOwnLease) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-3");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);

  const AttachClient::Answer answer = worker.attach.GetLeaseFds(granted->lease_id(), true);
  EXPECT_FALSE(answer.last.has_refused());
  EXPECT_EQ(answer.last.request_id(), 42u);
  EXPECT_EQ(answer.last.fd_count(), 4u);
  // The digests are not known yet.
  EXPECT_FALSE(answer.last.has_digests());
  ASSERT_EQ(answer.fds.size(), 4u);
  EXPECT_TRUE(wire::CheckSealed(answer.fds[0].get(), granted->table_size_bytes()).ok());
  ASSERT_EQ(granted->segments_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(wire::CheckSealed(answer.fds[i + 1].get(), granted->segments(i).size_bytes()).ok());
  }
}

TEST(AttachServer, AddsTheDigestTableOnceItIsKnownAndWanted) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  auto digests = std::make_shared<residency::ResidentDigests>();
  digests->content = std::make_shared<const plan::ContentDigests>();
  digests->table_fd = wire::MakeSealedMemfd("digests", std::string(32, 'd')).value();
  harness.manager().OnDigest(granted->residency_id(), digests);
  const auto update = lease->Read();
  ASSERT_TRUE(update);
  EXPECT_TRUE(update->has_digest_known());

  EXPECT_EQ(worker.attach.GetLeaseFds(granted->lease_id(), false).fds.size(), 2u);
  const AttachClient::Answer answer = worker.attach.GetLeaseFds(granted->lease_id(), true);
  EXPECT_TRUE(answer.last.has_digests());
  ASSERT_EQ(answer.fds.size(), 3u);
  EXPECT_TRUE(wire::CheckSealed(answer.fds[2].get(), 32).ok());
}

TEST(AttachServer, SendsMoreDescriptorsThanOneMessageTakesInSeveral) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-600");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  const AttachClient::Answer answer = worker.attach.GetLeaseFds(granted->lease_id());
  EXPECT_EQ(answer.frames, 3);
  EXPECT_EQ(answer.fds.size(), 601u);
}

TEST(AttachServer, KeepsALeaseFromAnyOtherSession) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  AttachClient thief(harness);
  for (const std::string& id : {granted->lease_id(), std::string("999"), std::string("x")}) {
    const AttachClient::Answer answer = thief.GetLeaseFds(id);
    EXPECT_TRUE(answer.fds.empty());
    ASSERT_TRUE(answer.last.has_refused());
    EXPECT_EQ(answer.last.refused().detail().reason(), "RESIDENCY_NOT_FOUND");
  }
}

TEST(AttachServer, GivesNothingForALeaseThatHasEnded) {
  Harness harness;
  Worker worker(harness);
  auto lease = worker.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  lease.reset();
  EXPECT_TRUE(Eventually([&] { return harness.lease_count() == 0; }));
  EXPECT_TRUE(worker.attach.GetLeaseFds(granted->lease_id()).last.has_refused());
}

class AttachGarbage : public ::testing::TestWithParam<std::string> {};

TEST_P(AttachGarbage, ClosesThatConnectionAndHarmsNobody) {
  Harness harness;
  Worker neighbour(harness);
  AttachClient rude(harness);
  const std::string& garbage = GetParam();
  ASSERT_GT(::send(rude.socket().fd(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 0);
  EXPECT_TRUE(HungUp(rude));
  const auto lease = neighbour.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  EXPECT_EQ(neighbour.attach.GetLeaseFds(granted->lease_id()).fds.size(), 2u);
}

std::string FrameOf(const std::string& payload, uint32_t claimed_bytes) {
  auto pair = wire::UnixPair();
  wire::FramedSocket socket(std::move(pair->first));
  EXPECT_TRUE(socket.Send(payload).ok());
  std::string bytes(payload.size() + 16, '\0');
  EXPECT_EQ(::read(pair->second.get(), bytes.data(), bytes.size()), std::ssize(bytes));
  std::memcpy(bytes.data() + 4, &claimed_bytes, sizeof(claimed_bytes));
  return bytes;
}

INSTANTIATE_TEST_SUITE_P(Of, AttachGarbage,
                         ::testing::Values(std::string(64, 'G'), std::string(4096, '\0'),
                                           std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                                           FrameOf("\xff\xff\xff", 3),             // no message
                                           FrameOf("", 0),                         // no request
                                           FrameOf(std::string(5000, 'x'), 5000),  // over 4 KiB
                                           FrameOf("x", 0xffffffff)));             // claims 4 GiB

TEST(AttachServer, ClosesAConnectionThatSendsADescriptor) {
  Harness harness;
  AttachClient rude(harness);
  v1::AttachClientMessage request;
  request.mutable_get_lease_fds()->set_lease_id("1");
  const int fds[] = {STDIN_FILENO};
  ASSERT_TRUE(rude.socket().Send(request.SerializeAsString(), fds).ok());
  EXPECT_TRUE(HungUp(rude));
}

TEST(AttachServer, ClosesAConnectionThatAsksAndNeverReads) {
  Harness harness;
  Worker neighbour(harness);
  Worker deaf(harness);
  const auto lease = deaf.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  v1::AttachClientMessage request;
  request.mutable_get_lease_fds()->set_lease_id(granted->lease_id());
  const std::string bytes = request.SerializeAsString();
  // The daemon hangs up before this many answers can lie around.
  absl::Status sent;
  for (int i = 0; i < 100'000 && sent.ok(); ++i) sent = deaf.attach.socket().Send(bytes);
  EXPECT_EQ(sent.code(), absl::StatusCode::kUnavailable);

  // The lease belongs to the stream, and lives; the session is over.
  EXPECT_EQ(harness.lease_count(), 1u);
  Lease another(*deaf.channel, deaf.attach.session_id(), RequestFor("model-1"));
  EXPECT_EQ(ReasonOf(another.Finish()), wire::Reason::kSessionInvalid);
  const auto theirs = neighbour.Acquire("model-1");
  EXPECT_TRUE(theirs->ReadGranted());
}

TEST(AttachServer, AnswersManyRequestsThatCameAtOnceInOrder) {
  Harness harness;
  Worker worker(harness);
  const auto lease = worker.Acquire("model-1");
  const auto granted = lease->ReadGranted();
  ASSERT_TRUE(granted);
  // Fewer than a turn reads and more than one, but no more answers than the daemon lets lie unread.
  constexpr uint64_t kRequests = 20;
  for (uint64_t i = 0; i < kRequests; ++i) {
    v1::AttachClientMessage request;
    request.mutable_get_lease_fds()->set_request_id(i);
    request.mutable_get_lease_fds()->set_lease_id(i % 2 == 0 ? granted->lease_id() : "0");
    ASSERT_TRUE(worker.attach.socket().Send(request.SerializeAsString()).ok());
  }
  for (uint64_t i = 0; i < kRequests; ++i) {
    const auto answer = worker.attach.Receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->lease_fds().request_id(), i);
    EXPECT_EQ(answer->lease_fds().has_refused(), i % 2 == 1);
  }
}

TEST(AttachServer, RefusesOneClientTooManyAndSaysSo) {
  Harness harness({.max_sessions = 2});
  AttachClient first(harness);
  auto second = std::make_unique<AttachClient>(harness);
  wire::FramedSocket third(wire::ConnectUnix(harness.path("attach.sock")).value());
  const auto frame = third.Receive();
  ASSERT_TRUE(frame.ok());
  v1::AttachServerMessage message;
  ASSERT_TRUE(message.ParseFromString(frame->payload));
  EXPECT_EQ(message.refused().code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_FALSE(third.Receive().ok());
  // A place that is given up can be had.
  second.reset();
  EXPECT_TRUE(Eventually([&] { return !AttachClient(harness).session_id().empty(); }));
}

}  // namespace
}  // namespace modeld::rpc
