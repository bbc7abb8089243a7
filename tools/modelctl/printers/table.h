// -o table: for people.

#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "modelctl/printer.h"
#include "modelctl/table.h"

namespace modeld::modelctl {

// Columns with short ids, sizes in MiB and ages. -o wide is made of the same with everything in
// full.
class TablePrinter : public Printer {
 public:
  explicit TablePrinter(const PrintOptions& options) : options_(options) {}

  std::string Residencies(const v1::ListResidenciesResponse& reply) const override;
  std::string Residency(const v1::GetResidencyResponse& reply) const override;
  std::string Tree(const ScopeTree& tree) const override;
  std::string Leases(const v1::ListLeasesResponse& reply) const override;
  std::string Devices(const v1::ListDevicesResponse& reply) const override;
  std::string EventTitle() const override;
  std::string Event(const v1::WatchEventsResponse& reply) const override;
  std::string Checkpoint(const v1::InspectCheckpointResponse& reply,
                         bool with_tensors) const override;
  std::string Loaded(const v1::Residency& residency) const override;
  std::string Evicted(const v1::EvictResponse& reply) const override;
  std::string WouldEvict(const v1::EvictResponse& reply) const override;
  std::string Explained(const v1::ExplainResidencyResponse& reply) const override;
  std::string Aliases(const v1::ListAliasesResponse& reply) const override;
  std::string AliasSet(const v1::SetAliasResult& result) const override;
  std::string AliasRemoved(const v1::RemoveAliasResponse& reply) const override;
  std::string Pins(const v1::ListPinsResponse& reply) const override;
  std::string Pinned(const v1::PinResponse& reply) const override;
  std::string Unpinned(const v1::UnpinResponse& reply) const override;
  std::string Verified(const VerifyReport& report) const override;
  std::string Digested(const DigestReport& report) const override;
  std::string Exported(const ExportReport& report) const override;
  std::string Health(const grpc::health::v1::HealthCheckResponse& reply) const override;
  std::string Doctor(const DoctorReport& report) const override;
  std::string Version(const VersionReport& report) const override;

 protected:
  static constexpr size_t kShortIdLength = 8;

  // How long an id has to be to be told from all these, at least 8.
  static size_t IdLength(const std::set<std::string>& ids);

  // What the wide format shows in full.
  virtual bool in_full() const { return false; }
  virtual std::string Bytes(uint64_t bytes) const;
  virtual std::string Id(const std::string& id, size_t length) const;
  virtual std::string Digest(const std::string& digest) const;

  const PrintOptions& options() const { return options_; }
  std::string Render(const Table& table) const {
    return table.Render(options_.width, options_.colour);
  }
  // Lines of `NAME  TEXT`, lined up; those with an empty text are left out.
  std::string Describe(const std::vector<std::pair<std::string, Cell>>& lines) const;
  std::string DeviceNotes(const v1::ListDevicesResponse& reply) const;

 private:
  const PrintOptions options_;
};

// The state, with how far it is while it loads.
Cell StateCell(const v1::Residency& residency);
// `cuda:0` as `--device` takes it; empty for the host.
std::string DeviceIndex(const v1::Device& device);
// `2.0 MiB`, `4.0 KiB`; `-` for 0.
std::string PageSize(uint32_t bytes);
// The name of the copy, `(private)`, or nothing.
std::string InstanceText(const v1::Residency& residency);
// `[2, 3]`
std::string ShapeText(const v1::TensorInfo& tensor);
// What an event says beyond its time, type and residency.
std::string EventWords(const v1::Event& event, const std::string& bytes);
// `10m`, `forever`; empty where nobody has said it.
std::string KeepAliveCell(bool is_set, const google::protobuf::Duration& keep_alive);
// `1 holder`, `2 holders`
std::string Plural(uint64_t count, const std::string& one, const std::string& many);

}  // namespace modeld::modelctl
