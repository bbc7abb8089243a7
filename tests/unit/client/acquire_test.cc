#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modeld/client.h"
#include "scripted_daemon.h"
#include "support/thrown_error.h"
#include "wire/reference_table.h"

namespace modeld {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ThrownBy;
using testing::Call;
using testing::Checkpoint;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScriptedDaemon;

class Acquire : public ::testing::Test {
 protected:
  std::shared_ptr<Client> Connect() { return Client::Connect(daemon_.socket_path()); }
  Error AcquireError(const AcquireOptions& options = {}) {
    return ThrownBy([&] { Connect()->Acquire({.reference = "/models/m.safetensors"}, options); });
  }

  ScriptedDaemon daemon_;
};

TEST_F(Acquire, MapsWhatItWasGranted) {
  daemon_.on_acquire = [&](Call& call) {
    v1::Granted granted = daemon_.checkpoint->Grant(call.lease_id());
    granted.set_digest("sha256:" + std::string(64, 'a'));
    call.Grant(granted);
  };
  const auto model = Connect()->Acquire({.reference = "/models/m.safetensors"});
  EXPECT_EQ(model->size(), 3u);
  EXPECT_EQ(model->size_bytes(), 3u * 24);
  EXPECT_EQ(model->digest(), "sha256:" + std::string(64, 'a'));
  EXPECT_EQ(model->reference(), "/models/m.safetensors");
  EXPECT_EQ(model->residency_id(), "00000000000000a1");
  EXPECT_EQ(model->device(), "host");
  EXPECT_EQ(model->state(), Model::State::kHeld);

  const TensorView w = model->at("w.1");
  EXPECT_EQ(w.name, "w.1");
  EXPECT_EQ(DTypeName(w.dtype), "F32");
  EXPECT_THAT(w.shape, ElementsAre(2, 3));
  EXPECT_THAT(w.strides, ElementsAre(3, 1));
  ASSERT_EQ(w.size_bytes, 24u);
  const auto* bytes = static_cast<const unsigned char*>(w.data);
  for (size_t i = 0; i < w.size_bytes; ++i) EXPECT_EQ(bytes[i], (64 + i) % 251);
}

TEST_F(Acquire, KeepsTheOrderOfTheCheckpointItsMetadataAndItsFiles) {
  wire::ReferenceTableBuilder reference;
  reference.AddMetadata("format", "pt");
  reference.AddFile("tokenizer.json", "{}");
  daemon_.checkpoint->SetReferenceTable(reference.Build());
  const auto model = Connect()->Acquire({.reference = "/m"});
  ASSERT_EQ(model->file_count(), 1u);
  EXPECT_EQ(model->file(0).name, "tokenizer.json");
  EXPECT_EQ(model->file("tokenizer.json")->bytes.size(), 2u);
  EXPECT_FALSE(model->file("config.json"));
  EXPECT_EQ((*model)[0].name, "w.2");
  EXPECT_EQ((*model)[2].name, "w.0");
  ASSERT_EQ(model->metadata_size(), 1u);
  EXPECT_EQ(model->metadata(0), (std::pair<std::string_view, std::string_view>("format", "pt")));
  EXPECT_EQ(model->metadata("format"), "pt");
  EXPECT_EQ(model->metadata("other"), std::nullopt);
}

TEST_F(Acquire, AReferenceTableThatIsNoneIsRefused) {
  daemon_.checkpoint->SetReferenceTable("this is no reference table");
  const Error error = ThrownBy([&] { Connect()->Acquire({.reference = "/m"}); });
  EXPECT_EQ(error.reason(), "PROTOCOL_VIOLATION");
}

TEST_F(Acquire, NamesTheClosestTensors) {
  const auto model = Connect()->Acquire({.reference = "/m"});
  EXPECT_EQ(model->find("model.w.1"), std::nullopt);
  const Error error = ThrownBy([&] { model->at("model.w.1"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.reason(), "TENSOR_NOT_FOUND");
  EXPECT_STREQ(error.what(), "/m has no tensor \"model.w.1\"; the closest names are w.1");
}

TEST_F(Acquire, SendsWhatWasAskedFor) {
  setenv("MODELD_SCOPE", "world/stage", 1);
  const auto client = Connect();
  const auto first = client->Acquire({.reference = "/m", .instance = "second"},
                                     {.timeout = seconds(90), .scope = "a/b"});
  const auto second = client->Acquire({.reference = "/m", .device = "host", .private_copy = true});
  unsetenv("MODELD_SCOPE");
  const auto requests = daemon_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].spec().reference(), "/m");
  EXPECT_EQ(requests[0].spec().device(), "host");
  EXPECT_EQ(requests[0].spec().instance(), "second");
  EXPECT_EQ(requests[0].scope(), "a/b");
  EXPECT_NEAR(static_cast<double>(requests[0].wait_timeout().seconds()), 89.5, 0.6);
  EXPECT_FALSE(requests[0].has_resume());
  EXPECT_TRUE(requests[1].spec().private_copy());
  EXPECT_EQ(requests[1].scope(), "world/stage");
  EXPECT_FALSE(requests[1].has_wait_timeout());
}

TEST_F(Acquire, RefusesAReferenceThatIsEmptyOrNotUtf8) {
  const auto client = Connect();
  for (const std::string reference : {"", "/models/\xff"}) {
    const Error error = ThrownBy([&] { client->Acquire({.reference = reference}); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.reason(), "FIELD_INVALID");
  }
  EXPECT_EQ(daemon_.calls_begun(), 0);
}

TEST_F(Acquire, TellsProgressOnTheThreadThatWaits) {
  std::atomic<int> told{0};
  daemon_.on_acquire = [&](Call& call) { call.Progress(v1::Progress::LOADING, 5, 10); };
  Progress last = {};
  bool same_thread = true;
  const auto self = std::this_thread::get_id();
  const auto model =
      Connect()->Acquire({.reference = "/m"}, {.on_progress = [&](const Progress& progress) {
                           last = progress;
                           same_thread = same_thread && std::this_thread::get_id() == self;
                           ++told;
                           daemon_.ForEachCall([](Call& call) { call.Grant(); });
                         }});
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(same_thread);
  EXPECT_EQ(last.phase, Progress::Phase::kLoading);
  EXPECT_EQ(last.bytes_done, 5u);
  EXPECT_EQ(last.bytes_total, 10u);
}

TEST_F(Acquire, IsEndedByAnExceptionFromOnProgress) {
  daemon_.on_acquire = [&](Call& call) { call.Progress(v1::Progress::PLANNING, 0, 0); };
  const auto client = Connect();
  EXPECT_THROW(
      client->Acquire({.reference = "/m"},
                      {.on_progress = [](const Progress&) { throw std::logic_error("x"); }}),
      std::logic_error);
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Acquire, PassesOnReasonMetadataAndHint) {
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kBudgetExceeded, "5 bytes are needed, 3 are free",
                             {{"needed_bytes", "5"}}, "run `modelctl ps`"));
  };
  const Error error = AcquireError();
  EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(error.reason(), "BUDGET_EXCEEDED");
  EXPECT_EQ(error.metadata().at("needed_bytes"), "5");
  EXPECT_EQ(error.hint(), "run `modelctl ps`");
  EXPECT_STREQ(error.what(), "5 bytes are needed, 3 are free; run `modelctl ps`");
}

TEST_F(Acquire, PassesOnARefusalOfManyKilobytes) {
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kBudgetExceeded, "held",
                             {{"holders", std::string(40'000, 'h')}}));
  };
  EXPECT_EQ(AcquireError().metadata().at("holders").size(), 40'000u);
}

TEST_F(Acquire, GivesTheDaemonsOwnAnswerToATimeout) {
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kDeadlineExceeded, "it waited for room"));
  };
  const Error error = AcquireError({.timeout = milliseconds(1)});
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_STREQ(error.what(), "it waited for room");
}

TEST_F(Acquire, TimesOutByItselfWhenTheDaemonSaysNothing) {
  daemon_.on_acquire = [](Call&) {};
  const Error error = AcquireError({.timeout = milliseconds(30)});
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(error.reason(), "DEADLINE_EXCEEDED");
  EXPECT_THAT(error.what(), HasSubstr("/models/m.safetensors: modeld has not answered"));
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Acquire, SaysInATimeoutHowFarTheLoadHasCome) {
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 12, 340); };
  EXPECT_THAT(AcquireError({.timeout = milliseconds(200)}).what(), HasSubstr("12 of 340 bytes"));
}

TEST_F(Acquire, TakesTheLongestTimeoutThereIsForNone) {
  const auto model =
      Connect()->Acquire({.reference = "/m"}, {.timeout = std::chrono::nanoseconds::max()});
  EXPECT_FALSE(daemon_.requests().at(0).has_wait_timeout());
}

TEST_F(Acquire, PutsDescriptorsOfSeveralFramesTogether) {
  daemon_.checkpoint = Checkpoint::Make(3, /*extra_segments=*/20);
  daemon_.on_get_fds = [&](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
    ScriptedDaemon::AnswerFds(socket, question.request_id(), daemon_.Fds(), /*fds_a_frame=*/4);
  };
  EXPECT_EQ(Connect()->Acquire({.reference = "/m"})->size(), 3u);
}

TEST_F(Acquire, LeavesNoDescriptorOpen) {
  const auto count = [] {
    int open = 0;
    for (int fd = 0; fd < 1024; ++fd) open += fcntl(fd, F_GETFD) != -1;
    return open;
  };
  const auto client = Connect();
  const auto first = client->Acquire({.reference = "/first"});
  const int before = count();
  const auto second = client->Acquire({.reference = "/second"});
  EXPECT_EQ(count(), before);
}

TEST_F(Acquire, MapsATableOfManyTensors) {
  daemon_.checkpoint = Checkpoint::Make(20'000);
  const auto model = Connect()->Acquire({.reference = "/m"});
  EXPECT_EQ(model->size(), 20'000u);
  EXPECT_EQ(*static_cast<const unsigned char*>(model->at("w.19999").data), 19'999u * 64 % 251);
}

// ---- what a daemon must not do ----

class Violation : public Acquire {
 protected:
  // What it is, as Acquire says.
  std::string Caught() {
    const Error error = AcquireError({.timeout = seconds(20)});
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss) << error.what();
    EXPECT_EQ(error.reason(), "PROTOCOL_VIOLATION");
    EXPECT_TRUE(daemon_.WaitForOpenCalls(0)) << "the lease is given back";
    return error.what();
  }
  void AnswerWith(std::function<std::vector<int>()> fds) {
    daemon_.on_get_fds = [fds](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
      ScriptedDaemon::AnswerFds(socket, question.request_id(), fds());
    };
  }
  void GrantWith(std::function<void(v1::Granted&)> change) {
    daemon_.on_acquire = [this, change](Call& call) {
      v1::Granted granted = daemon_.checkpoint->Grant(call.lease_id());
      change(granted);
      call.Grant(granted);
    };
  }
};

TEST_F(Violation, ASegmentThatIsNotSealed) {
  const wire::UniqueFd open(memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(open.get(), 2 << 20), 0);
  AnswerWith([&] { return std::vector<int>{daemon_.checkpoint->table_fd.get(), open.get()}; });
  EXPECT_THAT(Caught(), HasSubstr("segment 0"));
}

TEST_F(Violation, ATableThatIsNotSealed) {
  const wire::UniqueFd open(memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const std::string& table = daemon_.checkpoint->table;
  ASSERT_EQ(write(open.get(), table.data(), table.size()), static_cast<ssize_t>(table.size()));
  AnswerWith([&] { return std::vector<int>{open.get(), daemon_.checkpoint->segments[0].get()}; });
  EXPECT_THAT(Caught(), HasSubstr("the tensor table"));
}

TEST_F(Violation, ASegmentOfAnotherSize) {
  GrantWith([](v1::Granted& granted) { granted.mutable_segments(0)->set_size_bytes(4 << 20); });
  EXPECT_THAT(Caught(), HasSubstr("segment 0"));
}

TEST_F(Violation, ATableOfAnotherSize) {
  GrantWith([](v1::Granted& granted) { granted.set_table_size_bytes(8); });
  EXPECT_THAT(Caught(), HasSubstr("the tensor table"));
}

TEST_F(Violation, ASizeThatNoMemoryHas) {
  GrantWith([](v1::Granted& granted) { granted.mutable_segments(0)->set_size_bytes(~0ull); });
  Caught();
}

TEST_F(Violation, ATableOfGarbage) {
  daemon_.checkpoint->table.assign(4096, 'g');
  daemon_.checkpoint->table_fd = *wire::MakeSealedMemfd("garbage", daemon_.checkpoint->table);
  EXPECT_THAT(Caught(), HasSubstr("tensor table"));
}

TEST_F(Violation, ATableThatReachesBeyondItsSegment) {
  daemon_.checkpoint = Checkpoint::Make(40'000);  // more than 2 MiB
  const auto small = Checkpoint::Make(3);
  daemon_.checkpoint->segments[0] = wire::UniqueFd(dup(small->segments[0].get()));
  daemon_.checkpoint->segment_sizes = small->segment_sizes;
  Caught();
}

TEST_F(Violation, ATableOfMoreSegmentsThanThereAre) {
  daemon_.checkpoint = Checkpoint::Make(3, 1);
  daemon_.checkpoint->segments.resize(1);
  daemon_.checkpoint->segment_sizes.resize(1);
  Caught();
}

TEST_F(Violation, TooFewDescriptors) {
  AnswerWith([&] { return std::vector<int>{daemon_.checkpoint->table_fd.get()}; });
  EXPECT_THAT(Caught(), HasSubstr("2 descriptors came with 1"));
}

TEST_F(Violation, TooManyDescriptors) {
  AnswerWith([&] { return std::vector<int>(5, daemon_.checkpoint->table_fd.get()); });
  Caught();
}

TEST_F(Violation, NoDescriptorsAtAll) {
  AnswerWith([] { return std::vector<int>(); });
  Caught();
}

TEST_F(Violation, GarbageOnTheAttachSocket) {
  daemon_.on_get_fds = [](wire::FramedSocket& socket, const v1::GetLeaseFds&) {
    (void)!write(socket.fd(), "garbage, garbage, garbage", 25);
  };
  Caught();
}

TEST_F(Violation, AnAnswerToAnotherQuestion) {
  daemon_.on_get_fds = [&](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
    ScriptedDaemon::AnswerFds(socket, question.request_id() + 1, daemon_.Fds());
  };
  Caught();
}

TEST_F(Violation, ASecondWelcome) {
  daemon_.on_get_fds = [](wire::FramedSocket& socket, const v1::GetLeaseFds&) {
    v1::AttachServerMessage message;
    message.mutable_welcome();
    (void)socket.Send(message.SerializeAsString());
  };
  Caught();
}

TEST_F(Violation, ACallThatEndsWithoutAWord) {
  daemon_.on_acquire = [](Call& call) { call.End(absl::OkStatus()); };
  Caught();
}

TEST_F(Violation, ALeaseWithoutAnId) {
  GrantWith([](v1::Granted& granted) { granted.clear_lease_id(); });
  Caught();
}

TEST_F(Violation, CostsOnlyTheConnection) {
  std::atomic<int> questions{0};
  daemon_.on_get_fds = [&](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
    if (questions++ == 0) {
      (void)!write(socket.fd(), "garbage, garbage, garbage", 25);
    } else {
      ScriptedDaemon::AnswerFds(socket, question.request_id(), daemon_.Fds());
    }
  };
  const auto client = Connect();
  EXPECT_EQ(ThrownBy([&] { client->Acquire({.reference = "/m"}); }).code(), ErrorCode::kDataLoss);
  EXPECT_EQ(client->Acquire({.reference = "/m"})->size(), 3u);
  EXPECT_EQ(daemon_.attach_connections(), 2);
}

TEST_F(Acquire, SaysWhichKindOfSegmentItCannotMap) {
  daemon_.on_acquire = [&](Call& call) {
    v1::Granted granted = daemon_.checkpoint->Grant(call.lease_id());
    granted.mutable_segments(0)->set_kind(v1::Segment::KIND_UNSPECIFIED);
    call.Grant(granted);
  };
  const Error error = AcquireError();
  EXPECT_EQ(error.reason(), "FORMAT_UNSUPPORTED");
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Acquire, PassesOnThatTheDescriptorsWereRefused) {
  daemon_.on_get_fds = [](wire::FramedSocket& socket, const v1::GetLeaseFds& question) {
    v1::AttachServerMessage message;
    message.mutable_lease_fds()->set_request_id(question.request_id());
    v1::Refused* refused = message.mutable_lease_fds()->mutable_refused();
    refused->set_code(static_cast<int>(absl::StatusCode::kNotFound));
    refused->set_message("no such lease");
    refused->mutable_detail()->set_reason("RESIDENCY_NOT_FOUND");
    (void)socket.Send(message.SerializeAsString());
  };
  const Error error = AcquireError();
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.reason(), "RESIDENCY_NOT_FOUND");
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

}  // namespace
}  // namespace modeld
