// Load jobs for tests and benchmarks that speak to the memory's side of modeld without a modeld.

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "memory/source_file.h"
#include "plan/layout.h"
#include "residency/device_backend.h"
#include "support/checkpoint_writer.h"
#include "wire/tensor_table.h"

namespace modeld::test {

inline plan::OpenFile OpenAt(const std::string& path) {
  plan::OpenFile file;
  file.path = path;
  file.fd = wire::UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto identity = memory::IdentityOf(file.fd.get());
  if (!identity.ok()) {
    ADD_FAILURE() << path << ": " << identity.status();
    std::abort();
  }
  file.identity = *identity;
  file.name = path.substr(path.rfind('/') + 1);
  return file;
}

// Adds the tensors of a file that WriteCheckpoint wrote, as region `file`.
inline void AddToTable(const CheckpointSpec& spec, uint32_t file, const std::string& prefix,
                       wire::TableBuilder* table) {
  uint64_t offset = SafetensorsHeader(spec).size();
  for (const TensorSpec& tensor : spec.tensors) {
    const std::vector<int64_t> strides = wire::ContiguousStrides(tensor.shape);
    table->Add({.name = prefix + tensor.name,
                .dtype = tensor.dtype,
                .shape = tensor.shape,
                .strides = strides,
                .region = file,
                .offset = offset,
                .size_bytes = tensor.size_bytes()});
    offset += tensor.size_bytes();
  }
}

inline residency::LoadJob JobFor(const std::string& id, std::vector<plan::OpenFile> files,
                                 wire::TableBuilder& table, const plan::LoadConfig& config = {}) {
  const std::string bytes = table.Build();
  const auto view = wire::TableView::Validate(std::as_bytes(std::span(bytes)));
  EXPECT_TRUE(view.ok()) << view.status();
  auto plan = plan::MakeLayout(*view, "safetensors", plan::Place::kHost, config);
  EXPECT_TRUE(plan.ok()) << plan.status();
  auto checkpoint = std::make_shared<plan::OpenCheckpoint>();
  checkpoint->reference = files.front().path;
  checkpoint->files = std::move(files);
  checkpoint->config = config;
  residency::LoadJob job;
  job.record.id = id;
  job.record.sources.push_back({.content_key = checkpoint->Key(),
                                .format = "safetensors",
                                .references = {checkpoint->reference}});
  job.record.device = "host";
  job.record.generation = 7;
  job.checkpoint = std::move(checkpoint);
  job.plan = std::make_shared<const plan::LoadPlan>(*std::move(plan));
  return job;
}

// Writes the checkpoint and plans its load.
inline residency::LoadJob WriteJob(const std::string& id, const std::string& path,
                                   const CheckpointSpec& spec,
                                   const plan::LoadConfig& config = {}) {
  WriteCheckpoint(path, spec);
  std::vector<plan::OpenFile> files;
  files.push_back(OpenAt(path));
  wire::TableBuilder table;
  table.AddRegion(files.front().identity.size_bytes);
  AddToTable(spec, 0, "", &table);
  return JobFor(id, std::move(files), table, config);
}

// One tensor of a file of zeros without blocks: as large as a test wants, and no disk behind it.
inline residency::LoadJob SparseJob(const std::string& id, const std::string& path,
                                    uint64_t size_bytes) {
  wire::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size_bytes)), 0);
  std::vector<plan::OpenFile> files;
  files.push_back(OpenAt(path));
  wire::TableBuilder table;
  table.AddRegion(size_bytes);
  const int64_t shape[] = {static_cast<int64_t>(size_bytes)};
  const int64_t strides[] = {1};
  table.Add({.name = "zeros",
             .dtype = wire::DType::kU8,
             .shape = shape,
             .strides = strides,
             .size_bytes = size_bytes});
  return JobFor(id, std::move(files), table);
}

}  // namespace modeld::test
