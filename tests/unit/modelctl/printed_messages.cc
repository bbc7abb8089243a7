#include "printed_messages.h"

#include <google/protobuf/util/time_util.h>

namespace modeld::modelctl {

using google::protobuf::util::TimeUtil;

google::protobuf::Timestamp Ago(int64_t seconds) {
  return TimeUtil::SecondsToTimestamp(kNow - seconds);
}

v1::ListResidenciesResponse MakeResidencies() {
  v1::ListResidenciesResponse reply;
  v1::Residency& ready = *reply.add_residencies();
  ready.set_id("3f2a91c07b5e4d21");
  ready.set_reference("minilm/model.safetensors");
  ready.add_references("minilm/model.safetensors");
  ready.add_references("/models/minilm/model.safetensors");
  ready.set_digest(kDigest);
  ready.set_device("host");
  ready.set_state(v1::Residency::READY);
  ready.set_size_bytes(92274688);
  ready.set_own_bytes(92274688);
  ready.set_lease_count(4);
  ready.set_pinned(true);
  ready.set_generation(1);
  ready.set_tensor_bytes(90868376);
  ready.set_tensor_count(103);
  ready.set_format("safetensors");
  ready.set_page_size_bytes(4096);
  *ready.mutable_created_time() = Ago(303);
  *ready.mutable_ready_time() = Ago(302);
  v1::Residency& loading = *reply.add_residencies();
  loading.set_id("77aa91c07b5e4d22");
  loading.set_reference("llama/été.safetensors");
  loading.set_device("host");
  loading.set_state(v1::Residency::LOADING);
  loading.set_size_bytes(uint64_t{4} << 30);
  loading.set_tensor_bytes(1000);
  loading.set_loaded_bytes(439);
  loading.set_instance("canary");
  loading.set_waiter_count(2);
  loading.set_generation(2);
  *loading.mutable_created_time() = Ago(3);
  v1::Residency& failed = *reply.add_residencies();
  failed.set_id("3f2a91c07bffffff");
  failed.set_reference("bad\033[2J.safetensors");
  failed.set_device("host");
  failed.set_state(v1::Residency::FAILED);
  failed.set_error_reason("CHECKPOINT_MALFORMED");
  failed.set_error_message("header of 0 bytes");
  *failed.mutable_created_time() = Ago(90000);
  return reply;
}

v1::ListLeasesResponse MakeLeases() {
  v1::ListLeasesResponse reply;
  const char* const scopes[] = {"prod/embed/a/graph-1/n", "prod/embed/a/graph-2/n",
                                "prod/embed/b/graph-1", ""};
  for (int i = 0; i < 4; ++i) {
    v1::Lease& lease = *reply.add_leases();
    lease.set_id(std::to_string(i + 9));
    lease.set_residency_id("3f2a91c07b5e4d21");
    lease.set_reference("minilm/model.safetensors");
    lease.set_pid(4242 + i);
    lease.set_uid(1000);
    lease.set_gid(100);
    lease.set_program("worker");
    lease.set_scope(scopes[i]);
    *lease.mutable_granted_time() = Ago(60 * i);
  }
  return reply;
}

v1::ListDevicesResponse MakeDevices() {
  v1::ListDevicesResponse reply;
  v1::Device& host = *reply.add_devices();
  host.set_id("host");
  host.set_kind(v1::Device::HOST);
  host.set_capacity_bytes(uint64_t{8} << 30);
  host.set_reserved_bytes(uint64_t{4} << 30);
  host.set_resident_bytes(92274688);
  host.set_export_("memfd");
  host.set_page_size_bytes(4096);
  host.set_page_size_note("no huge pages are reserved");
  host.set_available(true);
  host.set_agent_pid(77);
  host.set_agent_starts(1);
  v1::Device& gpu = *reply.add_devices();
  gpu.set_id("GPU-1");
  gpu.set_kind(v1::Device::CUDA);
  gpu.set_index(1);
  gpu.set_name("Tesla T4");
  gpu.set_pci_bus_id("0000:17:00.0");
  gpu.set_memory_bytes(uint64_t{16} << 30);
  gpu.set_export_("ipc");
  gpu.set_export_note("the driver has no virtual memory management");
  gpu.add_notes("its agent has not started yet");
  reply.mutable_parser_sandbox()->set_landlock_abi(4);
  reply.mutable_parser_sandbox()->set_seccomp(true);
  reply.mutable_parser_sandbox()->set_address_space_limit_bytes(uint64_t{1} << 30);
  return reply;
}

v1::InspectCheckpointResponse MakeCheckpoint() {
  v1::InspectCheckpointResponse reply;
  v1::Checkpoint& c = *reply.mutable_checkpoint();
  c.set_reference("minilm/model.safetensors");
  c.add_files("/models/minilm/model.safetensors");
  c.set_format("safetensors");
  c.set_file_bytes(2048);
  c.set_tensor_bytes(1512);
  c.set_tensor_count(2);
  c.set_resident_bytes(2 << 20);
  (*c.mutable_metadata())["format"] = "pt";
  (*c.mutable_metadata())["author"] = "somebody";
  v1::TensorInfo& tensor = *reply.add_tensors();
  tensor.set_name("embeddings.weight");
  tensor.set_dtype("F32");
  tensor.add_shape(3);
  tensor.add_shape(125);
  tensor.set_size_bytes(1500);
  tensor.set_file_offset(536);
  v1::TensorInfo& scalar = *reply.add_tensors();
  scalar.set_name("step");
  scalar.set_dtype("I64");
  scalar.set_size_bytes(8);
  scalar.set_file_offset(2036);
  return reply;
}

v1::WatchEventsResponse MakeEvent() {
  v1::WatchEventsResponse reply;
  v1::Event& event = *reply.mutable_event();
  event.set_sequence(12);
  *event.mutable_time() = TimeUtil::MillisecondsToTimestamp(kNow * 1000 + 250);
  event.set_type(v1::Event::LEASE_GRANTED);
  event.set_residency_id("3f2a91c07b5e4d21");
  event.set_reference("minilm/model.safetensors");
  event.set_lease_id("9");
  event.set_pid(4242);
  event.set_scope("prod/embed");
  return reply;
}

std::string Text(const char* golden) { return golden + 1; }

std::unique_ptr<Printer> Make(Format format, size_t width, bool colour) {
  return MakePrinter(format, {.now = std::chrono::system_clock::from_time_t(kNow),
                              .terminal = width > 0,
                              .width = width,
                              .colour = colour});
}

}  // namespace modeld::modelctl
