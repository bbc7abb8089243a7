// What modelctl sees of a daemon, scripted: to answer what a real one never would, such as digests
// that do not fit.

#pragma once

#include <grpcpp/server.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "modeld/v1/admin_service.grpc.pb.h"
#include "modeld/v1/residency_service.grpc.pb.h"
#include "support/temp_dir.h"
#include "wire/digest.h"
#include "wire/unique_fd.h"

namespace modeld::test {

// A resident checkpoint as descriptors. With the UUID of a GPU as the residency's device it is on
// the fake plugin's.
struct FakeModel {
  v1::Residency residency;
  wire::UniqueFd table;
  uint64_t table_size_bytes = 0;
  wire::UniqueFd reference_table;
  uint64_t reference_table_size_bytes = 0;
  wire::UniqueFd segment;
  std::string segment_bytes;
  std::vector<wire::Digest> digests;  // in table order; what the daemon claims
  std::string weights_digest;

  void SetDigests(std::vector<wire::Digest> tensors);
  wire::UniqueFd digest_table;
};

// Three tensors, `b` and `a` of F32 and the scalar `step` of I64, in this file order, and metadata;
// everything true.
FakeModel MakeFakeModel(const std::string& id, const std::string& reference);

// modeld.sock, admin.sock and attach.sock in a directory of its own. Set the public members before
// calls come; the handlers are called on threads of gRPC.
class FakeDaemon : public v1::ResidencyService::Service, public v1::AdminService::Service {
 public:
  FakeDaemon();
  ~FakeDaemon() override;

  std::string endpoint() const { return "unix://" + (dir_ / "modeld.sock"); }
  const TempDir& dir() const { return dir_; }
  void SetServing(bool serving);

  v1::ListResidenciesResponse residencies;
  v1::ListLeasesResponse leases;
  v1::ListDevicesResponse devices;
  v1::GetServerInfoResponse info;
  v1::ListAliasesResponse aliases;
  v1::ListPinsResponse pins;
  v1::ExplainResidencyResponse explanation;
  v1::SetAliasResult alias_result;
  v1::EvictResponse dry_run;
  std::vector<v1::InspectCheckpointResponse> checkpoint;
  std::vector<v1::Event> events;
  // What operators and holders are told, if not OK.
  absl::Status refuse;
  // What attach.sock says to everyone, if not OK.
  absl::Status refuse_peers;
  // Of Preload and SetAlias, before the result.
  v1::Progress progress;
  // They stay there until they are cancelled.
  bool load_hangs = false;
  // An Evict that drains does.
  bool drain_hangs = false;
  // Every read call does.
  bool hangs = false;
  // Acquire grants this.
  FakeModel* model = nullptr;
  // The digest is told only after the grant, and after the news of another version.
  bool digest_comes_late = false;

  std::atomic<int> loads_started{0};
  std::atomic<int> loads_cancelled{0};
  std::atomic<int> leases_ended{0};
  std::atomic<int> drains_started{0};
  // The last of each.
  v1::AcquireRequest acquire_request;
  v1::PreloadRequest preload_request;
  v1::EvictRequest evict_request;
  v1::SetAliasRequest alias_request;
  v1::ExplainResidencyRequest explain_request;
  // Does the call of the last Evict end by itself?
  std::atomic<bool> evict_has_deadline{false};

  grpc::Status Acquire(grpc::ServerContext* context, const v1::AcquireRequest* request,
                       grpc::ServerWriter<v1::AcquireUpdate>* writer) override;
  grpc::Status ListResidencies(grpc::ServerContext* context,
                               const v1::ListResidenciesRequest* request,
                               v1::ListResidenciesResponse* reply) override;
  grpc::Status GetResidency(grpc::ServerContext* context, const v1::GetResidencyRequest* request,
                            v1::GetResidencyResponse* reply) override;
  grpc::Status ListLeases(grpc::ServerContext* context, const v1::ListLeasesRequest* request,
                          v1::ListLeasesResponse* reply) override;
  grpc::Status ListDevices(grpc::ServerContext* context, const v1::ListDevicesRequest* request,
                           v1::ListDevicesResponse* reply) override;
  grpc::Status InspectCheckpoint(
      grpc::ServerContext* context, const v1::InspectCheckpointRequest* request,
      grpc::ServerWriter<v1::InspectCheckpointResponse>* writer) override;
  grpc::Status WatchEvents(grpc::ServerContext* context, const v1::WatchEventsRequest* request,
                           grpc::ServerWriter<v1::WatchEventsResponse>* writer) override;
  grpc::Status GetServerInfo(grpc::ServerContext* context, const v1::GetServerInfoRequest* request,
                             v1::GetServerInfoResponse* reply) override;
  grpc::Status Preload(grpc::ServerContext* context, const v1::PreloadRequest* request,
                       grpc::ServerWriter<v1::PreloadUpdate>* writer) override;
  grpc::Status Evict(grpc::ServerContext* context, const v1::EvictRequest* request,
                     v1::EvictResponse* reply) override;
  grpc::Status Pin(grpc::ServerContext* context, const v1::PinRequest* request,
                   v1::PinResponse* reply) override;
  grpc::Status Unpin(grpc::ServerContext* context, const v1::UnpinRequest* request,
                     v1::UnpinResponse* reply) override;
  grpc::Status ListAliases(grpc::ServerContext* context, const v1::ListAliasesRequest* request,
                           v1::ListAliasesResponse* reply) override;
  grpc::Status ListPins(grpc::ServerContext* context, const v1::ListPinsRequest* request,
                        v1::ListPinsResponse* reply) override;
  grpc::Status SetAlias(grpc::ServerContext* context, const v1::SetAliasRequest* request,
                        grpc::ServerWriter<v1::SetAliasUpdate>* writer) override;
  grpc::Status RemoveAlias(grpc::ServerContext* context, const v1::RemoveAliasRequest* request,
                           v1::RemoveAliasResponse* reply) override;
  grpc::Status ExplainResidency(grpc::ServerContext* context,
                                const v1::ExplainResidencyRequest* request,
                                v1::ExplainResidencyResponse* reply) override;

 private:
  // OK, or CANCELLED once a load that hangs is.
  grpc::Status Load(grpc::ServerContext* context);
  const v1::Residency* Find(const std::string& selector) const;
  void ServeAttach();
  void ServeAttachConnection(wire::UniqueFd fd);

  TempDir dir_;
  wire::UniqueFd listener_;
  std::thread attach_thread_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> admin_server_;
};

}  // namespace modeld::test
