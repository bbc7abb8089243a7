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

// A record of the archive, and the resident tensors that are parts of it.
struct Record {
  struct Part {
    std::uint64_t offset;
    TensorView view;
  };
  std::uint64_t size_bytes = 0;
  std::vector<Part> parts;
};

std::uint64_t Number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::map<std::string, Record> ReadRecords(const Model& model) {
  const auto file = model.file(kRecords);
  if (!file) {
    Refuse(model, "is no TorchScript archive",
           "name one that torch.jit.save wrote, or use modeld::BindParameters");
  }
  std::map<std::string, Record> records;
  std::string_view rest = TextOf(*file);
  const auto field = [&rest] {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view value = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return value;
  };
  while (!rest.empty()) {
    const std::string_view record = field();
    const std::uint64_t size_bytes = Number(field());
    const std::uint64_t offset = Number(field());
    const std::string_view dtype = field();
    const std::string_view name = field();
    const auto view = model.find(name);
    if (!view || DTypeName(view->dtype) != dtype) {
      Refuse(model,
             std::string("has ") + (view ? "converted" : "left out") + " tensor " +
                 std::string(name) + " of the module",
             "acquire it without a load configuration");
    }
    Record& entry = records[std::string(record)];
    entry.size_bytes = size_bytes;
    entry.parts.push_back({offset, *view});
  }
  return records;
}

// Where the record lies in resident memory as a whole; nullptr: its parts lie apart, or leave out
// its first or last bytes.
const std::byte* WholeRecord(const Record& record) {
  const std::byte* begin = nullptr;
  std::uint64_t first = record.size_bytes;
  std::uint64_t last = 0;
  for (const auto& [offset, view] : record.parts) {
    if (view.size_bytes == 0) continue;
    const std::byte* const at = static_cast<const std::byte*>(view.data) - offset;
    if (begin != nullptr && at != begin) return nullptr;
    begin = at;
    first = std::min(first, offset);
    last = std::max<std::uint64_t>(last, offset + view.size_bytes);
  }
  return first == 0 && last == record.size_bytes ? begin : nullptr;
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
  // Views of a storage of which nobody saved the whole: a private copy of what there is.
  const auto options = at::TensorOptions(at::kByte).device(device);
  at::Tensor copy = at::zeros({static_cast<std::int64_t>(record.size_bytes)}, options);
  for (const auto& [offset, view] : record.parts) {
    if (view.size_bytes == 0) continue;
    const auto size = static_cast<std::int64_t>(view.size_bytes);
    copy.narrow(0, static_cast<std::int64_t>(offset), size)
        .copy_(at::from_blob(const_cast<void*>(view.data), {size}, options));
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
