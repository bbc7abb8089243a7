// A TorchScript module over resident weights: its code comes from the reference's small files, its
// storages are there already.
//
// LibTorch can take storages from elsewhere, which torch.package uses to let modules share them. So
// the small files are laid out as a package has them, and the storages are the resident memory.

#include <ATen/Functions.h>
#include <c10/core/Allocator.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/csrc/jit/serialization/storage_context.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "modeld/cuda.h"
#include "modeld/error.h"
#include "modeld/torch.h"

namespace modeld {
namespace {

constexpr std::string_view kRecords = ".modeld/records";
constexpr std::string_view kStrides = ".modeld/strides";
constexpr std::string_view kConstants = ".modeld/constants.pkl";
constexpr std::string_view kData = "data/";

[[noreturn]] void Refuse(const Model& model, const std::string& what, const std::string& hint) {
  throw Error(ErrorCode::kInvalidArgument, "FIELD_INVALID",
              model.reference() + " " + what + ": " + hint, {{"reference", model.reference()}},
              hint);
}

std::string_view TextOf(const FileView& file) {
  return {reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()};
}

using Strides = std::vector<std::int64_t>;

// A record of the archive, and the resident tensors that are parts of it.
struct Record {
  struct Part {
    std::uint64_t offset;
    TensorView view;
    Strides strides;  // in the archive; the view has those of whoever was resident first
  };
  std::uint64_t size_bytes = 0;
  std::vector<Part> parts;
};

std::uint64_t Number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Takes what stands before the next NUL off `rest`.
std::string_view Field(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view value = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return value;
}

Strides ContiguousStrides(std::span<const std::int64_t> shape) {
  Strides strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) {
    strides[i - 1] = strides[i] * std::max<std::int64_t>(shape[i], 1);
  }
  return strides;
}

// Strides of dimensions of one element do not matter.
bool LiesAs(const TensorView& view, const Strides& strides) {
  if (view.strides.size() != strides.size()) return false;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (view.shape[i] > 1 && view.strides[i] != strides[i]) return false;
  }
  return true;
}

// The strides that tensors have in the archive.
class ArchiveStrides {
 public:
  explicit ArchiveStrides(const Model& model) : file_(model.file(kStrides)) {
    if (!file_) return;
    std::string_view rest = TextOf(*file_);
    while (!rest.empty()) {
      const std::string_view name = Field(rest);
      std::string_view list = Field(rest);
      Strides& strides = strided_[name];
      while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        strides.push_back(static_cast<std::int64_t>(Number(list.substr(0, end))));
        list.remove_prefix(std::min(end + 1, list.size()));
      }
    }
  }

  Strides Of(const TensorView& view) const {
    // Made by a modeld that did not say: then the archive was the first.
    if (!file_) return {view.strides.begin(), view.strides.end()};
    const auto found = strided_.find(view.name);
    return found == strided_.end() || found->second.size() != view.shape.size()
               ? ContiguousStrides(view.shape)
               : found->second;
  }

 private:
  const std::optional<FileView> file_;
  std::map<std::string_view, Strides> strided_;
};

std::map<std::string, Record> ReadRecords(const Model& model) {
  const auto file = model.file(kRecords);
  if (!file) {
    Refuse(model, "is no TorchScript archive",
           "name one that torch.jit.save wrote, or use modeld::BindParameters");
  }
  std::map<std::string, Record> records;
  const ArchiveStrides strides(model);
  std::string_view rest = TextOf(*file);
  while (!rest.empty()) {
    const std::string_view record = Field(rest);
    const std::uint64_t size_bytes = Number(Field(rest));
    const std::uint64_t offset = Number(Field(rest));
    const std::string_view dtype = Field(rest);
    const std::string_view name = Field(rest);
    const auto view = model.find(name);
    if (!view || DTypeName(view->dtype) != dtype) {
      Refuse(model,
             std::string("has ") + (view ? "converted" : "left out") + " tensor " +
                 std::string(name) + " of the module",
             "acquire it without a load configuration");
    }
    Record& entry = records[std::string(record)];
    entry.size_bytes = size_bytes;
    entry.parts.push_back({offset, *view, strides.Of(*view)});
  }
  return records;
}

// Where one tensor is all of the record; nullptr: there is none.
const std::byte* WholeTensor(const Record& record) {
  for (const auto& [offset, view, strides] : record.parts) {
    if (offset == 0 && view.size_bytes == record.size_bytes && LiesAs(view, strides) &&
        LiesAs(view, ContiguousStrides(view.shape))) {
      return static_cast<const std::byte*>(view.data);
    }
  }
  return nullptr;
}

// Where the parts of the record lie in resident memory as they do in the archive; nullptr: they lie
// apart, are laid out otherwise, or leave out its first or last bytes.
const std::byte* AllTensors(const Record& record) {
  const std::byte* begin = nullptr;
  std::uint64_t first = record.size_bytes;
  std::uint64_t last = 0;
  for (const auto& [offset, view, strides] : record.parts) {
    if (view.size_bytes == 0) continue;
    if (!LiesAs(view, strides)) return nullptr;
    const std::byte* const at = static_cast<const std::byte*>(view.data) - offset;
    if (begin != nullptr && at != begin) return nullptr;
    begin = at;
    first = std::min(first, offset);
    last = std::max<std::uint64_t>(last, offset + view.size_bytes);
  }
  return first == 0 && last == record.size_bytes ? begin : nullptr;
}

const std::byte* WholeRecord(const Record& record) {
  const std::byte* const whole = WholeTensor(record);
  return whole != nullptr ? whole : AllTensors(record);
}

// An integer or a pair of doubles: its copies are its bytes.
at::ScalarType ElementOf(DType dtype) {
  switch (BlockOf(dtype).bytes) {
    case 2:
      return at::kShort;
    case 4:
      return at::kInt;
    case 8:
      return at::kLong;
    case 16:
      return at::kComplexDouble;
    default:
      return at::kByte;
  }
}

// Copies the elements of a part to where the archive has them. `record` is the record's bytes.
void CopyPart(const Record::Part& part, const at::Tensor& record) {
  const TensorView& view = part.view;
  Strides sizes(view.shape.begin(), view.shape.end());
  Strides from_strides(view.strides.begin(), view.strides.end());
  Strides to_strides = part.strides;
  if (BlockOf(view.dtype).bytes == 0) {  // elements of less than a byte are never strided
    sizes = {static_cast<std::int64_t>(view.size_bytes)};
    from_strides = to_strides = {1};
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (to_strides[i] == 0) sizes[i] = 1;  // elements that are one in the archive
  }
  const at::ScalarType type = ElementOf(view.dtype);
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  const at::Tensor elements = record.narrow(0, 0, record.numel() / element * element).view(type);
  const auto first = static_cast<std::int64_t>(part.offset) / element;
  const at::Tensor from =
      at::from_blob(const_cast<void*>(view.data), sizes, from_strides, elements.options());
  elements.as_strided(sizes, to_strides, first).copy_(from);
}

c10::Storage StorageOf(const std::shared_ptr<const Model>& model, const Record& record,
                       at::Device device) {
  if (const std::byte* const whole = WholeRecord(record)) {
    // LibTorch has no const storage; what protects the bytes is the mapping.
    auto* const keeper = new std::shared_ptr<const Model>(model);
    return {
        c10::Storage::use_byte_size_t(), static_cast<std::size_t>(record.size_bytes),
        at::DataPtr(
            const_cast<std::byte*>(whole), keeper,
            [](void* held) { delete static_cast<std::shared_ptr<const Model>*>(held); }, device),
        /*allocator=*/nullptr, /*resizable=*/false};
  }
  // A private copy of what there is.
  const auto options = at::TensorOptions(at::kByte).device(device);
  at::Tensor copy = at::zeros({static_cast<std::int64_t>(record.size_bytes)}, options);
  for (const Record::Part& part : record.parts) {
    if (part.view.size_bytes > 0) CopyPart(part, copy);
  }
  return copy.storage();
}

// A package of one module, in memory.
std::string Package(const Model& model) {
  std::string bytes;
  caffe2::serialize::PyTorchStreamWriter writer([&bytes](const void* data, std::size_t size) {
    bytes.append(static_cast<const char*>(data), size);
    return size;
  });
  const auto put = [&writer](const std::string& name, const FileView& file) {
    writer.writeRecord(name, file.bytes.data(), file.bytes.size());
  };
  const bool own_constants = model.file(kConstants).has_value();
  for (std::size_t i = 0; i < model.file_count(); ++i) {
    const FileView file = model.file(i);
    const std::string name(file.name);
    if (file.name.starts_with("code/") || file.name == "data.pkl") {
      put((file.name == "data.pkl" ? ".data/ts_code/0/" : ".data/ts_code/") + name, file);
    } else if (file.name == kConstants || (file.name == "constants.pkl" && !own_constants)) {
      put(".data/ts_code/0/constants.pkl", file);
    } else if (file.name == "version" || file.name == ".data/version") {
      writer.setMinVersion(Number(TextOf(file)));
    }
  }
  writer.writeEndOfFile();
  return bytes;
}

class BytesReader : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit BytesReader(std::string bytes) : bytes_(std::move(bytes)) {}
  std::size_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t position, void* out, std::size_t size,
                   const char* /*what*/) const override {
    if (position >= bytes_.size()) return 0;
    size = std::min<std::size_t>(size, bytes_.size() - position);
    std::memcpy(out, bytes_.data() + position, size);
    return size;
  }

 private:
  const std::string bytes_;
};

}  // namespace

torch::jit::Module LoadTorchScript(std::shared_ptr<const Model> model,
                                   const TorchScriptOptions& options) {
  const std::optional<int> ordinal = cuda::Ordinal(*model);
  const at::Device device = ordinal ? at::Device(at::kCUDA, static_cast<at::DeviceIndex>(*ordinal))
                                    : at::Device(at::kCPU);
  auto storages = std::make_shared<torch::jit::DeserializationStorageContext>();
  for (const auto& [name, record] : ReadRecords(*model)) {
    const std::string key = name.starts_with(kData) ? name.substr(kData.size()) : name;
    storages->addStorage(key, StorageOf(model, record, device));
  }
  auto reader = std::make_shared<caffe2::serialize::PyTorchStreamReader>(
      std::make_unique<BytesReader>(Package(*model)));
  torch::jit::Module module = torch::jit::import_ir_module(
      std::make_shared<torch::jit::CompilationUnit>(), std::move(reader), std::move(storages),
      /*device=*/{}, /*ts_id=*/"0");
  const at::NoGradGuard no_grad;
  for (at::Tensor parameter : module.parameters()) parameter.set_requires_grad(false);
  if (!options.share_buffers) {
    for (at::Tensor buffer : module.buffers()) buffer.set_data(buffer.clone());
  }
  return module;
}

}  // namespace modeld
