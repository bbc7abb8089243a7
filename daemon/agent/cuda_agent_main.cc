// modeld-agent-cuda: keeps the residencies of one GPU, as modeld-agent-host keeps the host's.
//
// --list shows modeld (and people) which GPUs there are; it makes no context on any.

#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "absl/strings/escaping.h"
#include "agent/agent_program.h"
#include "base/child_process.h"
#include "memory/cuda_allocator.h"
#include "memory/cuda_device.h"
#include "wire/error.h"

namespace modeld::agent {
namespace {

constexpr std::chrono::seconds kProbeTimeout{20};

struct CudaArguments {
  AgentArguments agent;
  std::string device;
  std::string export_wish = "auto";
  uint64_t pinned_mib = 128;
  bool list = false;
  std::string probe_ipc;  // the handle in hexadecimal
};

int List() {
  v1::GpuList list;
  const auto devices = memory::ListCudaDevices();
  if (!devices.ok()) list.add_notes(std::string(devices.status().message()));
  if (devices.ok()) {
    for (const std::string& note : devices->notes) list.add_notes(note);
    for (const memory::CudaDeviceFacts& facts : devices->usable) {
      v1::Gpu& gpu = *list.add_gpus();
      gpu.set_uuid(facts.uuid);
      gpu.set_name(facts.name);
      gpu.set_pci_bus_id(facts.pci_bus_id);
      gpu.set_memory_bytes(facts.memory_bytes);
      gpu.set_driver_version(memory::CudaDriverVersion());
    }
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(list, &text, options).ok()) return 1;
  std::fputs(text.c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

// The other side of CUDA IPC, in a process of its own: an exporter cannot open its own handle.
absl::Status ProbeIpcInAChild(const std::string& ipc_handle) {
  base::ChildProcess::Options options;
  options.path = "/proc/self/exe";
  options.args = {"--probe-ipc", absl::BytesToHexString(ipc_handle)};
  auto child = base::ChildProcess::Spawn(options);
  if (!child.ok()) return child.status();
  const auto exit = child->Wait(base::SystemClock().Now() + kProbeTimeout);
  if (exit && exit->ok()) return absl::OkStatus();
  return wire::MakeError(wire::Reason::kDeviceUnavailable,
                         "another process cannot open a CUDA IPC handle: " +
                             (exit ? exit->Text() : std::string("it does not answer")));
}

int ProbeIpc(const std::string& hex) {
  const absl::Status status = memory::TryIpcHandle(absl::HexStringToBytes(hex));
  if (status.ok()) return 0;
  std::fprintf(stderr, "modeld-agent-cuda: %s\n", std::string(status.message()).c_str());
  return 1;
}

absl::StatusOr<Agent::Options> OpenGpu(const CudaArguments& arguments) {
  if (auto status = memory::OpenCudaDevice(arguments.device); !status.ok()) return status;
  auto chosen = memory::ProbeCudaExport(arguments.export_wish, ProbeIpcInAChild);
  if (!chosen.ok()) return chosen.status();
  auto allocator = memory::CudaAllocator::Create(
      {.kind = chosen->kind, .pinned_bytes = arguments.pinned_mib << 20});
  if (!allocator.ok()) return allocator.status();
  Agent::Options options;
  options.allocator = *std::move(allocator);
  options.kind = v1::Device::CUDA;
  options.export_kind = chosen->kind;
  options.export_note = chosen->note;
  options.page_size_bytes = wire::kSegmentUnitBytes;
  return options;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Keeps the memory of modeld's residencies on one GPU. Started by modeld, not by hand.");
  app.set_version_flag("--version", "modeld-agent-cuda " MODELD_VERSION);
  CudaArguments arguments;
  AddAgentArguments(app, arguments.agent);
  app.add_flag("--list", arguments.list, "Show the GPUs as JSON, and end");
  app.add_option("--device", arguments.device, "UUID of the GPU, the only one that it may see");
  app.add_option("--export", arguments.export_wish, "How segments leave the agent")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "vmm", "ipc"}));
  app.add_option("--pinned-mib", arguments.pinned_mib, "Page-locked memory to load through, in MiB")
      ->capture_default_str()
      ->check(CLI::Range(16, 1 << 20));
  app.add_option("--probe-ipc", arguments.probe_ipc)->group("");
  CLI11_PARSE(app, argc, argv);
  if (arguments.list) return List();
  if (!arguments.probe_ipc.empty()) return ProbeIpc(arguments.probe_ipc);
  if (arguments.agent.socket.empty() || arguments.device.empty()) {
    std::fputs("modeld-agent-cuda: --socket and --device are needed, or --list\n", stderr);
    return 2;
  }
  return RunAgent("modeld-agent-cuda", arguments.agent, [&] { return OpenGpu(arguments); });
}

}  // namespace
}  // namespace modeld::agent

int main(int argc, char** argv) { return modeld::agent::Main(argc, argv); }
