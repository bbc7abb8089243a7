// A Model over a lease.

#pragma once

#include <memory>
#include <string>

#include "lease.h"
#include "mapped_residency.h"
#include "modeld/client.h"
#include "modeld/model.h"

namespace modeld::client {

class Core;

class ResidentModel final : public Model {
 public:
  // `lease` is GRANTED and `memory` is what it is for. `core` is told when the Model goes.
  ResidentModel(std::shared_ptr<Core> core, ModelSpec spec, std::shared_ptr<Lease> lease,
                const v1::Granted& granted, MappedResidency memory);
  ~ResidentModel() override;

  TensorView at(std::string_view name) const override;
  std::optional<TensorView> find(std::string_view name) const override;
  TensorView operator[](std::size_t index) const override;
  std::size_t size() const override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  std::string digest() const override { return lease_->digest(); }
  std::size_t metadata_size() const override;
  std::pair<std::string_view, std::string_view> metadata(std::size_t index) const override;
  std::optional<std::string_view> metadata(std::string_view key) const override;
  std::size_t file_count() const override;
  FileView file(std::size_t index) const override;
  std::optional<FileView> file(std::string_view name) const override;
  const std::string& reference() const override { return spec_.reference; }
  const std::string& residency_id() const override { return residency_id_; }
  const std::string& device() const override { return spec_.device; }
  State state() const override;
  void OnStateChange(std::function<void(State)> callback) const override;

  const ModelSpec& spec() const { return spec_; }
  bool retired() const { return lease_->retired(); }

 private:
  TensorView View(const wire::TensorEntry& entry) const;
  bool forked() const;

  const uint64_t fork_generation_;
  std::shared_ptr<Core> core_;
  const ModelSpec spec_;
  std::shared_ptr<Lease> lease_;
  const std::string residency_id_;
  std::optional<MappedResidency> memory_;
  const std::uint64_t size_bytes_;
};

}  // namespace modeld::client
