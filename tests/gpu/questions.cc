// What only hardware can answer: asked of the driver itself, with processes that are killed, and
// told as Markdown on standard output.
//
//   modeld-gpu-questions [--largest-gib N]
//   modeld-gpu-questions --print-ptx
//
// Ends with 77 where CUDA shows no GPU, with 1 where an answer is one that modeld cannot live with,
// else with 0. `--peer ORDINAL` is for itself.

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gpu/driver.h"
#include "gpu/kernels.h"
#include "gpu/peer.h"
#include "wire/gpu_uuid.h"

namespace modeld::gpu_test {
namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t kGib = uint64_t{1} << 30;
constexpr uint64_t kSmallBytes = 64 * kMib;

struct Answer {
  std::string words;
  // What docs/architecture.md relies on.
  bool as_needed = true;
};

const char* NameOf(Kind kind) { return kind == Kind::kVmm ? "vmm" : "ipc"; }

bool IsOk(const std::string& reply) { return reply.starts_with("ok"); }

std::string Allocating(Kind kind, uint64_t bytes) {
  return std::string("allocate ") + NameOf(kind) + " " + std::to_string(bytes);
}

std::string Importing(Kind kind, uint64_t bytes) {
  return std::string("import ") + NameOf(kind) + " " + std::to_string(bytes);
}

// Without the numbers that follow an `ok`.
std::string Verdict(const std::string& reply) { return IsOk(reply) ? "ok" : reply; }

// An exporter with its handle; `reply` says how that went.
struct Exporter {
  explicit Exporter(Kind kind, uint64_t bytes = kSmallBytes, const Peer::Options& options = {})
      : peer(options) {
    peer.Send(Allocating(kind, bytes));
    reply = peer.Receive(&handle);
  }

  Peer peer;
  Handle handle;
  std::string reply;
};

uint64_t FreeBytes() {
  std::istringstream reply(Peer().Ask("memory"));
  std::string ok;
  uint64_t free = 0;
  reply >> ok >> free;
  return free;
}

std::string Gib(uint64_t bytes) { return std::to_string(bytes / kGib) + " GiB"; }

Answer KillTheExporter(Kind kind) {
  const uint64_t before = FreeBytes();
  Exporter exporter(kind);
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  std::string computed;
  std::string later;
  {
    Peer importer;
    if (const std::string reply = importer.Ask(Importing(kind, kSmallBytes), &exporter.handle);
        !IsOk(reply)) {
      return {"no import: " + reply, false};
    }
    importer.Send("compute 2");
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    exporter.peer.Kill();
    exporter.handle = {};
    computed = importer.Receive();
    later = importer.Ask("sum");
  }
  const uint64_t after = FreeBytes();
  Answer answer;
  answer.words = "while it computes: " + computed + "; afterwards: " + Verdict(later) + "; of " +
                 std::to_string(kSmallBytes / kMib) + " MiB, " +
                 std::to_string(before > after ? (before - after) / kMib : 0) +
                 " MiB are not free once both are dead";
  // With IPC any answer will do: modeld tells the holders that the memory is lost.
  answer.as_needed = kind == Kind::kIpc || (IsOk(computed) && IsOk(later));
  return answer;
}

Answer DescriptorWithoutAnExporter() {
  Exporter exporter(Kind::kVmm);
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  const std::string expected = exporter.peer.Ask("sum");
  exporter.peer.Kill();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  Peer importer;
  const std::string imported = importer.Ask(Importing(Kind::kVmm, kSmallBytes), &exporter.handle);
  if (!IsOk(imported)) return {"it cannot be imported: " + imported, false};
  const std::string sum = importer.Ask("sum");
  return {"imported two seconds later, in a process that is the only one on the GPU, it has " +
              std::string(sum == expected ? "the same bytes" : "other bytes: " + sum),
          sum == expected};
}

Answer StoreToAReadOnlyMapping() {
  Exporter exporter(Kind::kVmm);
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  Peer careless;
  Peer careful;
  for (Peer* peer : {&careless, &careful}) {
    const std::string reply = peer->Ask(Importing(Kind::kVmm, kSmallBytes), &exporter.handle);
    if (!IsOk(reply)) return {"no import: " + reply, false};
  }
  const std::string before = careful.Ask("sum");
  const std::string stored = careless.Ask("store");
  if (stored == "error no kernels") return {"not asked: this CUDA runs no kernels"};
  const std::string again = careless.Ask("sum");
  const std::string after = careful.Ask("sum");
  return {"the store: " + stored + "; the same process afterwards: " + Verdict(again) +
              "; another: " + (after == before ? "unharmed" : after) +
              "; the exporter: " + (exporter.peer.Ask("sum") == before ? "unharmed" : "harmed"),
          !IsOk(stored) && after == before};
}

Answer ImportTime(Kind kind, uint64_t largest_bytes) {
  std::string words;
  bool as_needed = true;
  for (const uint64_t gib : {1, 10, 40}) {
    const uint64_t bytes = gib * kGib;
    if (!words.empty()) words += "; ";
    if (bytes > largest_bytes || FreeBytes() < bytes + kGib) {
      words += Gib(bytes) + ": not asked, it does not fit";
      continue;
    }
    Exporter exporter(kind, bytes);
    if (!IsOk(exporter.reply)) return {words + Gib(bytes) + ": " + exporter.reply, false};
    Peer importer;
    importer.Ask("context");
    std::istringstream reply(importer.Ask(Importing(kind, bytes), &exporter.handle));
    std::string verdict;
    double nanos = 0;
    reply >> verdict >> nanos;
    as_needed = as_needed && verdict == "ok";
    char text[64];
    std::snprintf(text, sizeof(text), "%s: %.2f ms", Gib(bytes).c_str(), nanos / 1e6);
    words += verdict == "ok" ? text : Gib(bytes) + ": " + reply.str();
  }
  return {words, as_needed};
}

Answer ContextMemory() {
  const uint64_t before = FreeBytes();
  std::vector<std::unique_ptr<Peer>> peers;
  std::string words;
  for (int i = 0; i < 4; ++i) {
    peers.push_back(std::make_unique<Peer>());
    peers.back()->Ask("context");
    const uint64_t after = FreeBytes();
    words += (words.empty() ? "" : ", ") +
             std::to_string(before > after ? (before - after) / kMib : 0) + " MiB";
  }
  return {"1, 2, 3 and 4 processes that have nothing but a context: " + words};
}

Answer IpcInItsExporter() {
  Exporter exporter(Kind::kIpc);
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  return {Verdict(exporter.peer.Ask(Importing(Kind::kIpc, kSmallBytes), &exporter.handle))};
}

std::string UuidOf(int ordinal) {
  cudaDeviceProp properties;
  return cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess
             ? wire::GpuUuidText(properties.uuid.bytes)
             : "";
}

Answer OtherVisibleDevices(Kind kind, int count) {
  Exporter exporter(kind, kSmallBytes, {.env = {"CUDA_VISIBLE_DEVICES=" + UuidOf(0)}});
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  const std::string sum = exporter.peer.Ask("sum");
  if (count < 2) {
    Peer importer;
    const std::string reply = importer.Ask(Importing(kind, kSmallBytes), &exporter.handle);
    return {"by UUID in one and not at all in the other: " + Verdict(reply) +
                "; reversed or without that GPU: not asked, there is one GPU",
            IsOk(reply) && importer.Ask("sum") == sum};
  }
  Peer reversed({.ordinal = 1, .env = {"CUDA_VISIBLE_DEVICES=" + UuidOf(1) + "," + UuidOf(0)}});
  const std::string there = reversed.Ask(Importing(kind, kSmallBytes), &exporter.handle);
  const bool same = IsOk(there) && reversed.Ask("sum") == sum;
  Peer blind({.env = {"CUDA_VISIBLE_DEVICES=" + UuidOf(1)}});
  const std::string hidden = blind.Ask(Importing(kind, kSmallBytes), &exporter.handle);
  return {"as its second GPU: " + Verdict(there) + "; without that GPU: " + Verdict(hidden), same};
}

Answer AnotherUser(Kind kind) {
  constexpr char kSetpriv[] = "/usr/bin/setpriv";
  if (::geteuid() != 0) return {"not asked: only root can be several users"};
  if (::access(kSetpriv, X_OK) != 0) return {"not asked: setpriv is not installed"};
  Exporter exporter(kind);
  if (!IsOk(exporter.reply)) return {"no export: " + exporter.reply, false};
  Peer importer({.wrapper = {kSetpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--"}});
  const std::string reply = importer.Ask(Importing(kind, kSmallBytes), &exporter.handle);
  return {"a worker of user 65534: " + Verdict(reply) +
          (IsOk(reply) ? ", and reading: " + Verdict(importer.Ask("sum")) : std::string())};
}

struct Question {
  std::string text;
  std::function<Answer()> ask;
};

void PrintMachine(int count) {
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) continue;
    std::printf("- GPU %d: %s, %.1f GiB, compute capability %d.%d, %s\n", ordinal, properties.name,
                static_cast<double>(properties.totalGlobalMem) / kGib, properties.major,
                properties.minor, wire::GpuUuidText(properties.uuid.bytes).c_str());
  }
  std::printf("- CUDA %d.%d of the driver, runtime %d.%d\n\n", driver / 1000, driver % 1000 / 10,
              runtime / 1000, runtime % 1000 / 10);
}

int Main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--print-ptx") return std::puts(Ptx()) >= 0 ? 0 : 1;
  uint64_t largest_bytes = 40 * kGib;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--peer") return RunPeer(std::atoi(argv[i + 1]));
    if (option == "--largest-gib") largest_bytes = std::strtoull(argv[i + 1], nullptr, 10) * kGib;
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    std::printf("no GPU: %s\n", ErrorText(error).c_str());
    return 77;
  }
  PrintMachine(count);
  std::vector<Question> questions;
  for (const Kind kind : {Kind::kVmm, Kind::kIpc}) {
    const std::string name = kind == Kind::kVmm ? "CUDA VMM" : "CUDA IPC";
    questions.push_back({"kill -9 of the exporter while an importer computes, " + name,
                         [kind] { return KillTheExporter(kind); }});
    questions.push_back({"time of the import calls, " + name,
                         [kind, largest_bytes] { return ImportTime(kind, largest_bytes); }});
    questions.push_back({"importer with another CUDA_VISIBLE_DEVICES, " + name,
                         [kind, count] { return OtherVisibleDevices(kind, count); }});
    questions.push_back(
        {"importer of another user, " + name, [kind] { return AnotherUser(kind); }});
  }
  questions.push_back({"a descriptor (CUDA VMM) that nobody but its holder keeps alive",
                       DescriptorWithoutAnExporter});
  questions.push_back(
      {"a kernel that stores to a read-only mapping (CUDA VMM)", StoreToAReadOnlyMapping});
  questions.push_back({"a CUDA IPC handle opened in its exporter", IpcInItsExporter});
  questions.push_back({"device memory of a context", ContextMemory});

  std::printf("| question | answer | as modeld needs it |\n|---|---|---|\n");
  bool all_as_needed = true;
  for (const Question& question : questions) {
    const Answer answer = question.ask();
    all_as_needed = all_as_needed && answer.as_needed;
    std::printf("| %s | %s | %s |\n", question.text.c_str(), answer.words.c_str(),
                answer.words.starts_with("not asked") ? "-"
                : answer.as_needed                    ? "yes"
                                                      : "**no**");
    std::fflush(stdout);
  }
  return all_as_needed ? 0 : 1;
}

}  // namespace
}  // namespace modeld::gpu_test

int main(int argc, char** argv) { return modeld::gpu_test::Main(argc, argv); }
