#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modeld/client.h"
#include "scripted_daemon.h"
#include "support/thrown_error.h"
#include "wire/mutex.h"

namespace modeld {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ThrownBy;
using testing::Call;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ScriptedDaemon;
using State = Model::State;

// What a Model has told of its states.
class States {
 public:
  explicit States(const std::shared_ptr<const Model>& model) {
    model->OnStateChange([log = log_](State state) {
      wire::MutexLock lock(log->mutex);
      log->states.push_back(state);
      log->changed.NotifyAll();
    });
  }

  // Waits for as many.
  std::vector<State> First(size_t count) {
    const auto until = std::chrono::steady_clock::now() + seconds(20);
    wire::MutexLock lock(log_->mutex);
    while (log_->states.size() < count && log_->changed.WaitUntil(log_->mutex, until)) {
    }
    return log_->states;
  }

 private:
  struct Log {
    wire::Mutex mutex;
    wire::CondVar changed;
    std::vector<State> states;
  };
  std::shared_ptr<Log> log_ = std::make_shared<Log>();
};

class Reconnect : public ::testing::Test {
 protected:
  std::shared_ptr<const Model> Acquire() {
    return Client::Connect(daemon_.socket_path())->Acquire({.reference = "/m"});
  }
  void SendToAll(const v1::AcquireUpdate& update) {
    daemon_.ForEachCall([&](Call& call) { call.Send(update); });
  }

  ScriptedDaemon daemon_;
};

TEST_F(Reconnect, TakesTheLeaseUpAgain) {
  const auto model = Acquire();
  States states(model);
  const void* address = model->at("w.1").data;
  daemon_.Stop();
  EXPECT_THAT(states.First(1), ElementsAre(State::kReconnecting));
  EXPECT_EQ(*static_cast<const unsigned char*>(model->at("w.1").data), 64);
  daemon_.Start();
  EXPECT_THAT(states.First(2), ElementsAre(State::kReconnecting, State::kHeld));
  EXPECT_EQ(model->state(), State::kHeld);
  EXPECT_EQ(model->at("w.1").data, address);
  const auto requests = daemon_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[1].spec().reference(), "/m");
  EXPECT_EQ(requests[1].resume().residency_id(), "00000000000000a1");
  EXPECT_EQ(requests[1].resume().generation(), 7u);
  EXPECT_FALSE(requests[1].has_wait_timeout());
}

TEST_F(Reconnect, TakesManyLeasesUpAgain) {
  const auto client = Client::Connect(daemon_.socket_path());
  std::vector<std::shared_ptr<const Model>> models;
  for (int i = 0; i < 50; ++i) models.push_back(client->Acquire({.reference = std::to_string(i)}));
  for (int round = 0; round < 3; ++round) {
    daemon_.Stop();
    daemon_.Start();
    ASSERT_TRUE(daemon_.WaitForOpenCalls(50));
  }
  models.clear();
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

TEST_F(Reconnect, ReleasesWhileTheDaemonIsAway) {
  auto model = Acquire();
  States states(model);
  daemon_.Stop();
  states.First(1);
  model.reset();
  daemon_.Start();
  const auto other = Client::Connect(daemon_.socket_path())->Acquire({.reference = "/n"});
  EXPECT_EQ(daemon_.requests().back().spec().reference(), "/n");
  EXPECT_EQ(daemon_.calls_open(), 1);
}

TEST_F(Reconnect, IsLostWhenTheResidencyIsGone) {
  const auto model = Acquire();
  States states(model);
  daemon_.Stop();
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kResidencyNotFound, "gone"));
  };
  daemon_.Start();
  EXPECT_THAT(states.First(2), ElementsAre(State::kReconnecting, State::kLost));
  EXPECT_EQ(*static_cast<const unsigned char*>(model->at("w.1").data), 64) << "still readable";
}

TEST_F(Reconnect, IsLostWhenAnotherGenerationIsGranted) {
  const auto model = Acquire();
  States states(model);
  daemon_.Stop();
  daemon_.on_acquire = [&](Call& call) {
    v1::Granted granted = daemon_.checkpoint->Grant(call.lease_id());
    granted.set_generation(8);
    call.Grant(granted);
  };
  daemon_.Start();
  EXPECT_THAT(states.First(2), ElementsAre(State::kReconnecting, State::kLost));
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0)) << "what was granted is given back";
}

TEST_F(Reconnect, IsLostWhenTheDaemonSaysSo) {
  const auto model = Acquire();
  States states(model);
  v1::AcquireUpdate update;
  update.mutable_lost()->set_reason("DEVICE_LOST");
  SendToAll(update);
  EXPECT_THAT(states.First(1), ElementsAre(State::kLost));
  daemon_.ForEachCall([](Call& call) {
    call.End(wire::MakeError(wire::Reason::kDeviceLost, "the device is gone"));
  });
  ASSERT_TRUE(daemon_.WaitForOpenCalls(0));
  EXPECT_EQ(model->state(), State::kLost);
}

TEST_F(Reconnect, GivesALostModelToNobodyElse) {
  const auto lost = Acquire();
  States states(lost);
  v1::AcquireUpdate update;
  update.mutable_lost();
  SendToAll(update);
  states.First(1);
  const auto model = Acquire();
  EXPECT_NE(model, lost);
  EXPECT_EQ(model->state(), State::kHeld);
  EXPECT_EQ(model, Acquire());
}

TEST_F(Reconnect, ComesBackToADaemonThatIsNotReadyYet) {
  const auto model = Acquire();
  States states(model);
  daemon_.Stop();
  std::atomic<int> turned_away{0};
  daemon_.on_acquire = [&](Call& call) {
    if (turned_away < 3) {
      ++turned_away;
      call.End(wire::MakeError(wire::Reason::kDraining, "not now"));
    } else {
      call.Grant();
    }
  };
  daemon_.Start();
  EXPECT_THAT(states.First(2), ElementsAre(State::kReconnecting, State::kHeld));
  EXPECT_EQ(turned_away, 3);
}

TEST_F(Reconnect, KeepsAskingADaemonThatRefusesTheUser) {
  const auto model = Acquire();
  States states(model);
  daemon_.Stop();
  daemon_.greeting = ScriptedDaemon::Greeting::kRefuse;
  daemon_.Start();
  const int before = daemon_.attach_connections();
  while (daemon_.attach_connections() < before + 3) std::this_thread::yield();
  EXPECT_EQ(model->state(), State::kReconnecting);
  daemon_.Stop();
  daemon_.greeting = ScriptedDaemon::Greeting::kWelcome;
  daemon_.Start();
  EXPECT_THAT(states.First(2), ElementsAre(State::kReconnecting, State::kHeld));
}

TEST_F(Reconnect, ReportsThatTheMemoryIsWantedBack) {
  const auto model = Acquire();
  States states(model);
  v1::AcquireUpdate update;
  update.mutable_drain_requested()->set_message("an operator wants it");
  SendToAll(update);
  EXPECT_THAT(states.First(1), ElementsAre(State::kDraining));
  EXPECT_EQ(daemon_.calls_open(), 1) << "the lease holds until it is released";
}

TEST_F(Reconnect, LearnsTheDigestLater) {
  const auto model = Acquire();
  EXPECT_EQ(model->digest(), "");
  const std::string digest = "sha256:" + std::string(64, 'b');
  v1::AcquireUpdate update;
  update.mutable_digest_known()->set_digest(digest);
  SendToAll(update);
  while (model->digest().empty()) std::this_thread::yield();
  EXPECT_EQ(model->digest(), digest);
}

// ---- an Acquire during which the daemon goes away ----

TEST_F(Reconnect, AsksAgainWhenTheDaemonDiesDuringAnAcquire) {
  daemon_.on_acquire = [](Call& call) { call.Progress(v1::Progress::LOADING, 0, 1); };
  std::shared_ptr<const Model> model;
  std::thread waiter([&] { model = Acquire(); });
  ASSERT_TRUE(daemon_.WaitForBegunCalls(1));
  daemon_.Stop();
  daemon_.on_acquire = [](Call& call) { call.Grant(); };
  daemon_.Start();
  waiter.join();
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->state(), State::kHeld);
  EXPECT_FALSE(daemon_.requests().back().has_resume());
}

TEST_F(Reconnect, AsksAgainWhenTheDaemonDiesBeforeTheDescriptorsCome) {
  std::atomic<bool> asked{false};
  const auto good = daemon_.on_get_fds;
  daemon_.on_get_fds = [&](wire::FramedSocket&, const v1::GetLeaseFds&) { asked = true; };
  std::shared_ptr<const Model> model;
  std::thread waiter([&] { model = Acquire(); });
  while (!asked) std::this_thread::yield();
  daemon_.Stop();
  daemon_.on_get_fds = good;
  daemon_.Start();
  waiter.join();
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->state(), State::kHeld);
  EXPECT_TRUE(daemon_.WaitForOpenCalls(1));
}

TEST_F(Reconnect, WaitsForADaemonThatIsAway) {
  const auto client = Client::Connect(daemon_.socket_path());
  daemon_.Stop();
  std::shared_ptr<const Model> model;
  std::thread waiter(
      [&] { model = client->Acquire({.reference = "/m"}, {.timeout = seconds(60)}); });
  daemon_.Start();
  waiter.join();
  EXPECT_NE(model, nullptr);
}

TEST_F(Reconnect, GivesUpWaitingForADaemonWhenTheTimeIsUp) {
  const auto client = Client::Connect(daemon_.socket_path());
  daemon_.Stop();
  const Error error =
      ThrownBy([&] { client->Acquire({.reference = "/m"}, {.timeout = milliseconds(100)}); });
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(error.what(), HasSubstr("modeld is away: cannot connect to"));
  daemon_.Start();
  EXPECT_NE(client->Acquire({.reference = "/m"}), nullptr);
}

TEST_F(Reconnect, DoesNotAskAgainAfterARefusal) {
  daemon_.on_acquire = [](Call& call) {
    call.End(wire::MakeError(wire::Reason::kDeviceUnavailable, "the agent has died"));
  };
  const Error error = ThrownBy([&] { Acquire(); });
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(error.reason(), "DEVICE_UNAVAILABLE");
  EXPECT_EQ(daemon_.calls_begun(), 1);
}

TEST_F(Reconnect, FailsAnAcquireWhenTheDaemonComesBackAndRefusesTheUser) {
  const auto client = Client::Connect(daemon_.socket_path());
  daemon_.Stop();
  daemon_.greeting = ScriptedDaemon::Greeting::kRefuse;
  daemon_.Start();
  const Error error = ThrownBy([&] { client->Acquire({.reference = "/m"}); });
  EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
}

TEST_F(Reconnect, IntroducesItselfAnewWhenTheDaemonHasForgottenTheSession) {
  const auto client = Client::Connect(daemon_.socket_path());
  std::atomic<int> calls{0};
  daemon_.on_acquire = [&](Call& call) {
    if (calls++ == 0) {
      call.End(wire::MakeError(wire::Reason::kSessionInvalid, "who are you?"));
    } else {
      call.Grant();
    }
  };
  EXPECT_NE(client->Acquire({.reference = "/m"}), nullptr);
  EXPECT_EQ(daemon_.attach_connections(), 2);
}

// ---- everything at once ----

TEST_F(Reconnect, SurvivesManyThreadsAndManyRestarts) {
  const auto client = Client::Connect(daemon_.socket_path());
  std::atomic<bool> stop{false};
  std::atomic<int> acquired{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::shared_ptr<const Model>> held;
      for (int i = 0; !stop; ++i) {
        const std::string reference = "/m" + std::to_string((t + i) % 4);
        held.push_back(client->Acquire({.reference = reference, .private_copy = i % 5 == 0}));
        held.back()->OnStateChange([](State) {});
        ++acquired;
        if (held.size() > 3) held.erase(held.begin(), held.begin() + 2);
      }
    });
  }
  for (int round = 0; round < 10; ++round) {
    const int before = acquired;
    while (acquired < before + 50) std::this_thread::yield();
    daemon_.Stop();
    daemon_.Start();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(daemon_.WaitForOpenCalls(0));
}

}  // namespace
}  // namespace modeld
