#include "rpc/inspect_reactor.h"

#include <algorithm>
#include <utility>

#include "wire/dtype.h"
#include "wire/tensor_table.h"
#include "wire/utf8.h"

namespace modeld::rpc {
namespace {

constexpr size_t kTensorsPerMessage = 1000;
// Far below the 4 MiB that a gRPC client takes by default, whatever the names are like.
constexpr size_t kBytesPerMessage = 1 << 20;

void FillCheckpoint(const InspectResult& from, v1::Checkpoint& to) {
  to.set_reference(from.checkpoint->reference);
  uint64_t file_bytes = 0;
  for (const plan::OpenFile& file : from.checkpoint->files) {
    to.add_files(wire::ToUtf8(file.path));
    file_bytes += file.identity.size_bytes;
  }
  const wire::TableView& table = from.source_table->view();
  to.set_format(from.format);
  to.set_file_bytes(file_bytes);
  to.set_tensor_bytes(table.tensor_bytes());
  to.set_tensor_count(table.size());
  to.set_resident_bytes(from.resident_bytes);
  if (from.reference_table == nullptr) return;
  const wire::ReferenceTable& reference = from.reference_table->view();
  for (size_t i = 0; i < reference.metadata_count(); ++i) {
    const auto [key, value] = reference.metadata(i);
    (*to.mutable_metadata())[wire::ToUtf8(key)] = wire::ToUtf8(value);
  }
  for (size_t i = 0; i < reference.file_count(); ++i) {
    const wire::ReferenceFile file = reference.file(i);
    v1::SmallFile& small = *to.add_small_files();
    small.set_name(wire::ToUtf8(file.name));
    small.set_size_bytes(file.bytes.size());
  }
}

void FillTensor(const wire::TensorEntry& from, v1::TensorInfo& to) {
  to.set_name(std::string(from.name));
  to.set_dtype(std::string(wire::DTypeName(from.dtype)));
  to.mutable_shape()->Add(from.shape.begin(), from.shape.end());
  to.set_size_bytes(from.size_bytes);
  to.set_file_index(from.region);
  to.set_file_offset(from.offset);
}

}  // namespace

void InspectReactor::Inspect(const std::shared_ptr<InspectReactor>& reactor, std::string reference,
                             const InspectFunction& inspect, base::Executor& executor) {
  executor.Post([reactor, reference = std::move(reference), inspect] {
    if (reactor->over_) return;
    absl::StatusOr<InspectResult> result = inspect(reference);
    const absl::Status status = result.status();
    if (status.ok()) reactor->result_ = *std::move(result);
    reactor->End(status);
  });
}

bool InspectReactor::Next(v1::InspectCheckpointResponse& message) {
  if (!result_.source_table) return false;
  message.Clear();
  if (!checkpoint_sent_) {
    checkpoint_sent_ = true;
    FillCheckpoint(result_, *message.mutable_checkpoint());
    return true;
  }
  const wire::TableView& table = result_.source_table->view();
  const size_t end = std::min(table.size(), tensors_sent_ + kTensorsPerMessage);
  if (tensors_sent_ == end) return false;
  size_t bytes = 0;
  while (tensors_sent_ < end && bytes < kBytesPerMessage) {
    v1::TensorInfo& tensor = *message.add_tensors();
    FillTensor(table.entry(table.in_order(tensors_sent_++)), tensor);
    bytes += tensor.ByteSizeLong();
  }
  return true;
}

}  // namespace modeld::rpc
