// A worker of the chaos test: until its input ends it acquires models at random, checks every byte
// of them, holds them for a moment and releases them. Then one round more, and exit 0.
//
//   modeld-chaos-worker ENDPOINT SEED      $MODELD_TEST_DEVICE: where the models shall be
//
// It says on its output, one line each, what it is at:
//
//   want REF               it begins to acquire
//   again REF REASON       modeld could not, for a reason that says to ask again, and it does
//   got REF MICROSECONDS   since the want
//   checked BYTES
//   released
//   wrong REF WORDS        what must not be; it ends
//
// Holding no more than one model, or two small ones, it can always get what it wants
// (chaos_models.h).

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "chaos_models.h"
#include "modeld/client.h"

namespace modeld::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kPatience{30};
constexpr milliseconds kBeforeAgain{20};
constexpr char kAlias[] = "prod";

// docs/errors.md says of each to ask again: the agent was killed, or the file was replaced.
const std::set<std::string> kAskAgain = {"DEVICE_UNAVAILABLE", "DEVICE_LOST", "CHECKPOINT_CHANGED"};

class Worker {
 public:
  Worker(std::string endpoint, unsigned seed) : endpoint_(std::move(endpoint)), random_(seed) {}

  void Run() {
    while (!client_) Connect();
    for (bool last = false; !last;) {
      last = InputEnds(milliseconds(0));
      Round();
    }
  }

 private:
  // A modeld that is being replaced is not there for a moment.
  void Connect() {
    try {
      client_ = Client::Connect(endpoint_);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable || Clock::now() > start_ + kPatience) throw;
      InputEnds(kBeforeAgain);
    }
  }

  void Round() {
    if (Once(7)) {
      Hold({.reference = kAlias, .device = Device()}, std::nullopt);
    } else {
      const ChaosModel& first = AnyModel();
      Hold(first);
      if (first.small && Once(2)) Hold(AnySmallModel());
    }
    if (!InputEnds(milliseconds(random_() % 150)) && Once(3)) CheckAll();
    held_.clear();
    Say("released");
  }

  void Hold(const ChaosModel& model) {
    Hold({.reference = model.reference, .device = Device()}, model.family);
  }

  void Hold(const ModelSpec& spec, std::optional<uint32_t> family) {
    Say("want " + spec.reference);
    const Clock::time_point start = Clock::now();
    for (;;) {
      try {
        const AcquireOptions options = {.timeout = kPatience - (Clock::now() - start),
                                        .wait_for_room = true,
                                        .keep_alive = KeepAlive()};
        held_.push_back({client_->Acquire(spec, options), family});
        break;
      } catch (const Error& error) {
        if (!kAskAgain.contains(error.reason()) || Clock::now() > start + kPatience) {
          Wrong(spec.reference, error.reason() + ": " + error.what());
        }
        Say("again " + spec.reference + " " + error.reason());
        InputEnds(kBeforeAgain);
      }
    }
    const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
    Say("got " + spec.reference + " " + std::to_string(waited.count()));
    Check(held_.back());
  }

  struct Held {
    std::shared_ptr<const Model> model;
    std::optional<uint32_t> family;
  };

  void Check(const Held& held) {
    if (const auto wrong = WhatIsWrong(*held.model, held.family)) {
      Wrong(held.model->reference(), *wrong + " (residency " + held.model->residency_id() + ")");
    }
    Say("checked " + std::to_string(held.model->size_bytes()));
  }

  void CheckAll() {
    for (const Held& held : held_) Check(held);
  }

  std::optional<std::chrono::nanoseconds> KeepAlive() {
    switch (random_() % 8) {
      case 0:
        return milliseconds(0);
      case 1:
        return milliseconds(300);
      case 2:
        return milliseconds(-1);
      default:
        return std::nullopt;
    }
  }

  bool Once(unsigned in) { return random_() % in == 0; }
  const ChaosModel& AnyModel() { return ChaosModels()[random_() % ChaosModels().size()]; }
  const ChaosModel& AnySmallModel() {
    for (;;) {
      const ChaosModel& model = AnyModel();
      if (model.small) return model;
    }
  }

  static std::string Device() {
    const char* device = std::getenv("MODELD_TEST_DEVICE");
    return device == nullptr ? "" : device;
  }

  static bool InputEnds(milliseconds within) {
    pollfd polled{STDIN_FILENO, POLLIN, 0};
    return poll(&polled, 1, static_cast<int>(within.count())) > 0;
  }

  static void Say(const std::string& line) { std::cout << line << std::endl; }

  [[noreturn]] static void Wrong(const std::string& reference, std::string words) {
    std::ranges::replace(words, '\n', ' ');
    Say("wrong " + reference + " " + words);
    std::exit(1);
  }

  const std::string endpoint_;
  const Clock::time_point start_ = Clock::now();
  std::mt19937 random_;
  std::shared_ptr<Client> client_;
  std::vector<Held> held_;
};

}  // namespace
}  // namespace modeld::test

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: modeld-chaos-worker ENDPOINT SEED\n";
    return 2;
  }
  try {
    modeld::test::Worker(argv[1], static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10))).Run();
  } catch (const std::exception& error) {
    std::cout << "wrong - " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
