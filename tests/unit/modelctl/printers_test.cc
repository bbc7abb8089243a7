// Golden texts: what a person and a program see.

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include "modelctl/printer.h"
#include "modelctl/tree.h"

namespace modeld::modelctl {
namespace {

using google::protobuf::util::TimeUtil;

constexpr char kDigest[] =
    "sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b";
constexpr int64_t kNow = 1700000000;  // 2023-11-14T22:13:20Z

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

// A golden text begins on a line of its own.
std::string Text(const char* golden) { return golden + 1; }

std::unique_ptr<Printer> Make(Format format, size_t width = 0, bool colour = false) {
  return MakePrinter(format, {.now = std::chrono::system_clock::from_time_t(kNow),
                              .terminal = width > 0,
                              .width = width,
                              .colour = colour});
}

// ---- table ----

TEST(TablePrinter, ListsResidencies) {
  EXPECT_EQ(Make(Format::kTable)->Residencies(MakeResidencies()), Text(R"(
ID           REFERENCE                 INSTANCE  DEVICE  STATE            SIZE  LEASES  PINNED  DIGEST          AGE  REASON
3f2a91c07b5  minilm/model.safetensors            host    READY        88.0 MiB       4  yes     4f1c0a9be2d3  5m03s
77aa91c07b5  llama/été.safetensors     canary    host    LOADING 43%   4.0 GiB       0  no      -                3s
3f2a91c07bf  bad\x1b[2J.safetensors              host    FAILED            0 B       0  no      -             1d01h  CHECKPOINT_MALFORMED
)"));
}

TEST(TablePrinter, ShortensReferencesOnANarrowTerminalOnly) {
  const std::string narrow = Make(Format::kTable, 100)->Residencies(MakeResidencies());
  EXPECT_NE(narrow.find("…"), std::string::npos) << narrow;
  EXPECT_EQ(Make(Format::kTable)->Residencies(MakeResidencies()).find("…"), std::string::npos);
}

TEST(TablePrinter, DescribesAResidencyWithItsLeases) {
  v1::GetResidencyResponse reply;
  *reply.mutable_residency() = MakeResidencies().residencies(0);
  *reply.mutable_leases() = MakeLeases().leases();
  EXPECT_EQ(Make(Format::kTable)->Residency(reply), Text(R"(
Residency      3f2a91c07b5e4d21
Reference      minilm/model.safetensors
Also known as  /models/minilm/model.safetensors
Device         host
State          READY
Digest         sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b
Size           88.0 MiB (92274688 bytes)
Tensors        103, 86.7 MiB (90868376 bytes)
Format         safetensors
Pages          4.0 KiB
Pinned         yes
Generation     1
Created        2023-11-14T22:08:17Z (5m03s ago)
Ready          2023-11-14T22:08:18Z (5m02s ago)
Leases         4

LEASE  RESIDENCY  REFERENCE                  PID   UID  PROGRAM  SCOPE                     AGE
9      3f2a91c0   minilm/model.safetensors  4242  1000  worker   prod/embed/a/graph-1/n     0s
10     3f2a91c0   minilm/model.safetensors  4243  1000  worker   prod/embed/a/graph-2/n  1m00s
11     3f2a91c0   minilm/model.safetensors  4244  1000  worker   prod/embed/b/graph-1    2m00s
12     3f2a91c0   minilm/model.safetensors  4245  1000  worker   -                       3m00s
)"));
}

TEST(TablePrinter, DescribesAFailure) {
  v1::GetResidencyResponse reply;
  *reply.mutable_residency() = MakeResidencies().residencies(2);
  EXPECT_EQ(Make(Format::kTable)->Residency(reply), Text(R"(
Residency   3f2a91c07bffffff
Reference   bad\x1b[2J.safetensors
Device      host
State       FAILED
Error       CHECKPOINT_MALFORMED: header of 0 bytes
Digest      not known yet
Size        0 bytes
Tensors     0, 0 bytes
Pages       -
Pinned      no
Generation  0
Created     2023-11-13T21:13:20Z (1d01h ago)
Leases      0
)"));
}

TEST(TablePrinter, DrawsTheTree) {
  v1::ListResidenciesResponse residencies = MakeResidencies();
  v1::ListLeasesResponse leases = MakeLeases();
  // A node with two residencies, and one that nobody uses.
  v1::Residency& second = *residencies.add_residencies();
  second.set_id("5500000000000000");
  second.set_reference("head.safetensors");
  second.set_state(v1::Residency::READY);
  second.set_tensor_bytes(1024);
  v1::Lease& lease = *leases.add_leases();
  lease = leases.leases(2);
  lease.set_residency_id(second.id());
  lease.set_reference(second.reference());
  v1::Residency& idle = *residencies.add_residencies();
  idle = second;
  idle.set_id("6600000000000000");
  EXPECT_EQ(Make(Format::kTable)->Tree(MakeScopeTree(residencies, leases)), Text(R"(
SCOPE             ID        REFERENCE                     SIZE  PIDS
prod
└─ embed
   ├─ a
   │  ├─ graph-1
   │  │  └─ n     3f2a91c0  minilm/model.safetensors  86.7 MiB  4242
   │  └─ graph-2
   │     └─ n     3f2a91c0  minilm/model.safetensors  86.7 MiB  4243
   └─ b
      └─ graph-1  3f2a91c0  minilm/model.safetensors  86.7 MiB  4244
                  55000000  head.safetensors           1.0 KiB  4244
(no scope)        3f2a91c0  minilm/model.safetensors  86.7 MiB  4245
(idle)            66000000  head.safetensors           1.0 KiB

5 uses, 2 copies, 86.7 MiB instead of 346.6 MiB
)"));
}

TEST(TablePrinter, SaysThatNothingIsInUse) {
  EXPECT_EQ(Make(Format::kTable)->Tree({}), "nothing is in use\n");
}

TEST(TablePrinter, ListsLeases) {
  EXPECT_EQ(Make(Format::kTable)->Leases(MakeLeases()), Text(R"(
LEASE  RESIDENCY  REFERENCE                  PID   UID  PROGRAM  SCOPE                     AGE
9      3f2a91c0   minilm/model.safetensors  4242  1000  worker   prod/embed/a/graph-1/n     0s
10     3f2a91c0   minilm/model.safetensors  4243  1000  worker   prod/embed/a/graph-2/n  1m00s
11     3f2a91c0   minilm/model.safetensors  4244  1000  worker   prod/embed/b/graph-1    2m00s
12     3f2a91c0   minilm/model.safetensors  4245  1000  worker   -                       3m00s
)"));
}

TEST(TablePrinter, ListsDevicesWithTheirNotesAndTheSandbox) {
  EXPECT_EQ(Make(Format::kTable)->Devices(MakeDevices()), Text(R"(
DEVICE  INDEX   NAME      KIND  CAPACITY  RESERVED  RESIDENT  EVICTABLE     FREE  EXPORT    PAGES  AGENT
host                      HOST   8.0 GiB   4.0 GiB  88.0 MiB        0 B  3.9 GiB  memfd   4.0 KiB  pid 77
GPU-1   cuda:1  Tesla T4  CUDA       0 B       0 B       0 B        0 B      0 B  ipc           -  down

host            pages of 4.0 KiB: no huge pages are reserved
GPU-1           export ipc: the driver has no virtual memory management
GPU-1           its agent has not started yet
parser sandbox  Landlock ABI 4, seccomp, address space at most 1.0 GiB
)"));
}

TEST(TablePrinter, HasNoColumnsForGpusWhereThereAreNone) {
  v1::ListDevicesResponse reply = MakeDevices();
  reply.mutable_devices()->RemoveLast();
  EXPECT_EQ(Make(Format::kTable)->Devices(reply).find("INDEX"), std::string::npos);
}

TEST(TablePrinter, SaysWhatIsMissingOfGpus) {
  v1::ListDevicesResponse reply = MakeDevices();
  reply.add_gpu_notes("there is no driver");
  for (const Format format : {Format::kTable, Format::kWide}) {
    EXPECT_NE(Make(format)->Devices(reply).find("\nGPUs            there is no driver\n"),
              std::string::npos);
  }
}

TEST(TablePrinter, SaysWhatTheSandboxLacks) {
  v1::ListDevicesResponse reply;
  EXPECT_NE(Make(Format::kTable)->Devices(reply).find("not known yet"), std::string::npos);
  reply.mutable_parser_sandbox()->set_seccomp(false);
  EXPECT_NE(
      Make(Format::kTable)->Devices(reply).find("no Landlock, no seccomp, address space unlimited"),
      std::string::npos);
}

TEST(TablePrinter, PrintsAnEventOnALine) {
  const auto printer = Make(Format::kTable);
  EXPECT_EQ(printer->EventTitle() + printer->Event(MakeEvent()), Text(R"(
TIME                  EVENT                  ID        WHAT
2023-11-14T22:13:20Z  LEASE_GRANTED          3f2a91c0  minilm/model.safetensors  pid 4242  prod/embed
)"));
}

TEST(TablePrinter, DescribesACheckpoint) {
  EXPECT_EQ(Make(Format::kTable)->Checkpoint(MakeCheckpoint(), true), Text(R"(
Reference      minilm/model.safetensors
File           /models/minilm/model.safetensors
Format         safetensors
Files          2.0 KiB (2048 bytes)
Tensors        2, 1.5 KiB (1512 bytes)
When resident  2.0 MiB (2097152 bytes) on the host
Metadata       author = somebody
Metadata       format = pt

TENSOR             DTYPE  SHAPE        SIZE  OFFSET
embeddings.weight  F32    [3, 125]  1.5 KiB     536
step               I64    []            8 B    2036
)"));
  EXPECT_EQ(Make(Format::kTable)->Checkpoint(MakeCheckpoint(), false).find("embeddings"),
            std::string::npos);
}

TEST(TablePrinter, SaysWhatOperatorsDid) {
  const auto printer = Make(Format::kTable);
  v1::EvictResponse evicted;
  *evicted.mutable_residency() = MakeResidencies().residencies(0);
  evicted.set_freed_bytes(92274688);
  v1::PinResponse pinned;
  *pinned.mutable_residency() = evicted.residency();
  v1::UnpinResponse unpinned;
  *unpinned.mutable_residency() = evicted.residency();
  EXPECT_EQ(printer->Evicted(evicted),
            "evicted 3f2a91c0 minilm/model.safetensors: 88.0 MiB freed\n");
  EXPECT_EQ(printer->Pinned(pinned), "pinned 3f2a91c0 minilm/model.safetensors\n");
  EXPECT_EQ(printer->Unpinned(unpinned), "unpinned 3f2a91c0 minilm/model.safetensors\n");
}

TEST(TablePrinter, NamesTensorsThatDiffer) {
  VerifyReport report;
  report.set_residency_id("3f2a91c07b5e4d21");
  report.set_reference("m.safetensors");
  report.set_tensor_count(2);
  report.set_tensor_bytes(2048);
  report.set_expected_digest(kDigest);
  report.set_found_digest("sha256:00");
  TensorMismatch& mismatch = *report.add_mismatches();
  mismatch.set_name("layer.0.weight");
  mismatch.set_expected_digest(kDigest);
  mismatch.set_found_digest("sha256:0011223344556677");
  EXPECT_EQ(Make(Format::kTable)->Verified(report), Text(R"(
Residency  3f2a91c0
Reference  m.safetensors
Read       2 tensors, 2.0 KiB
Digest     sha256:00
Expected   sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b
Result     DIFFERENT

TENSOR          EXPECTED      FOUND
layer.0.weight  4f1c0a9be2d3  001122334455
)"));
}

TEST(TablePrinter, UsesColoursOnlyWhereAsked) {
  EXPECT_NE(
      Make(Format::kTable, 200, true)->Residencies(MakeResidencies()).find("\033[32mREADY\033[0m"),
      std::string::npos);
  EXPECT_EQ(Make(Format::kTable, 200, false)->Residencies(MakeResidencies()).find('\033'),
            std::string::npos);
}

TEST(TablePrinter, TellsTheVersions) {
  VersionReport report;
  report.set_client_version("1.2.3");
  EXPECT_EQ(Make(Format::kTable)->Version(report), "modelctl  1.2.3\n");
  report.mutable_server()->set_version("1.2.2");
  report.mutable_server()->set_pid(7);
  *report.mutable_server()->mutable_start_time() = Ago(61);
  EXPECT_EQ(Make(Format::kTable)->Version(report),
            "modelctl  1.2.3\nmodeld    1.2.2  (pid 7, up 1m01s)\n");
}

TEST(TablePrinter, SaysWhatIsSharedWhereSomethingIs) {
  v1::ListResidenciesResponse one;
  v1::Residency& r = *one.add_residencies();
  r.set_id("3f2a91c07b5e4d21");
  r.set_reference("merge.safetensors");
  r.set_state(v1::Residency::READY);
  r.set_size_bytes(6 << 20);
  r.set_shared_bytes(3 << 20);
  r.set_stranded_bytes(1 << 20);
  const std::string text = Make(Format::kTable, 200)->Residencies(one);
  EXPECT_NE(text.find("SHARED"), std::string::npos) << text;
  EXPECT_NE(text.find("3.0 MiB"), std::string::npos) << text;
  EXPECT_NE(text.find("1.0 MiB"), std::string::npos) << text;
  EXPECT_EQ(Make(Format::kTable, 200)->Residencies(MakeResidencies()).find("SHARED"),
            std::string::npos);
}

TEST(TablePrinter, ShowsAliasesAndExpiryOnlyWhereThereAreSome) {
  v1::ListResidenciesResponse reply = MakeResidencies();
  reply.mutable_residencies()->RemoveLast();
  v1::Residency& version = *reply.mutable_residencies(0);
  version.add_aliases("prod");
  version.add_aliases("test");
  *version.mutable_expire_time() = Ago(-299);
  reply.mutable_residencies(1)->set_state(v1::Residency::READY);
  reply.mutable_residencies(1)->set_superseded_by("prod");
  EXPECT_EQ(Make(Format::kTable)->Residencies(reply), Text(R"(
ID        REFERENCE                 ALIAS      INSTANCE  DEVICE  STATE                  SIZE  LEASES  PINNED  DIGEST          AGE  EXPIRES
3f2a91c0  minilm/model.safetensors  prod,test            host    READY              88.0 MiB       4  yes     4f1c0a9be2d3  5m03s  in 4m59s
77aa91c0  llama/été.safetensors                canary    host    READY, superseded   4.0 GiB       0  no      -                3s
)"));
}

TEST(TablePrinter, DescribesHowLongAResidencyStays) {
  v1::GetResidencyResponse reply;
  v1::Residency& r = *reply.mutable_residency();
  r = MakeResidencies().residencies(0);
  r.add_aliases("prod");
  r.mutable_keep_alive()->set_seconds(300);
  *r.mutable_expire_time() = Ago(-299);
  const auto text = [&] { return Make(Format::kTable)->Residency(reply); };
  EXPECT_NE(text().find("\nAliases        prod\n"), std::string::npos) << text();
  EXPECT_NE(text().find("\nKeep-alive     5m\n"), std::string::npos) << text();
  EXPECT_NE(text().find("\nExpires        2023-11-14T22:18:19Z (in 4m59s)\n"), std::string::npos)
      << text();
  r.mutable_keep_alive()->set_seconds(-1);
  EXPECT_NE(text().find("\nKeep-alive     forever\n"), std::string::npos) << text();
  r.set_superseded_by("prod");
  EXPECT_NE(text().find("\nSuperseded by  another version as prod; it goes with its last holder\n"),
            std::string::npos)
      << text();
}

TEST(TablePrinter, SaysWhySomethingWent) {
  v1::WatchEventsResponse reply = MakeEvent();
  v1::Event& event = *reply.mutable_event();
  event.set_type(v1::Event::RESIDENCY_DRAINING);
  event.clear_pid();
  event.clear_scope();
  event.set_cause("room");
  event.set_message("made room for big");
  EXPECT_EQ(
      Make(Format::kTable)->Event(reply),
      "2023-11-14T22:13:20Z  RESIDENCY_DRAINING     3f2a91c0  minilm/model.safetensors  room  "
      "made room for big\n");
}

v1::ExplainResidencyResponse MakeExplanation(int candidates) {
  v1::ExplainResidencyResponse reply;
  *reply.mutable_residency() = MakeResidencies().residencies(0);
  reply.add_sentences("It was loaded 5 min ago.");
  reply.add_sentences("It would be the \033[2Jfirst to go.");
  *reply.add_events() = MakeEvent().event();
  v1::Event& draining = *reply.mutable_events(0);
  draining.set_type(v1::Event::RESIDENCY_DRAINING);
  draining.clear_pid();
  draining.clear_scope();
  draining.set_bytes(2 << 20);
  draining.set_cause("expired");
  draining.set_message("its keep-alive is over");
  for (int i = 0; i < candidates; ++i) {
    v1::EvictionCandidate& one = *reply.add_eviction_order();
    one.set_residency_id("aa" + std::to_string(10 + i) + "00000000");
    one.set_reference("m" + std::to_string(i));
    *one.mutable_idle_since() = Ago(600 - i);
    one.set_freed_bytes(2 << 20);
  }
  return reply;
}

TEST(TablePrinter, ExplainsWithTheHistoryAndWhoWouldGoNext) {
  v1::ExplainResidencyResponse reply = MakeExplanation(2);
  *reply.mutable_eviction_order(1)->mutable_not_before() = Ago(-9);
  EXPECT_EQ(Make(Format::kTable)->Explained(reply), Text(R"(
It was loaded 5 min ago.
It would be the \x1b[2Jfirst to go.

TIME                  EVENT               CAUSE    WHAT
2023-11-14T22:13:20Z  RESIDENCY_DRAINING  expired  minilm/model.safetensors  2.0 MiB  its keep-alive is over

NEXT_TO_GO  REFERENCE    IDLE    FREES  NOT_BEFORE
aa100000    m0         10m00s  2.0 MiB
aa110000    m1          9m59s  2.0 MiB  in 9s
)"));
  EXPECT_EQ(Make(Format::kName)->Explained(reply), "3f2a91c07b5e4d21\n");
  reply.clear_residency();
  EXPECT_EQ(Make(Format::kName)->Explained(reply), "3f2a91c07b5e4d21\n")
      << "only the history is left";
}

TEST(TablePrinter, ShowsTenOfThoseThatWouldGoAndAllInFull) {
  const std::string ten = Make(Format::kTable)->Explained(MakeExplanation(12));
  EXPECT_NE(ten.find("m9"), std::string::npos);
  EXPECT_EQ(ten.find("m10"), std::string::npos);
  EXPECT_TRUE(ten.ends_with("and 2 more: -o wide\n")) << ten;
  const std::string all = Make(Format::kWide)->Explained(MakeExplanation(12));
  EXPECT_NE(all.find("aa2100000000  m11        2023-11-14T22:03:31Z  2097152\n"), std::string::npos)
      << all;
  EXPECT_EQ(all.find("more"), std::string::npos) << all;
}

TEST(TablePrinter, SaysWhatBecomesOfTheVersionBefore) {
  v1::SetAliasResult result;
  result.mutable_alias()->set_name("prod");
  *result.mutable_residency() = MakeResidencies().residencies(0);
  const auto text = [&] { return Make(Format::kTable)->AliasSet(result); };
  EXPECT_EQ(text(), "prod names 3f2a91c0 minilm/model.safetensors on host\n");
  v1::Residency& old = *result.add_superseded();
  old = MakeResidencies().residencies(1);
  EXPECT_NE(text().find("it goes now, because nobody holds it\n0 holders were told"),
            std::string::npos)
      << text();
  old.set_lease_count(1);
  result.set_told_holders(1);
  EXPECT_NE(text().find("it goes when 1 holder has let go\n1 holder was told"), std::string::npos)
      << text();
  old.set_pinned(true);
  EXPECT_NE(text().find("it stays, because it is pinned\n"), std::string::npos) << text();
}

TEST(TablePrinter, ListsAliases) {
  v1::ListAliasesResponse reply;
  v1::Alias& alias = *reply.add_aliases();
  alias.set_name("prod");
  alias.mutable_spec()->set_reference("models/v2.safetensors");
  alias.set_digest(kDigest);
  *alias.mutable_set_time() = Ago(61);
  EXPECT_EQ(Make(Format::kTable)->Aliases(reply), Text(R"(
ALIAS  REFERENCE              DEVICE  DIGEST          AGE
prod   models/v2.safetensors  host    4f1c0a9be2d3  1m01s
)"));
  v1::LoadConfig& config = *alias.mutable_spec()->mutable_load_config();
  config.set_cast("BF16");
  config.add_include("enc.*");
  config.set_key_prefix("ema.");
  alias.mutable_keep_alive()->set_seconds(600);
  EXPECT_EQ(Make(Format::kWide)->Aliases(reply), Text(R"(
ALIAS  REFERENCE              CONFIG                                 DEVICE  KEEP_ALIVE  DIGEST                                                                   SET
prod   models/v2.safetensors  cast BF16, include enc.*, prefix ema.  host    10m         sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b  2023-11-14T22:12:19Z
)"));
}

// ---- wide ----

TEST(WidePrinter, TellsWhatIsDegraded) {
  VersionReport report;
  report.mutable_server()->set_runtime_dir("/run/modeld");
  report.mutable_server()->add_degraded("state is not saved");
  EXPECT_NE(Make(Format::kWide)->Version(report).find("\nDegraded           state is not saved\n"),
            std::string::npos);
}

TEST(WidePrinter, ListsResidenciesInFull) {
  EXPECT_EQ(Make(Format::kWide, 40)->Residencies(MakeResidencies()), Text(R"(
ID                REFERENCE                                                  DEVICE  STATE              SIZE       OWN  SHARED  STRANDED  TENSOR_BYTES  TENSORS  LEASES  WAITING  PINNED  INSTANCE  GENERATION  FORMAT       PAGES  DIGEST                                                                   CREATED               READY                 RELEASED  ALIASES  KEEP_ALIVE  EXPIRES  SUPERSEDED_BY  REASON
3f2a91c07b5e4d21  minilm/model.safetensors,/models/minilm/model.safetensors  host    READY          92274688  92274688       0         0      90868376      103       4        0  yes     -                  1  safetensors   4096  sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b  2023-11-14T22:08:17Z  2023-11-14T22:08:18Z  -         -        -           -        -              -
77aa91c07b5e4d22  llama/été.safetensors                                      host    LOADING 43%  4294967296         0       0         0          1000        0       0        2  no      canary             2  -                0  -                                                                        2023-11-14T22:13:17Z  -                     -         -        -           -        -              -
3f2a91c07bffffff  bad\x1b[2J.safetensors                                     host    FAILED                0         0       0         0             0        0       0        0  no      -                  0  -                0  -                                                                        2023-11-13T21:13:20Z  -                     -         -        -           -        -              CHECKPOINT_MALFORMED
)"));
}

TEST(WidePrinter, ListsLeasesInFull) {
  EXPECT_EQ(Make(Format::kWide)->Leases(MakeLeases()), Text(R"(
LEASE  RESIDENCY         REFERENCE                  PID   UID  GID  PROGRAM  SCOPE                   GRANTED
9      3f2a91c07b5e4d21  minilm/model.safetensors  4242  1000  100  worker   prod/embed/a/graph-1/n  2023-11-14T22:13:20Z
10     3f2a91c07b5e4d21  minilm/model.safetensors  4243  1000  100  worker   prod/embed/a/graph-2/n  2023-11-14T22:12:20Z
11     3f2a91c07b5e4d21  minilm/model.safetensors  4244  1000  100  worker   prod/embed/b/graph-1    2023-11-14T22:11:20Z
12     3f2a91c07b5e4d21  minilm/model.safetensors  4245  1000  100  worker   -                       2023-11-14T22:10:20Z
)"));
}

TEST(WidePrinter, ListsDevicesInFull) {
  EXPECT_EQ(Make(Format::kWide)->Devices(MakeDevices()), Text(R"(
DEVICE  KIND    CAPACITY    RESERVED  RESIDENT  EVICTABLE        FREE  EXPORT  PAGES  AVAILABLE  AGENT_PID  AGENT_STARTS  INDEX   PCI_BUS_ID         MEMORY  NAME
host    HOST  8589934592  4294967296  92274688          0  4202692608  memfd    4096  yes               77             1  -       -                       -  -
GPU-1   CUDA           0           0         0          0           0  ipc         0  no                 0             0  cuda:1  0000:17:00.0  17179869184  Tesla T4

host            pages of 4.0 KiB: no huge pages are reserved
GPU-1           export ipc: the driver has no virtual memory management
GPU-1           its agent has not started yet
parser sandbox  Landlock ABI 4, seccomp, address space at most 1.0 GiB
)"));
}

TEST(WidePrinter, PrintsAnEventInFull) {
  const auto printer = Make(Format::kWide);
  EXPECT_EQ(printer->EventTitle() + printer->Event(MakeEvent()), Text(R"(
SEQUENCE  TIME                            EVENT                  ID                LEASE     WHAT
      12  2023-11-14T22:13:20.250Z        LEASE_GRANTED          3f2a91c07b5e4d21  9         minilm/model.safetensors  pid 4242  prod/embed
)"));
}

TEST(WidePrinter, DrawsTheTreeWithExactBytes) {
  const std::string text =
      Make(Format::kWide)->Tree(MakeScopeTree(MakeResidencies(), MakeLeases()));
  EXPECT_NE(text.find("4 uses, 1 copy, 90868376 instead of 363473504\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("3f2a91c07b5e4d21"), std::string::npos);
}

// ---- json ----

TEST(JsonPrinter, KeepsFieldNamesZerosAndPlainStates) {
  v1::ListResidenciesResponse one;
  *one.add_residencies() = MakeResidencies().residencies(1);
  EXPECT_EQ(Make(Format::kJson)->Residencies(one), Text(R"(
{"residencies":[{"id":"77aa91c07b5e4d22","reference":"llama/été.safetensors","references":[],"digest":"","device":"host","state":"LOADING","size_bytes":"4294967296","own_bytes":"0","shared_bytes":"0","lease_count":0,"waiter_count":2,"pinned":false,"instance":"canary","private_copy":false,"generation":"2","tensor_bytes":"1000","tensor_count":"0","format":"","loaded_bytes":"439","page_size_bytes":0,"error_reason":"","error_message":"","stranded_bytes":"0","aliases":[],"superseded_by":"","created_time":"2023-11-14T22:13:17Z"}]}
)"));
}

TEST(JsonPrinter, CanBeReadBack) {
  for (const size_t width : {0, 80}) {
    v1::ListResidenciesResponse back;
    const std::string json = Make(Format::kJson, width)->Residencies(MakeResidencies());
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &back).ok());
    EXPECT_EQ(back.SerializeAsString(), MakeResidencies().SerializeAsString());
  }
}

TEST(JsonPrinter, IsOneLineUnlessAPersonReads) {
  const auto lines = [](const std::string& text) {
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines(Make(Format::kJson)->Residencies(MakeResidencies())), 1);
  EXPECT_GT(lines(Make(Format::kJson, 80)->Residencies(MakeResidencies())), 10);
  EXPECT_EQ(lines(Make(Format::kJson, 80)->Event(MakeEvent())), 1)
      << "a stream is read line by line";
}

TEST(JsonPrinter, PrintsAnEmptyListAsOne) {
  EXPECT_EQ(Make(Format::kJson)->Residencies({}), "{\"residencies\":[]}\n");
}

TEST(JsonPrinter, PrintsTensorsOnlyWhereAsked) {
  EXPECT_NE(Make(Format::kJson)->Checkpoint(MakeCheckpoint(), true).find("embeddings.weight"),
            std::string::npos);
  EXPECT_EQ(Make(Format::kJson)->Checkpoint(MakeCheckpoint(), false).find("embeddings.weight"),
            std::string::npos);
}

// ---- name ----

TEST(NamePrinter, PrintsWhatCommandsTake) {
  const auto printer = Make(Format::kName);
  EXPECT_EQ(printer->Residencies(MakeResidencies()),
            "3f2a91c07b5e4d21\n77aa91c07b5e4d22\n3f2a91c07bffffff\n");
  EXPECT_EQ(printer->Leases(MakeLeases()), "9\n10\n11\n12\n");
  EXPECT_EQ(printer->Devices(MakeDevices()), "host\nGPU-1\n");
  EXPECT_EQ(printer->Tree(MakeScopeTree(MakeResidencies(), MakeLeases())), "3f2a91c07b5e4d21\n");
  EXPECT_EQ(printer->Checkpoint(MakeCheckpoint(), false), "/models/minilm/model.safetensors\n");
  EXPECT_EQ(printer->Checkpoint(MakeCheckpoint(), true), "embeddings.weight\nstep\n");
  EXPECT_EQ(printer->EventTitle() + printer->Event(MakeEvent()), "LEASE_GRANTED\n");
  EXPECT_EQ(printer->Residencies({}), "");
}

}  // namespace
}  // namespace modeld::modelctl
