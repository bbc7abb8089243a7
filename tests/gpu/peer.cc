#include "gpu/peer.h"

#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>

#include "gpu/driver.h"
#include "gpu/kernels.h"

namespace modeld::gpu_test {
namespace {

// What is read of a range for a sum, and written to it at first.
constexpr uint64_t kPatternBytes = 2 << 20;

class Server {
 public:
  explicit Server(int ordinal) : ordinal_(ordinal) {}

  std::string Do(const std::string& request, const Handle& received, Handle* reply) {
    std::istringstream words(request);
    std::string verb;
    std::string kind;
    words >> verb;
    if (std::string error = ErrorText(cudaSetDevice(ordinal_)); !error.empty()) {
      return "error " + error;
    }
    if (verb == "context") return "ok";
    if (verb == "allocate" || verb == "import") {
      words >> kind >> size_bytes_;
      const Kind how = kind == "vmm" ? Kind::kVmm : Kind::kIpc;
      return verb == "allocate" ? DoAllocate(how, reply) : DoImport(how, received);
    }
    if (verb == "sum") return DoSum();
    if (verb == "compute") {
      double seconds = 0;
      words >> seconds;
      return DoCompute(std::chrono::duration<double>(seconds));
    }
    if (verb == "store") {
      if (!HasKernels()) return "error no kernels";
      const std::string error = Store(address_);
      return error.empty() ? "ok" : "error " + error;
    }
    if (verb == "memory") {
      size_t free = 0;
      size_t total = 0;
      const std::string error = ErrorText(cudaMemGetInfo(&free, &total));
      return error.empty() ? "ok " + std::to_string(free) + " " + std::to_string(total)
                           : "error " + error;
    }
    return "error unknown request";
  }

 private:
  std::string DoAllocate(Kind kind, Handle* reply) {
    std::string error = Allocate(kind, ordinal_, size_bytes_, &address_, reply);
    if (!error.empty()) return "error " + error;
    std::string pattern(kPatternBytes, '\0');
    for (size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<char>(i * 31 % 251);
    error = ErrorText(cudaMemcpy(address_, pattern.data(), pattern.size(), cudaMemcpyHostToDevice));
    if (error.empty()) error = ErrorText(cudaDeviceSynchronize());
    return error.empty() ? "ok" : "error " + error;
  }

  std::string DoImport(Kind kind, const Handle& received) {
    std::chrono::nanoseconds took{};
    const std::string error = Import(kind, ordinal_, size_bytes_, received, &address_, &took);
    return error.empty() ? "ok " + std::to_string(took.count()) : "error " + error;
  }

  // By a kernel where there are any, else by a copy.
  std::string AddUp(uint32_t* sum) {
    constexpr uint32_t kWords = kPatternBytes / sizeof(uint32_t);
    if (HasKernels()) return Sum(address_, kWords, sum);
    std::vector<uint32_t> words(kWords);
    const std::string error =
        ErrorText(cudaMemcpy(words.data(), address_, kPatternBytes, cudaMemcpyDeviceToHost));
    *sum = 0;
    for (const uint32_t word : words) *sum += word;
    return error;
  }

  std::string DoSum() {
    uint32_t sum = 0;
    const std::string error = AddUp(&sum);
    return error.empty() ? "ok " + std::to_string(sum) : "error " + error;
  }

  std::string DoCompute(std::chrono::duration<double> duration) {
    std::optional<uint32_t> first;
    int times = 0;
    const auto began = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - began < duration) {
      uint32_t sum = 0;
      const std::string error = AddUp(&sum);
      if (!error.empty()) return "error " + error + " after " + std::to_string(times) + " sums";
      if (!first) first = sum;
      if (sum != *first) return "error another sum after " + std::to_string(times);
      ++times;
    }
    return "ok, " + std::to_string(times) + " times the same sum";
  }

  const int ordinal_;
  uint64_t size_bytes_ = 0;
  void* address_ = nullptr;
};

// The IPC handle goes behind the words.
constexpr char kSeparator = '\n';

absl::Status SendMessage(wire::FramedSocket& socket, const std::string& words,
                         const Handle& handle) {
  std::vector<int> fds;
  for (const wire::UniqueFd& fd : handle.fds) fds.push_back(fd.get());
  return socket.Send(words + kSeparator + handle.ipc, fds);
}

std::string TakeMessage(wire::Frame frame, Handle* handle) {
  const size_t end = frame.payload.find(kSeparator);
  if (handle != nullptr) {
    handle->fds = std::move(frame.fds);
    handle->ipc = frame.payload.substr(end + 1);
  }
  return frame.payload.substr(0, end);
}

}  // namespace

Peer::Peer(const Options& options) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  socket_ = wire::FramedSocket(wire::UniqueFd(ends[0]));
  const wire::UniqueFd theirs(ends[1]);
  std::vector<std::string> command = options.wrapper;
  command.insert(command.end(), {std::filesystem::read_symlink("/proc/self/exe").string(), "--peer",
                                 std::to_string(options.ordinal)});
  auto process = base::ChildProcess::Spawn({.path = command.front(),
                                            .args = {command.begin() + 1, command.end()},
                                            .env = options.env,
                                            .fds = {{theirs.get(), 3}}});
  if (!process.ok()) {
    std::fprintf(stderr, "%s\n", process.status().ToString().c_str());
    return;
  }
  process_ = *std::move(process);
}

void Peer::Send(const std::string& request, const Handle* handle) {
  // A peer that is gone shows in Receive.
  const Handle none;
  SendMessage(socket_, request, handle != nullptr ? *handle : none).IgnoreError();
}

std::string Peer::Receive(Handle* handle) {
  auto frame = socket_.Receive();
  if (!frame.ok()) return "error the process is gone";
  return TakeMessage(*std::move(frame), handle);
}

void Peer::Kill() {
  process_.Kill(SIGKILL);
  process_.Wait();
}

int RunPeer(int ordinal) {
  wire::FramedSocket socket{wire::UniqueFd(3)};
  Server server(ordinal);
  while (true) {
    auto frame = socket.Receive();
    if (!frame.ok()) return 0;
    Handle received;
    const std::string request = TakeMessage(*std::move(frame), &received);
    Handle reply;
    const std::string words = server.Do(request, received, &reply);
    if (!SendMessage(socket, words, reply).ok()) return 0;
  }
}

}  // namespace modeld::gpu_test
