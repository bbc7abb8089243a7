// One process: equal specs are one Model and one lease.

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modeld/client.h"
#include "scripted_daemon.h"
#include "support/processes.h"
#include "support/thrown_error.h"

namespace modeld {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ThrownBy;
using testing::Call;
using testing::ScriptedDaemon;

class Sharing : public ::testing::Test {
 protected:
  std::shared_ptr<Client> Connect() { return Client::Connect(daemon_.socket_path()); }

  ScriptedDaemon daemon_;
};

TEST_F(Sharing, GivesEqualSpecsOneModelAndOneLease) {
  const auto first = Connect()->Acquire({.reference = "/m"});
  const auto second = Connect()->Acquire({.reference = "/m", .device = "host"});
  EXPECT_EQ(first, second);
  EXPECT_EQ(daemon_.calls_begun(), 1);
}

TEST_F(Sharing, GivesOtherSpecsOtherModels) {
  const auto client = Connect();
  const auto first = client->Acquire({.reference = "/m"});
  EXPECT_NE(first, client->Acquire({.reference = "/n"}));
  EXPECT_NE(first, client->Acquire({.reference = "/m", .instance = "second"}));
  EXPECT_EQ(daemon_.calls_begun(), 3);
}

TEST_F(Sharing, NeverSharesAPrivateCopy) {
  const auto client = Connect();
  const ModelSpec spec = {.reference = "/m", .private_copy = true};
  const auto first = client->Acquire(spec);
  const auto second = client->Acquire(spec);
  EXPECT_NE(first, second);
  EXPECT_EQ(daemon_.calls_open(), 2);
}

TEST_F(Sharing, AsksAnewForWhatIsSupersededOrShallGo) {
  for (const bool superseded : {true, false}) {
    const auto client = Connect();
    daemon_.on_acquire = [superseded](Call& call) {
      call.Grant();
      v1::AcquireUpdate update;
      if (superseded) {
        update.mutable_superseded()->set_alias("m");
      } else {
        update.mutable_drain_requested();
      }
      call.Send(update);
    };
    const auto old = client->Acquire({.reference = "m"});
    const auto state = superseded ? Model::State::kSuperseded : Model::State::kDraining;
    ASSERT_TRUE(test::Eventually([&] { return old->state() == state; }));
    daemon_.on_acquire = [](Call& call) { call.Grant(); };
    const auto fresh = client->Acquire({.reference = "m"});
    EXPECT_NE(fresh, old);
    EXPECT_EQ(fresh->state(), Model::State::kHeld);
    EXPECT_EQ(client->Acquire({.reference = "m"}), fresh);
  }
}

TEST_F(Sharing, KeepsGivingTheModelOfADaemonThatStops) {
  const auto client = Connect();
  daemon_.on_acquire = [](Call& call) {
    call.Grant();
    v1::AcquireUpdate update;
    update.mutable_drain_requested()->set_stopping(true);
    call.Send(update);
  };
  const auto model = client->Acquire({.reference = "m"});
  ASSERT_TRUE(test::Eventually([&] { return model->state() == Model::State::kDraining; }));
  EXPECT_EQ(client->Acquire({.reference = "m"}), model);
}

TEST_F(Sharing, SendsWhatIsWishedForBesidesTheSpec) {
  const auto client = Connect();
  client->Acquire({.reference = "m"}, {.wait_for_room = true, .keep_alive = seconds(90)});
  client->Acquire({.reference = "n"}, {.keep_alive = seconds(-1)});
  client->Acquire({.reference = "o"});
  const auto requests = daemon_.requests();
  EXPECT_TRUE(requests.at(0).wait_for_room());
  EXPECT_EQ(requests.at(0).keep_alive().seconds(), 90);
  EXPECT_LT(requests.at(1).keep_alive().seconds(), 0);
  EXPECT_FALSE(requests.at(2).wait_for_room());
  EXPECT_FALSE(requests.at(2).has_keep_alive());
}

TEST_F(Sharing, MakesOneCallForManyThreads) {
  std::atomic<int> waiting{0};
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 0, 1); };
  const auto client = Connect();
  constexpr int kThreads = 32;
  std::vector<std::shared_ptr<const Model>> models(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      models[i] = client->Acquire({.reference = "/m"},
                                  {.timeout = seconds(60), .on_progress = [&](const Progress&) {
                                     // All of them wait by now: the grant cannot have come before.
                                     if (++waiting == kThreads) {
                                       daemon_.ForEachCall([](Call& call) { call.Grant(); });
                                     }
                                   }});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(daemon_.calls_begun(), 1);
  for (const auto& model : models) EXPECT_EQ(model, models[0]);
}

TEST_F(Sharing, DoesNotFailAWaiterWithMoreTimeThanTheFirst) {
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 0, 1); };
  const auto client = Connect();
  std::thread first([&] {
    const Error error =
        ThrownBy([&] { client->Acquire({.reference = "/m"}, {.timeout = milliseconds(50)}); });
    EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  });
  ASSERT_TRUE(daemon_.WaitForBegunCalls(1));
  std::thread second(
      [&] { EXPECT_NE(client->Acquire({.reference = "/m"}, {.timeout = seconds(60)}), nullptr); });
  first.join();
  ASSERT_TRUE(daemon_.WaitForBegunCalls(2));
  ASSERT_TRUE(daemon_.WaitForOpenCalls(1));
  daemon_.ForEachCall([](Call& call) { call.Grant(); });
  second.join();
}

TEST_F(Sharing, AsksAgainForAWaiterWhoseTimeIsALittleLonger) {
  // The second joins the first, whose time the daemon then says is up.
  std::atomic<int> calls{0};
  daemon_.on_acquire = [&](Call& call) {
    if (calls++ == 0) {
      call.Progress(v1::Progress::LOADING, 0, 1);
    } else {
      call.Grant();
    }
  };
  const auto client = Connect();
  std::thread first(
      [&] { EXPECT_THROW(client->Acquire({.reference = "/m"}, {.timeout = seconds(30)}), Error); });
  ASSERT_TRUE(daemon_.WaitForBegunCalls(1));
  const auto end = [&](const Progress&) {
    daemon_.ForEachCall(
        [](Call& call) { call.End(wire::MakeError(wire::Reason::kDeadlineExceeded, "too late")); });
  };
  EXPECT_NE(client->Acquire({.reference = "/m"},
                            {.timeout = seconds(30) + milliseconds(100), .on_progress = end}),
            nullptr);
  EXPECT_EQ(calls, 2);
  first.join();
}

TEST_F(Sharing, LetsAShortWaiterGoWithoutTheOthers) {
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 0, 1); };
  const auto client = Connect();
  std::shared_ptr<const Model> model;
  std::thread patient([&] { model = client->Acquire({.reference = "/m"}); });
  ASSERT_TRUE(daemon_.WaitForBegunCalls(1));
  EXPECT_EQ(
      ThrownBy([&] { client->Acquire({.reference = "/m"}, {.timeout = milliseconds(20)}); }).code(),
      ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(daemon_.calls_begun(), 1);
  daemon_.ForEachCall([](Call& call) { call.Grant(); });
  patient.join();
  EXPECT_NE(model, nullptr);
}

TEST_F(Sharing, GivesAFailureToEveryWaiter) {
  std::atomic<int> waiting{0};
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 0, 1); };
  const auto client = Connect();
  constexpr int kThreads = 8;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const Error error = ThrownBy([&] {
        client->Acquire({.reference = "/m"}, {.on_progress = [&](const Progress&) {
                          if (++waiting < kThreads) return;
                          daemon_.ForEachCall([](Call& call) {
                            call.End(wire::MakeError(wire::Reason::kCheckpointMalformed, "bad"));
                          });
                        }});
      });
      refused += error.reason() == "CHECKPOINT_MALFORMED";
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, kThreads);
  EXPECT_EQ(daemon_.calls_begun(), 1);
}

TEST_F(Sharing, TriesAgainAfterAFailure) {
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kCheckpointNotFound, "no such file"));
  };
  const auto client = Connect();
  EXPECT_THROW(client->Acquire({.reference = "/m"}), Error);
  daemon_.on_acquire = [](Call& call) { call.Grant(); };
  EXPECT_NE(client->Acquire({.reference = "/m"}), nullptr);
}

// ---- the end of a Model ----

TEST_F(Sharing, KeepsTheLeaseUntilTheLastPointerIsGone) {
  auto first = Connect()->Acquire({.reference = "/m"});
  auto second = first;
  first.reset();
  EXPECT_EQ(daemon_.calls_open(), 1);
  EXPECT_EQ(second->at("w.0").size_bytes, 24u);
  second.reset();
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Sharing, OutlivesTheClient) {
  auto client = Connect();
  auto model = client->Acquire({.reference = "/m"});
  client.reset();
  EXPECT_EQ(model->state(), Model::State::kHeld);
  EXPECT_EQ(model->at("w.0").size_bytes, 24u);
  model.reset();
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Sharing, UnmapsBeforeItReleases) {
  std::atomic<bool> still_mapped{false};
  daemon_.on_ended = [&](const Call&) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("scripted-segment") != std::string::npos) still_mapped = true;
    }
  };
  auto model = Connect()->Acquire({.reference = "/m"});
  model.reset();
  ASSERT_TRUE(daemon_.WaitForOpenCalls(0));
  EXPECT_FALSE(still_mapped);
}

TEST_F(Sharing, AcquiresAnewWhileTheLastOneGoes) {
  const auto client = Connect();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        const auto model = client->Acquire({.reference = "/m"});
        ASSERT_EQ(*static_cast<const unsigned char*>(model->at("w.1").data), 64);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Sharing, MayDestroyAModelInTheCallbackOfAnother) {
  const auto client = Connect();
  auto other = client->Acquire({.reference = "/other"});
  const auto model = client->Acquire({.reference = "/m"});
  std::atomic<bool> called{false};
  model->OnStateChange([&, client](Model::State) mutable {
    other.reset();
    called = true;
  });
  daemon_.ForEachCall([](Call& call) {
    if (call.request().spec().reference() != "/m") return;
    v1::AcquireUpdate update;
    update.mutable_drain_requested()->set_message("please");
    call.Send(update);
  });
  EXPECT_TRUE(daemon_.WaitForOpenCalls(1));
  // The daemon may see the other lease end before reset() has returned.
  EXPECT_TRUE(test::Eventually([&] { return called.load(); }));
  EXPECT_EQ(model->state(), Model::State::kDraining);
}

}  // namespace
}  // namespace modeld
