// Processes that a test starts: this program again, in one of the roles that its files define.
//
//   ROLE(Exporter) {
//     REQUIRE_CUDA(cudaSuccess, cudaSetDevice(0));
//     parent.Send("ready");
//   }
//   TEST(Some, Thing) {
//     World world;
//     Child exporter(&Exporter, world);
//     EXPECT_EQ(exporter.channel().Receive(), "ready");
//     EXPECT_TRUE(exporter.EndsWell());
//   }
//
// A process reads its environment once, so whatever calls CUDA is a role: the test itself never is.

#pragma once

#include <cuda_runtime_api.h>
#include <sys/types.h>

#include <string>

#include "world.h"

namespace fake_cudart_test {

// Messages and descriptors between parent and child. A message that does not come ends the process:
// the other side is dead.
class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  void Send(const std::string& message);
  void SendFd(int fd);
  std::string Receive();
  int ReceiveFd();

 private:
  void SendWith(const std::string& message, int fd);
  std::string ReceiveWith(int* fd);

  int fd_;
};

using Role = void (*)(Channel& parent);

// Registers a role, before main.
struct Registration {
  Registration(const char* name, Role role);
};

#define ROLE(name)                                                               \
  static void name(::fake_cudart_test::Channel& parent);                         \
  static const ::fake_cudart_test::Registration name##Registration(#name, name); \
  static void name([[maybe_unused]] ::fake_cudart_test::Channel& parent)

// Starts it in the world's environment. The destructor kills what still runs.
class Child {
 public:
  Child(Role role, const World& world);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  Channel& channel() { return *channel_; }

  // Waits for its end: true when its role returned.
  bool EndsWell();
  // Waits for its end: the signal that ended it, or 0.
  int EndsBySignal();
  void Kill();

 private:
  int Wait();

  pid_t pid_ = -1;
  Channel* channel_ = nullptr;
};

// Runs one role alone.
bool RunsWell(Role role, const World& world);

// Inside a role: ends the process with a message when something is not so.
[[noreturn]] void Fail(const char* file, int line, const std::string& message);
void RequireCuda(const char* file, int line, const char* call, int expected, int got);

#define REQUIRE(condition) \
  if (!(condition)) ::fake_cudart_test::Fail(__FILE__, __LINE__, #condition)
// For cudaError_t and CUresult alike.
#define REQUIRE_CUDA(expected, call) \
  ::fake_cudart_test::RequireCuda(__FILE__, __LINE__, #call, expected, call)

// cudaMemGetInfo of the current device.
size_t FreeMib();

// A store that must fault ends the process by the plain signal, whatever a sanitizer had in mind.
void FaultPlainly();

}  // namespace fake_cudart_test
