// A lease as the contract has it, without libmodeld: of one certain residency if need be, and with
// the digests that modeld keeps of each tensor.

#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "device/plugin.h"
#include "modelctl/attach.h"
#include "modelctl/environment.h"
#include "modeld/v1/residency_service.grpc.pb.h"
#include "wire/digest.h"
#include "wire/memfd.h"
#include "wire/reference_table.h"
#include "wire/segment.h"
#include "wire/tensor_table.h"

namespace modeld::modelctl {

// Holds the lease, the mappings and the descriptors; they go in the right order with it. Externally
// synchronised. An interrupt ends whatever it waits for.
class RawLease {
 public:
  using OnProgress = std::function<void(const v1::Progress&)>;

  // What `selector` names: something resident (an id, a digest or a unique prefix of one, a
  // reference) is leased as it is, also when its files have changed since; anything else is a
  // reference, and is loaded. RESIDENCY_NOT_FOUND, and what an Acquire is refused with. `label` is
  // the scope that others see, unless MODELD_SCOPE says another. --timeout bounds the whole life of
  // the lease.
  static absl::StatusOr<std::unique_ptr<RawLease>> Acquire(Environment& environment,
                                                           const std::string& selector,
                                                           const std::string& label,
                                                           const OnProgress& on_progress);
  // Unmaps, then lets go.
  ~RawLease();

  const v1::Granted& granted() const { return granted_; }
  // As the holder asked for it.
  const std::string& reference() const { return request_.spec().reference(); }
  const wire::TableView& table() const { return table_; }
  const wire::ReferenceTable& reference_table() const { return reference_table_; }
  // Bytes of a segment, from wherever it lies: from a GPU in a copy, which the next call replaces.
  // DEVICE_LOST, DEVICE_UNAVAILABLE. REQUIRES: within the segment
  absl::StatusOr<std::span<const std::byte>> Read(uint32_t region, uint64_t offset,
                                                  uint64_t size_bytes);
  // OK while nobody interrupted and --timeout has not passed: asked between pieces of long work.
  absl::Status Check() const;

  struct Digests {
    std::string weights;                // `sha256:` and 64 hex digits
    std::vector<wire::Digest> tensors;  // in table order
  };
  // Waits until modeld has computed them.
  absl::StatusOr<Digests> WaitForDigests();

 private:
  explicit RawLease(Environment& environment) : environment_(environment) {}

  absl::Status Open(const OnProgress& on_progress);
  absl::Status Map();
  absl::Status MapReferenceTable(const wire::UniqueFd& fd);
  absl::Status MapOnHost(const wire::SegmentInfo& info, const wire::UniqueFd& fd);
  absl::Status MapOnGpu(const wire::SegmentInfo& info, std::span<const wire::UniqueFd> fds);
  // The next message of the stream, or why there is none.
  absl::StatusOr<v1::AcquireUpdate> Read();

  Environment& environment_;
  v1::AcquireRequest request_;
  Deadline deadline_;
  std::unique_ptr<AttachSession> session_;
  std::unique_ptr<v1::ResidencyService::Stub> stub_;
  grpc::ClientContext context_;
  std::optional<Interrupt::Guard> guard_;
  std::unique_ptr<grpc::ClientReader<v1::AcquireUpdate>> reader_;
  v1::Granted granted_;
  wire::Mapping table_mapping_;
  wire::TableView table_;
  wire::Mapping reference_mapping_;
  wire::ReferenceTable reference_table_;
  std::vector<wire::Mapping> segment_mappings_;
  std::vector<std::span<const std::byte>> segments_;
  const device::Plugin* gpu_ = nullptr;  // null: the memory is the host's
  int ordinal_ = 0;                      // of the GPU
  std::vector<device::DeviceMapping> gpu_segments_;
  std::vector<std::byte> copy_;
};

}  // namespace modeld::modelctl
