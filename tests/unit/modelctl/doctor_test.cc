// What a doctor finds on machines that are made of files in a directory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "modelctl/doctor/checks.h"
#include "modelctl/printer.h"
#include "support/temp_dir.h"
#include "wire/unique_fd.h"

namespace modeld::modelctl::doctor {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class DoctorTest : public ::testing::Test {
 protected:
  // A healthy machine without a GPU and without a modeld.
  DoctorTest() {
    Put("/proc/sys/kernel/osrelease", "6.1.0\n");
    Put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1 kB\n");
    Put("/proc/self/status",
        "Name:\tmodelctl\nUid:\t1000\t1000\t1000\t1000\n"
        "Gid:\t1000\t1000\t1000\t1000\nGroups:\t27 1000 \n");
    Put("/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max open files            1024                 524288               files     \n"
        "Max locked memory         8388608              unlimited            bytes     \n");
    Put("/proc/self/cgroup", "0::/user.slice/a.service\n");
    Put("/proc/self/uid_map", "         0          0 4294967295\n");
    Put("/sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always within_size [advise] never deny force\n");
    probes_.syscall = [this](std::string_view name) {
      const auto found = syscalls_.find(std::string(name));
      return found == syscalls_.end() ? 0 : found->second;
    };
    probes_.landlock_abi = [this] { return landlock_; };
    probes_.connect = [this](const std::string&) { return connect_; };
    probes_.systemctl_show = [this](bool user) { return user ? user_unit_ : system_unit_; };
    endpoint_ =
        Endpoint{"/run/modeld/modeld.sock", "/run/modeld/admin.sock", "/run/modeld/attach.sock"};
  }

  void Put(const std::string& path, const std::string& text) {
    const std::string file = root_.path() + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << text;
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(root_.path() + path); }

  // The files are this process' own: the user of the machine is, too.
  void BecomeOwner() {
    const std::string uid = std::to_string(::geteuid() == 0 ? 0 : ::geteuid());
    Put("/proc/self/status", "Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n");
  }
  void PutSocket(const std::string& path, mode_t mode) {
    const std::string file = root_.path() + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    const wire::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    ASSERT_LT(file.size(), sizeof(address.sun_path));
    std::strncpy(address.sun_path, file.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::chmod(file.c_str(), mode), 0);
  }
  void PutSockets() {
    for (const char* name : {"modeld.sock", "attach.sock"}) {
      PutSocket(std::string("/run/modeld/") + name, 0660);
    }
    PutSocket("/run/modeld/admin.sock", 0600);
    ASSERT_EQ(::chmod((root_.path() + "/run/modeld").c_str(), 0750), 0);
  }

  static Daemon ADaemon() {
    Daemon daemon;
    daemon.server.set_pid(77);
    daemon.server.set_open_fds(100);
    daemon.server.set_fd_limit(524288);
    daemon.server.add_roots("/models");
    v1::Device& host = *daemon.devices.add_devices();
    host.set_id("host");
    host.set_kind(v1::Device::HOST);
    host.set_capacity_bytes(uint64_t{12} << 30);
    host.set_page_size_bytes(2 << 20);
    host.set_page_size_note("transparent 2 MiB pages");
    host.set_agent_pid(78);
    return daemon;
  }
  void PutDaemon() {
    daemon_ = ADaemon();
    Put("/proc/77/comm", "modeld\n");
    Put("/proc/77/limits",
        "Max open files            1024  524288  files\n"
        "Max locked memory         unlimited  unlimited  bytes\n");
    Put("/proc/78/cgroup", "0::/system.slice/modeld.service\n");
  }

  DoctorReport Ask() const {
    const Machine machine(root_.path(), probes_);
    return Examine({machine, endpoint_, daemon_});
  }
  // `check: found -> mend` of those that are not OK.
  std::vector<std::string> Ills() const {
    std::vector<std::string> ills;
    const DoctorReport report = Ask();
    for (const Finding& finding : report.findings()) {
      if (finding.level() == Finding::OK) continue;
      EXPECT_FALSE(finding.mend().empty()) << finding.found() << ": and what now?";
      ills.push_back(Finding::Level_Name(finding.level()) + " " + finding.check() + ": " +
                     finding.found() + " -> " + finding.mend());
    }
    return ills;
  }

  test::TempDir root_;
  Probes probes_;
  std::map<std::string, int> syscalls_;
  int landlock_ = 4;
  absl::Status connect_;
  std::string system_unit_;
  std::string user_unit_;
  std::optional<Endpoint> endpoint_;
  std::optional<Daemon> daemon_;
};

TEST_F(DoctorTest, FindsNothingOnAHealthyMachine) {
  EXPECT_THAT(Ills(), IsEmpty());
  EXPECT_EQ(Ask().problems(), 0u);
  EXPECT_GE(Ask().findings_size(), 8) << "what is well is told too";
}

TEST_F(DoctorTest, FindsNothingBesideAHealthyDaemon) {
  BecomeOwner();
  PutSockets();
  PutDaemon();
  EXPECT_THAT(Ills(), IsEmpty());
}

TEST_F(DoctorTest, TellsWhatTheDaemonSaysOfItself) {
  BecomeOwner();
  PutSockets();
  PutDaemon();
  daemon_->server.add_degraded("state is not saved: no space left on device");
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("WARNING modeld: state is not saved: no space left")));
}

TEST_F(DoctorTest, SeesSystemCallsThatAreForbidden) {
  syscalls_["openat2"] = ENOSYS;
  EXPECT_THAT(Ills(), ElementsAre(AllOf(StartsWith("PROBLEM kernel: openat2 fails"),
                                        HasSubstr("RestrictSUIDSGID"))));
  EXPECT_EQ(Ask().problems(), 1u);
}

TEST_F(DoctorTest, SaysHowToGetLandlock) {
  landlock_ = 0;
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("WARNING landlock")));
  Put("/sys/kernel/security/lsm", "lockdown,yama,apparmor\n");
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("lsm=landlock,lockdown,yama,apparmor")));
  EXPECT_EQ(Ask().warnings(), 1u);
  EXPECT_EQ(Ask().problems(), 0u);
}

TEST_F(DoctorTest, MissesHugePagesUnlessAnAgentGotSome) {
  Put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always advise [never] deny\n");
  EXPECT_THAT(Ills(), ElementsAre(AllOf(StartsWith("WARNING huge pages"),
                                        HasSubstr("shmem_enabled is never"),
                                        HasSubstr("echo advise > /sys/kernel/mm"))));
  Put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
  EXPECT_THAT(Ills(), IsEmpty());
  Remove("/sys/kernel/mm/hugepages");
  BecomeOwner();
  PutSockets();
  PutDaemon();
  EXPECT_THAT(Ills(), IsEmpty()) << "an agent tried, and has them";
  daemon_->devices.mutable_devices(0)->set_page_size_bytes(4096);
  daemon_->devices.mutable_devices(0)->set_page_size_note("4 KiB pages");
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("WARNING huge pages: 4 KiB pages")));
}

TEST_F(DoctorTest, ComparesTheCapacityWithWhatTheAgentMayHave) {
  BecomeOwner();
  PutSockets();
  PutDaemon();
  Put("/sys/fs/cgroup/system.slice/modeld.service/memory.max", "max\n");
  EXPECT_THAT(Ills(), IsEmpty());
  Put("/sys/fs/cgroup/system.slice/memory.max", std::to_string(uint64_t{8} << 30) + "\n");
  EXPECT_THAT(Ills(),
              ElementsAre(AllOf(StartsWith("PROBLEM host capacity: host_capacity is 12.0 GiB"
                                           " of 8.0 GiB"),
                                HasSubstr("/sys/fs/cgroup/system.slice/memory.max"))));
  Remove("/sys/fs/cgroup/system.slice");
  daemon_->devices.mutable_devices(0)->set_capacity_bytes((uint64_t{16} << 30) - 1);
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("WARNING host capacity")));
}

TEST_F(DoctorTest, CountsDescriptorsOfTheDaemonOrOfAShell) {
  Put("/proc/self/limits", "Max open files            256  1024  files\n");
  EXPECT_THAT(Ills(),
              ElementsAre(AllOf(StartsWith("PROBLEM open files: a modeld started from here"),
                                HasSubstr("LimitNOFILE"))));
  BecomeOwner();
  PutSockets();
  PutDaemon();
  EXPECT_THAT(Ills(), IsEmpty()) << "the daemon has its own limit";
  daemon_->server.set_open_fds(524000);
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("modeld has 524000 of 524288 open")));
}

TEST_F(DoctorTest, ExplainsWhySocketsCannotBeReached) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to own files that are not the user's";
  PutSockets();  // root's; the user is 1000
  EXPECT_THAT(Ills(), ElementsAre(AllOf(StartsWith("PROBLEM sockets: you may not enter"),
                                        HasSubstr("join group"))));
  ASSERT_EQ(::chown((root_.path() + "/run/modeld").c_str(), 0, 27), 0);
  EXPECT_THAT(Ills(), Contains(HasSubstr("you may not connect to /run/modeld/modeld.sock")));
  for (const char* name : {"modeld.sock", "attach.sock"}) {
    ASSERT_EQ(::chown((root_.path() + "/run/modeld/" + name).c_str(), 0, 27), 0);
  }
  EXPECT_THAT(Ills(), IsEmpty()) << "admin.sock is not for everybody";
  ASSERT_EQ(::chmod((root_.path() + "/run/modeld").c_str(), 0777), 0);
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("chmod o-w /run/modeld")));
}

TEST_F(DoctorTest, FindsSocketsThatNobodyServes) {
  BecomeOwner();
  PutSockets();
  connect_ = absl::UnavailableError("Connection refused");
  EXPECT_THAT(Ills(), Contains(AllOf(HasSubstr("nobody serves /run/modeld/modeld.sock"),
                                     HasSubstr("start modeld"))));
  Remove("/run/modeld/attach.sock");
  EXPECT_THAT(Ills(), Contains(HasSubstr("/run/modeld/attach.sock is missing")));
}

TEST_F(DoctorTest, MeasuresPathsAndWantsToKnowWhereToLook) {
  const std::string deep = "/run/" + std::string(60, 'x');
  endpoint_ = Endpoint{deep + "/modeld.sock", deep + "/admin.sock", deep + "/attach.sock"};
  EXPECT_THAT(Ills(),
              ElementsAre(AllOf(StartsWith("PROBLEM socket paths"), HasSubstr("--runtime-dir"))));
  endpoint_.reset();
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("XDG_RUNTIME_DIR")));
}

TEST_F(DoctorTest, WantsADriverForTheGpusOnTheBus) {
  Put("/sys/bus/pci/devices/0000:17:00.0/vendor", "0x10de\n");
  Put("/sys/bus/pci/devices/0000:17:00.0/class", "0x030200\n");
  Put("/sys/bus/pci/devices/0000:18:00.0/vendor", "0x10de\n");  // an audio function
  Put("/sys/bus/pci/devices/0000:18:00.0/class", "0x040300\n");
  EXPECT_THAT(Ills(), ElementsAre(AllOf(StartsWith("PROBLEM GPUs: 1 on the PCI bus"),
                                        HasSubstr("modprobe nvidia"))));
}

TEST_F(DoctorTest, WantsAllTheDeviceFilesOfADriver) {
  BecomeOwner();
  Put("/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n");
  Put("/run/nvidia-persistenced/socket", "");
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("no /dev/nvidia0")));
  Put("/dev/nvidia0", "");
  Put("/dev/nvidiactl", "");
  Put("/dev/nvidia-caps/x", "");
  EXPECT_THAT(Ills(), ElementsAre(AllOf(HasSubstr("/dev/nvidia-uvm is missing"),
                                        HasSubstr("nvidia-modprobe -u"))));
  Put("/dev/nvidia-uvm", "");
  EXPECT_THAT(Ills(), IsEmpty());
  Put("/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.1.2  x\n");
  Remove("/run/nvidia-persistenced");
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("older than CUDA 12.0"), HasSubstr("persistenced")));
}

TEST_F(DoctorTest, SeesThatTheDaemonUsesNoGpuOrLostOne) {
  BecomeOwner();
  PutSockets();
  PutDaemon();
  Put("/proc/driver/nvidia/version", "Kernel Module  550.54.15  x\n");
  Put("/run/nvidia-persistenced/socket", "");
  for (const char* file : {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"}) Put(file, "");
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("WARNING GPU agents: modeld uses none")));
  v1::Device& gpu = *daemon_->devices.add_devices();
  gpu.set_id("GPU-1");
  gpu.set_kind(v1::Device::CUDA);
  gpu.add_notes("its agent died");
  EXPECT_THAT(Ills(), ElementsAre(StartsWith("PROBLEM GPU agents: GPU-1: its agent died")));
  gpu.set_available(true);
  EXPECT_THAT(Ills(), IsEmpty());
}

TEST_F(DoctorTest, KnowsNamespacesThatLieBetween) {
  BecomeOwner();
  PutSockets();
  PutDaemon();
  Put("/proc/77/comm", "bash\n");
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("another PID namespace")));
  Remove("/proc/77");
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("another PID namespace")));
  PutDaemon();
  Put("/proc/self/uid_map", "         0     100000      65536\n");
  EXPECT_THAT(Ills(), ElementsAre(AllOf(HasSubstr("user namespace"), HasSubstr("allow_uids"))));
}

TEST_F(DoctorTest, ReadsTheUnitThatSystemdHas) {
  const std::string good =
      "LoadState=loaded\nActiveState=active\nKillMode=process\nRestartKillSignal=12\n"
      "RuntimeDirectoryPreserve=yes\nOOMPolicy=continue\nFileDescriptorStoreMax=8192\n"
      "RestrictSUIDSGID=no\n";
  system_unit_ = good;
  EXPECT_THAT(Ills(), IsEmpty());
  system_unit_ = "LoadState=not-found\nKillMode=control-group\n";
  EXPECT_THAT(Ills(), IsEmpty());
  user_unit_ =
      "LoadState=loaded\nKillMode=control-group\nRestartKillSignal=15\n"
      "RuntimeDirectoryPreserve=no\nOOMPolicy=stop\nFileDescriptorStoreMax=0\n"
      "RestrictSUIDSGID=yes\n";
  EXPECT_THAT(Ills(), ElementsAre(HasSubstr("systemctl --user edit modeld: KillMode=process"),
                                  HasSubstr("RuntimeDirectoryPreserve=yes"),
                                  HasSubstr("OOMPolicy=continue"), HasSubstr("RestrictSUIDSGID=no"),
                                  HasSubstr("RestartKillSignal=SIGUSR2"),
                                  HasSubstr("FileDescriptorStoreMax=8192")));
}

TEST_F(DoctorTest, IsAsGoodAsBlindOnAMachineThatShowsNothing) {
  std::filesystem::remove_all(root_.path());
  std::filesystem::create_directories(root_.path());
  const DoctorReport report = Ask();
  EXPECT_EQ(report.problems(), 0u);
  EXPECT_THAT(Ills(), Contains(StartsWith("WARNING host capacity")));
}

TEST(DoctorPrinters, SayWhatIsSoAndWhatToDo) {
  DoctorReport report;
  Good(report, "kernel", "Linux 6.1 has what modeld needs");
  Warn(report, "huge pages", "none", "echo advise");
  Bad(report, "sockets", "nobody\x1b serves", "start modeld");
  const auto print = [&](Format format) { return MakePrinter(format, {})->Doctor(report); };
  EXPECT_EQ(print(Format::kTable),
            "OK       kernel      Linux 6.1 has what modeld needs\n"
            "WARNING  huge pages  none\n"
            "                     mend: echo advise\n"
            "PROBLEM  sockets     nobody\\x1b serves\n"
            "                     mend: start modeld\n");
  EXPECT_EQ(print(Format::kName), "sockets\n");
  EXPECT_THAT(print(Format::kJson), HasSubstr("\"level\":\"PROBLEM\",\"check\":\"sockets\""));
}

// The machine that runs the test: whatever it is, the probes come back with an answer.
TEST(DoctorProbes, WorkOnThisMachine) {
  const Probes probes = RealProbes();
  EXPECT_EQ(probes.syscall("memfd_create"), 0);
  EXPECT_EQ(probes.syscall("no such call"), EINVAL);
  EXPECT_GE(probes.landlock_abi(), 0);
  EXPECT_FALSE(probes.connect("/nowhere/modeld.sock").ok());
  probes.systemctl_show(false);
  const Machine machine("", RealProbes());
  EXPECT_GT(machine.Number("/proc/meminfo", "MemTotal").value_or(0), 0u);
  EXPECT_GT(Examine({machine, std::nullopt, std::nullopt}).findings_size(), 5);
}

}  // namespace
}  // namespace modeld::modelctl::doctor
