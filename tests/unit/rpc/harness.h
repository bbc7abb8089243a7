// A server with real sockets around a real manager, whose checkpoints and memory are made up; and
// clients that speak to it without libmodeld, so that they can misbehave.

#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/thread_pool.h"
#include "base/timer.h"
#include "modeld/v1/admin_service.grpc.pb.h"
#include "modeld/v1/attach.pb.h"
#include "modeld/v1/residency_service.grpc.pb.h"
#include "residency/manager.h"
#include "rpc/server.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/framed_socket.h"
#include "wire/mutex.h"

namespace modeld::rpc {

// Longer than anything takes, also under a sanitizer on a busy machine: a test that waits this long
// has failed.
inline constexpr std::chrono::seconds kPatience{60};

// Waits until it is true; false after kPatience.
bool Eventually(const std::function<bool()>& condition);

// `model-SEGMENTS` is a checkpoint with that many segments of 2 MiB; anything else is not found.
class FakeCatalog : public residency::CheckpointCatalog {
 public:
  absl::StatusOr<std::shared_ptr<const plan::OpenCheckpoint>> Resolve(
      const std::string& reference, const plan::LoadConfig& config) override;
  absl::StatusOr<std::shared_ptr<const plan::LoadPlan>> Plan(const plan::OpenCheckpoint& checkpoint,
                                                             const std::string& device) override;
  absl::StatusOr<residency::HostSource> PlanFromHost(const residency::ResidencyRecord&,
                                                     const residency::ResidentMemory&,
                                                     std::shared_ptr<const plan::ContentDigests>,
                                                     const std::string&) override {
    return absl::UnimplementedError("the harness has one device");
  }
  void RememberDigests(const std::string&, const plan::ContentDigests&) override {}
};

// Makes memory out of real, empty memfds: at once, or when the test says so. Thread-safe.
class FakeBackend : public residency::DeviceBackend {
 public:
  explicit FakeBackend(bool hold_loads) : hold_loads_(hold_loads) {}
  void Connect(residency::Manager* manager) { manager_ = manager; }

  void Load(residency::LoadJob job) override;
  void Identify(residency::LoadJob) override {}
  void CancelLoad(const std::string& residency_id) override;
  void UpdateRecord(const residency::ResidencyRecord&) override {}
  void Release(const std::string& residency_id) override;
  void Adopt(const residency::ResidencyRecord&, std::shared_ptr<const residency::ResidentMemory>,
             std::shared_ptr<const residency::ResidentDigests>) override {}

  // Waits for a load, and says which residency is loading.
  std::string WaitForLoad();
  void FinishLoad(const std::string& residency_id);
  // Releases are not answered from now on.
  void HoldReleases() { hold_releases_ = true; }

 private:
  residency::Manager* manager_ = nullptr;
  const bool hold_loads_;
  std::atomic<bool> hold_releases_{false};
  wire::Mutex mutex_;
  wire::CondVar changed_;
  std::map<std::string, residency::LoadJob> loads_ MODELD_GUARDED_BY(mutex_);
};

class Harness {
 public:
  struct Options {
    bool hold_loads = false;
    PeerPolicy peers = {};
    size_t max_sessions = 4096;
    size_t max_connections = 4096;
    InspectFunction inspect = {};
  };

  Harness() : Harness(Options()) {}
  explicit Harness(const Options& options);
  ~Harness();

  std::string path(std::string_view socket) const { return directory_ / socket; }
  const std::string& directory() const { return directory_.path(); }
  residency::Manager& manager() { return manager_; }
  FakeBackend& backend() { return backend_; }
  Server& server() { return *server_; }
  ServerOptions server_options() const { return options_; }
  ServerDeps server_deps();

  residency::Snapshot Snapshot();
  size_t lease_count() { return Snapshot().leases.size(); }

 private:
  test::TempDir directory_;
  FakeCatalog catalog_;
  base::ThreadPool executor_{"test", 1};
  std::unique_ptr<base::ThreadTimer> timer_ = std::make_unique<base::ThreadTimer>();
  FakeBackend backend_;
  residency::Manager manager_;
  InspectFunction inspect_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
};

// A channel over one connection of its own.
std::shared_ptr<grpc::Channel> Dial(const std::string& path);

// What modeld said in the trailing metadata.
wire::Reason ReasonOf(const grpc::Status& status);

// One end of attach.sock.
class AttachClient {
 public:
  explicit AttachClient(const Harness& harness);

  const std::string& session_id() const { return welcome_.session_id(); }
  wire::FramedSocket& socket() { return socket_; }

  struct Answer {
    v1::LeaseFds last;
    std::vector<wire::UniqueFd> fds;
    int frames = 0;
  };
  Answer GetLeaseFds(const std::string& lease_id, bool want_digests = false);
  // Blocks; nullopt at the end of the stream.
  std::optional<v1::AttachServerMessage> Receive(std::vector<wire::UniqueFd>* fds = nullptr);

 private:
  wire::FramedSocket socket_;
  v1::Welcome welcome_;
};

// An Acquire call, and the lease while it is there.
class Lease {
 public:
  Lease(grpc::Channel& channel, const std::string& session_id, const v1::AcquireRequest& request);
  ~Lease();

  // The next update; nullopt at the end.
  std::optional<v1::AcquireUpdate> Read();
  // Skips progress.
  std::optional<v1::Granted> ReadGranted();
  void Cancel() { context_.TryCancel(); }
  // Drains the stream.
  grpc::Status Finish();

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::AcquireUpdate>> reader_;
  bool finished_ = false;
};

v1::AcquireRequest RequestFor(const std::string& reference);

// A client as libmodeld is one: attach connection, channel.
struct Worker {
  explicit Worker(const Harness& harness)
      : attach(harness), channel(Dial(harness.path("modeld.sock"))) {}

  std::unique_ptr<Lease> Acquire(const std::string& reference) {
    return std::make_unique<Lease>(*channel, attach.session_id(), RequestFor(reference));
  }
  std::unique_ptr<v1::ResidencyService::Stub> stub() {
    return v1::ResidencyService::NewStub(channel);
  }

  AttachClient attach;
  std::shared_ptr<grpc::Channel> channel;
};

}  // namespace modeld::rpc
