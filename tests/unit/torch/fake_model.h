// A Model over a local buffer, for tests of what is built on Model.

#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "modeld/error.h"
#include "modeld/model.h"

namespace modeld {

class FakeModel : public Model {
 public:
  // Adds a C-contiguous tensor with these elements.
  template <typename T>
  void Add(std::string name, DType dtype, std::vector<std::int64_t> shape,
           const std::vector<T>& values) {
    std::vector<std::int64_t> strides(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) {
      strides[i - 1] = strides[i] * shape[i];
    }
    AddStrided(std::move(name), dtype, std::move(shape), std::move(strides), values);
  }

  template <typename T>
  void AddStrided(std::string name, DType dtype, std::vector<std::int64_t> shape,
                  std::vector<std::int64_t> strides, const std::vector<T>& values) {
    auto bytes = std::make_shared<std::vector<std::byte>>(values.size() * sizeof(T));
    if (!bytes->empty()) {
      std::memcpy(bytes->data(), values.data(), bytes->size());
    }
    const std::size_t size = bytes->size();
    AddView(std::move(name), dtype, std::move(shape), std::move(strides), std::move(bytes), 0,
            size);
  }

  // Adds a part of memory that tensors may share.
  void AddView(std::string name, DType dtype, std::vector<std::int64_t> shape,
               std::vector<std::int64_t> strides, std::shared_ptr<std::vector<std::byte>> memory,
               std::size_t offset, std::size_t size) {
    tensors_.push_back({std::move(name), dtype, std::move(shape), std::move(strides),
                        std::move(memory), offset, size});
  }

  void AddFile(std::string name, std::vector<std::byte> bytes) {
    files_.emplace_back(std::move(name), std::move(bytes));
  }

  void ClearFiles() { files_.clear(); }

  TensorView at(std::string_view name) const override {
    if (const std::optional<TensorView> view = find(name)) {
      return *view;
    }
    throw Error(ErrorCode::kNotFound, "FIELD_INVALID", "no tensor " + std::string(name));
  }

  std::optional<TensorView> find(std::string_view name) const override {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name == name) {
        return (*this)[i];
      }
    }
    return std::nullopt;
  }

  TensorView operator[](std::size_t index) const override {
    const Tensor& t = tensors_[index];
    return {t.name, t.dtype, t.shape, t.strides, t.memory->data() + t.offset, t.size};
  }

  std::size_t size() const override { return tensors_.size(); }
  std::uint64_t size_bytes() const override { return 0; }
  std::string digest() const override { return {}; }
  std::size_t metadata_size() const override { return 0; }
  std::pair<std::string_view, std::string_view> metadata(std::size_t) const override { return {}; }
  std::optional<std::string_view> metadata(std::string_view) const override { return {}; }
  std::size_t file_count() const override { return files_.size(); }
  FileView file(std::size_t index) const override {
    return {files_[index].first, files_[index].second};
  }
  std::optional<FileView> file(std::string_view name) const override {
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (files_[i].first == name) return file(i);
    }
    return std::nullopt;
  }
  const std::string& reference() const override { return reference_; }
  const std::string& residency_id() const override { return reference_; }
  const std::string& device() const override { return reference_; }
  State state() const override { return State::kHeld; }
  void OnStateChange(std::function<void(State)>) const override {}

 private:
  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;
    std::shared_ptr<std::vector<std::byte>> memory;
    std::size_t offset;
    std::size_t size;
  };

  std::string reference_ = "fake.safetensors";
  std::vector<Tensor> tensors_;
  std::vector<std::pair<std::string, std::vector<std::byte>>> files_;
};

}  // namespace modeld
