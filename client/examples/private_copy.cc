// ReadPrivateCopy: just enough of safetensors for a file that one trusts. modeld's own parser
// trusts none.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "modeld/error.h"
#include "support.h"

namespace example {
namespace {

constexpr std::size_t kAlignment = 64;

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

struct Tensor {
  std::string name;
  modeld::DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  std::uint64_t offset;
  std::size_t size_bytes;
  std::unique_ptr<std::byte, Free> bytes;
};

modeld::DType ParseDType(const std::string& name) {
  for (int value = 1; value <= static_cast<int>(modeld::DType::kC128); ++value) {
    if (modeld::DTypeName(static_cast<modeld::DType>(value)) == name) {
      return static_cast<modeld::DType>(value);
    }
  }
  throw std::runtime_error("unknown dtype " + name);
}

class PrivateModel final : public modeld::Model {
 public:
  explicit PrivateModel(const std::string& path) : path_(path), device_("host") {
    std::ifstream file(path, std::ios::binary);
    std::uint64_t header_bytes = 0;
    file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
    if (!file || header_bytes > 100'000'000) {
      throw std::runtime_error(path + " is not a safetensors file");
    }
    std::string header(header_bytes, '\0');
    file.read(header.data(), static_cast<std::streamsize>(header_bytes));
    const nlohmann::json json = nlohmann::json::parse(header);
    for (const auto& [name, entry] : json.items()) {
      if (name == "__metadata__") {
        metadata_ = entry.get<std::map<std::string, std::string>>();
      } else {
        tensors_.push_back(Describe(name, entry));
      }
    }
    std::sort(tensors_.begin(), tensors_.end(),
              [](const Tensor& a, const Tensor& b) { return a.offset < b.offset; });
    for (Tensor& tensor : tensors_) {
      const std::size_t room = (tensor.size_bytes / kAlignment + 1) * kAlignment;
      tensor.bytes.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, room)));
      if (!tensor.bytes) {
        throw std::bad_alloc();
      }
      file.seekg(static_cast<std::streamoff>(sizeof(header_bytes) + header_bytes + tensor.offset));
      file.read(reinterpret_cast<char*>(tensor.bytes.get()),
                static_cast<std::streamsize>(tensor.size_bytes));
      size_bytes_ += tensor.size_bytes;
    }
    if (!file) {
      throw std::runtime_error(path + " ends too early");
    }
  }

  modeld::TensorView at(std::string_view name) const override {
    if (const std::optional<modeld::TensorView> view = find(name)) {
      return *view;
    }
    throw modeld::Error(modeld::ErrorCode::kNotFound, "FIELD_INVALID",
                        path_ + " has no tensor " + std::string(name));
  }
  std::optional<modeld::TensorView> find(std::string_view name) const override {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) {
        return (*this)[i];
      }
    }
    return std::nullopt;
  }
  modeld::TensorView operator[](std::size_t index) const override {
    const Tensor& t = tensors_[index];
    return {t.name, t.dtype, t.shape, t.strides, t.bytes.get(), t.size_bytes};
  }
  std::size_t size() const override { return tensors_.size(); }
  std::uint64_t size_bytes() const override { return size_bytes_; }
  std::string digest() const override { return {}; }
  std::size_t metadata_size() const override { return metadata_.size(); }
  std::pair<std::string_view, std::string_view> metadata(std::size_t index) const override {
    return *std::next(metadata_.begin(), static_cast<std::ptrdiff_t>(index));
  }
  std::optional<std::string_view> metadata(std::string_view key) const override {
    const auto it = metadata_.find(std::string(key));
    return it == metadata_.end() ? std::nullopt : std::optional<std::string_view>(it->second);
  }
  std::size_t file_count() const override { return 0; }
  modeld::FileView file(std::size_t) const override { return {}; }
  std::optional<modeld::FileView> file(std::string_view) const override { return std::nullopt; }
  const std::string& reference() const override { return path_; }
  const std::string& residency_id() const override { return no_id_; }
  const std::string& device() const override { return device_; }
  State state() const override { return State::kHeld; }
  void OnStateChange(std::function<void(State)>) const override {}

 private:
  static Tensor Describe(const std::string& name, const nlohmann::json& entry) {
    Tensor tensor{.name = name,
                  .dtype = ParseDType(entry.at("dtype")),
                  .shape = entry.at("shape"),
                  .strides = {},
                  .offset = entry.at("data_offsets").at(0),
                  .size_bytes = 0,
                  .bytes = nullptr};
    tensor.size_bytes = entry.at("data_offsets").at(1).get<std::uint64_t>() - tensor.offset;
    tensor.strides.assign(tensor.shape.size(), 1);
    for (std::size_t i = tensor.shape.size(); i-- > 1;) {
      tensor.strides[i - 1] = tensor.strides[i] * tensor.shape[i];
    }
    return tensor;
  }

  std::string path_;
  std::string device_;
  std::string no_id_;
  std::uint64_t size_bytes_ = 0;
  std::map<std::string, std::string> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace

std::shared_ptr<const modeld::Model> ReadPrivateCopy(const std::string& safetensors_file) {
  return std::make_shared<PrivateModel>(safetensors_file);
}

}  // namespace example
