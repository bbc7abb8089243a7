// The agent's program, spoken to frame by frame.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/messages.h"
#include "base/child_process.h"
#include "memory/source_file.h"
#include "modeld/v1/agent.pb.h"
#include "support/processes.h"
#include "support/temp_dir.h"
#include "wire/framed_socket.h"
#include "wire/memfd.h"
#include "wire/tensor_table.h"

namespace modeld::agent {
namespace {

using std::chrono::seconds;

constexpr uint64_t kUnit = wire::kSegmentUnitBytes;

constexpr auto kF16 = static_cast<uint32_t>(wire::DType::kF16);
constexpr auto kF32 = static_cast<uint32_t>(wire::DType::kF32);
constexpr auto kF64 = static_cast<uint32_t>(wire::DType::kF64);

void SetCast(uint32_t from, uint32_t to, v1::LoadRequest* load) {
  load->mutable_ranges(0)->set_from_dtype(from);
  load->mutable_ranges(0)->set_to_dtype(to);
}

base::TimePoint In(base::Duration duration) { return base::SystemClock().Now() + duration; }

class AgentTest : public testing::Test {
 protected:
  base::ChildProcess Spawn(const std::string& grace = "60") {
    auto child = base::ChildProcess::Spawn(
        {.path = MODELD_AGENT_HOST,
         .args = {"--socket", socket_, "--grace", grace, "--log-level", "error"},
         .new_session = true});
    EXPECT_TRUE(child.ok()) << child.status();
    return *std::move(child);
  }

  wire::FramedSocket Connect() {
    wire::UniqueFd fd;
    EXPECT_TRUE(test::Eventually([&] {
      auto connection = wire::ConnectUnix(socket_);
      if (connection.ok()) fd = *std::move(connection);
      return fd.valid();
    }));
    return wire::FramedSocket(std::move(fd));
  }

  static void Send(wire::FramedSocket& socket, const v1::AgentRequest& request,
                   const std::vector<int>& fds = {}) {
    const absl::Status status = socket.Send(request.SerializeAsString(), fds);
    EXPECT_TRUE(status.ok()) << status;
  }

  static v1::AgentEvent Receive(wire::FramedSocket& socket,
                                std::vector<wire::UniqueFd>* fds = nullptr) {
    v1::AgentEvent event;
    auto frame = socket.Receive();
    EXPECT_TRUE(frame.ok()) << frame.status();
    if (!frame.ok()) return event;
    EXPECT_TRUE(event.ParseFromString(frame->payload));
    if (fds != nullptr) *fds = std::move(frame->fds);
    return event;
  }

  // The events up to the one that `is_last` says.
  static v1::AgentEvent ReceiveUntil(wire::FramedSocket& socket, v1::AgentEvent::EventCase last) {
    while (true) {
      const v1::AgentEvent event = Receive(socket);
      if (event.event_case() == last || event.event_case() == v1::AgentEvent::EVENT_NOT_SET)
        return event;
    }
  }

  static std::vector<std::string> Greet(wire::FramedSocket& socket) {
    v1::AgentRequest hello;
    hello.mutable_hello()->set_protocol_version(kProtocolVersion);
    Send(socket, hello);
    EXPECT_EQ(Receive(socket).welcome().protocol_version(), kProtocolVersion);
    std::vector<std::string> inventory;
    while (true) {
      const v1::AgentEvent event = Receive(socket);
      if (!event.has_inventory()) {
        EXPECT_TRUE(event.has_inventory_end());
        return inventory;
      }
      inventory.push_back(event.inventory().residency_id());
    }
  }

  // A load of one tensor of 1000 bytes; `change` may spoil it.
  void Load(wire::FramedSocket& socket, const std::string& id,
            const std::function<void(v1::LoadRequest*, std::vector<int>*)>& change = {}) {
    const std::string path = dir_.Write(id, std::string(1000, 'x'));
    const wire::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto identity = memory::IdentityOf(file.get());
    wire::TableBuilder builder;
    builder.AddRegion(kUnit);
    const int64_t shape[] = {1000};
    const int64_t strides[] = {1};
    builder.Add({.name = "t",
                 .dtype = wire::DType::kU8,
                 .shape = shape,
                 .strides = strides,
                 .size_bytes = 1000});
    const std::string table = builder.Build();
    auto table_fd = wire::MakeSealedMemfd("table", table);
    ASSERT_TRUE(table_fd.ok()) << table_fd.status();
    v1::AgentRequest request;
    v1::LoadRequest* load = request.mutable_load();
    load->set_residency_id(id);
    load->mutable_record()->set_record("record of " + id);
    v1::SourceFile* source = load->add_files();
    source->set_path(path);
    source->set_size_bytes(identity->size_bytes);
    source->set_device(identity->device);
    source->set_inode(identity->inode);
    source->set_mtime_ns(identity->mtime_ns);
    source->set_ctime_ns(identity->ctime_ns);
    load->add_segment_sizes(kUnit);
    load->add_ranges()->set_size_bytes(1000);
    load->set_table_size_bytes(table.size());
    std::vector<int> fds = {file.get(), table_fd->get()};
    if (change) change(load, &fds);
    Send(socket, request, fds);
  }

  test::TempDir dir_;
  const std::string socket_ = dir_ / "agent.sock";
};

TEST_F(AgentTest, GivesBackItsInventoryWithTheRecordUnread) {
  auto agent = Spawn();
  auto socket = Connect();
  EXPECT_THAT(Greet(socket), testing::IsEmpty());
  Load(socket, "a");
  EXPECT_EQ(ReceiveUntil(socket, v1::AgentEvent::kDone).done().residency_id(), "a");
  socket = wire::FramedSocket();

  auto next = Connect();
  v1::AgentRequest hello;
  hello.mutable_hello()->set_protocol_version(kProtocolVersion);
  Send(next, hello);
  EXPECT_TRUE(Receive(next).has_welcome());
  std::vector<wire::UniqueFd> fds;
  const v1::AgentEvent event = Receive(next, &fds);
  EXPECT_EQ(event.inventory().record().record(), "record of a");
  ASSERT_EQ(fds.size(), 2u);
  const auto bytes = wire::MapReadOnly(fds[1].get(), kUnit);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->data()), 1001),
            std::string(1000, 'x') + '\0');
}

TEST_F(AgentTest, HangsUpOnTheModeldBeforeWhenAnotherConnects) {
  auto agent = Spawn();
  auto first = Connect();
  Greet(first);
  auto second = Connect();
  Greet(second);
  EXPECT_TRUE(absl::IsUnavailable(first.Receive().status()));
  Load(second, "a");
  EXPECT_TRUE(ReceiveUntil(second, v1::AgentEvent::kDone).has_done());
}

TEST_F(AgentTest, RefusesLoadsThatDoNotFitTogetherAndGoesOn) {
  auto agent = Spawn();
  auto socket = Connect();
  Greet(socket);
  const std::vector<std::function<void(v1::LoadRequest*, std::vector<int>*)>> spoilt = {
      [](v1::LoadRequest*, std::vector<int>* fds) { fds->pop_back(); },
      [](v1::LoadRequest*, std::vector<int>* fds) { fds->clear(); },
      [](v1::LoadRequest*, std::vector<int>* fds) { std::swap(fds->front(), fds->back()); },
      [](v1::LoadRequest* load, std::vector<int>*) { load->set_segment_sizes(0, 4096); },
      [](v1::LoadRequest* load, std::vector<int>*) {
        load->set_segment_sizes(0, uint64_t{1} << 60);
      },
      [](v1::LoadRequest* load, std::vector<int>*) { load->clear_segment_sizes(); },
      [](v1::LoadRequest* load, std::vector<int>*) { load->set_table_size_bytes(8); },
      [](v1::LoadRequest* load, std::vector<int>*) { load->set_residency_id(""); },
      [](v1::LoadRequest* load, std::vector<int>*) { load->mutable_ranges(0)->set_file_index(9); },
      [](v1::LoadRequest* load, std::vector<int>*) {
        load->mutable_ranges(0)->set_segment_index(9);
      },
      [](v1::LoadRequest* load, std::vector<int>*) {
        load->mutable_ranges(0)->set_file_offset(UINT64_MAX);
      },
      [](v1::LoadRequest* load, std::vector<int>*) {
        load->mutable_ranges(0)->set_segment_offset(kUnit);
      },
      [](v1::LoadRequest* load, std::vector<int>*) { *load->add_ranges() = load->ranges(0); },
      // Casts: from what is no type, to what no cast makes, to more than 16 bits, of half an
      // element, and to more than the segment has.
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(99, kF16, load); },
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(0, kF16, load); },
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(kF32, 0, load); },
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(kF32, kF64, load); },
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(kF16, kF16, load); },
      [](v1::LoadRequest* load, std::vector<int>*) { SetCast(kF32 + (1 << 16), kF16, load); },
      [](v1::LoadRequest* load, std::vector<int>*) {
        SetCast(kF32, kF16, load);
        load->mutable_ranges(0)->set_size_bytes(998);
      },
      [](v1::LoadRequest* load, std::vector<int>*) {
        SetCast(kF16, kF32, load);
        load->mutable_ranges(0)->set_segment_offset(kUnit - 1000);
      },
  };
  for (size_t i = 0; i < spoilt.size(); ++i) {
    Load(socket, "spoilt" + std::to_string(i), spoilt[i]);
    EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kFailed).has_failed()) << i;
  }
  Load(socket, "good");
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kDone).has_done());
  Load(socket, "cast", [](v1::LoadRequest* load, std::vector<int>*) { SetCast(kF16, kF32, load); });
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kDone).has_done());
  Load(socket, "good");
  const v1::AgentEvent again = ReceiveUntil(socket, v1::AgentEvent::kFailed);
  EXPECT_THAT(again.failed().failure().message(), testing::HasSubstr("there already"));
}

TEST_F(AgentTest, HangsUpOnGarbageAndServesTheNext) {
  auto agent = Spawn();
  auto socket = Connect();
  Greet(socket);
  ASSERT_TRUE(socket.Send("\xff\xff garbage").ok());
  EXPECT_TRUE(absl::IsUnavailable(socket.Receive().status()));
  auto next = Connect();
  Greet(next);
}

TEST_F(AgentTest, EndsWhenNobodyIsConnectedForTheGracePeriod) {
  auto agent = Spawn("0.3");
  auto socket = Connect();
  Greet(socket);
  // Longer than the grace period: somebody is connected.
  EXPECT_FALSE(agent.Wait(In(std::chrono::milliseconds(700))).has_value());
  socket = wire::FramedSocket();
  const auto exit = agent.Wait(In(seconds(20)));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
  EXPECT_NE(::access(socket_.c_str(), F_OK), 0);
}

TEST_F(AgentTest, EndsOnSigtermAndNotOnHangup) {
  auto agent = Spawn();
  auto socket = Connect();
  Greet(socket);
  agent.Kill(SIGHUP);
  agent.Kill(SIGPIPE);
  Load(socket, "a");
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kDone).has_done());
  agent.Kill(SIGTERM);
  const auto exit = agent.Wait(In(seconds(20)));
  ASSERT_TRUE(exit.has_value());
  EXPECT_TRUE(exit->ok()) << exit->Text();
}

TEST_F(AgentTest, RefusesASocketThatAnotherAgentServes) {
  auto first = Spawn();
  auto socket = Connect();
  Greet(socket);
  auto second = Spawn();
  const auto exit = second.Wait(In(seconds(20)));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->value, 1);
  Load(socket, "a");
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kDone).has_done());
}

TEST_F(AgentTest, TakesTheSocketOfAnAgentThatWasKilled) {
  auto first = Spawn();
  auto socket = Connect();
  Greet(socket);
  first.Kill(SIGKILL);
  ASSERT_TRUE(first.Wait(In(seconds(20))).has_value());
  auto second = Spawn();
  auto next = Connect();
  Greet(next);
}

TEST_F(AgentTest, LetsOnlyItsOwnUserIn) {
  auto agent = Spawn();
  auto socket = Connect();
  Greet(socket);
  struct stat info;
  ASSERT_EQ(::stat(socket_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  // Even where the file system would let it in.
  ASSERT_EQ(::chmod(socket_.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    auto connection = wire::ConnectUnix(socket_);
    char byte;
    // Hung up on without a word.
    ::_exit(connection.ok() && ::read(connection->get(), &byte, 1) == 0 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(stranger, &status, 0), stranger);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  // And its owner's modeld was not disturbed.
  Load(socket, "a");
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kDone).has_done());
}

TEST_F(AgentTest, AnswersAReleaseOfALoadThatIsUnderWay) {
  auto agent = Spawn();
  auto socket = Connect();
  Greet(socket);
  const std::string path = dir_ / "sparse";
  const wire::UniqueFd writer(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  constexpr uint64_t kSize = uint64_t{16} << 30;
  ASSERT_EQ(::ftruncate(writer.get(), kSize), 0);
  const auto identity = memory::IdentityOf(writer.get());
  Load(socket, "big", [&](v1::LoadRequest* load, std::vector<int>* fds) {
    v1::SourceFile* source = load->mutable_files(0);
    source->set_size_bytes(kSize);
    source->set_device(identity->device);
    source->set_inode(identity->inode);
    source->set_mtime_ns(identity->mtime_ns);
    source->set_ctime_ns(identity->ctime_ns);
    load->set_segment_sizes(0, kSize);
    load->mutable_ranges(0)->set_size_bytes(kSize);
    fds->front() = writer.get();
  });
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kProgress).has_progress());
  v1::AgentRequest release;
  release.mutable_release()->set_residency_id("big");
  Send(socket, release);
  EXPECT_TRUE(ReceiveUntil(socket, v1::AgentEvent::kFailed).has_failed());
  EXPECT_EQ(ReceiveUntil(socket, v1::AgentEvent::kReleased).released().residency_id(), "big");
}

}  // namespace
}  // namespace modeld::agent
