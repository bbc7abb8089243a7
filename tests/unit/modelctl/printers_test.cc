// Golden texts: what a person and a program see.

#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include "modelctl/printer.h"
#include "modelctl/tree.h"
#include "printed_messages.h"

namespace modeld::modelctl {
namespace {

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
  v1::UnpinResponse absent;
  absent.mutable_residency()->set_reference("minilm/model.safetensors");
  EXPECT_EQ(printer->Unpinned(absent),
            "unpinned minilm/model.safetensors, which is not resident\n");
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
