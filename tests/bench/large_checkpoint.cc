#include "large_checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "bench_tools.h"
#include "memory/chunk_plan.h"
#include "support/load_jobs.h"
#include "wire/tensor_table.h"

namespace modeld::bench {
namespace {

constexpr uint64_t kTensorBytes = 64 << 20;
constexpr uint64_t kHeaderBytes = 26'008;

void WriteRandom(int fd, uint64_t total) {
  std::vector<uint64_t> block(memory::kChunkBytes / 8);
  std::mt19937_64 random(1);
  for (uint64_t& word : block) word = random();
  for (uint64_t at = 0; at < total; at += memory::kChunkBytes) {
    block[0] = at;
    const uint64_t size = std::min(memory::kChunkBytes, total - at);
    if (::pwrite(fd, block.data(), size, static_cast<off_t>(at)) != static_cast<ssize_t>(size)) {
      Die("cannot write a checkpoint: set MODELD_BENCH_DIR to where there is room");
    }
  }
  ::fsync(fd);
}

}  // namespace

void DropPageCache(int fd) {
  ::fdatasync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

void FillPageCache(int fd) {
  std::vector<char> buffer(memory::kChunkBytes);
  ssize_t count = 0;
  for (off_t at = 0; (count = ::pread(fd, buffer.data(), buffer.size(), at)) != 0; at += count) {
    if (count < 0) Die("pread");
  }
}

LargeCheckpoint::LargeCheckpoint(const std::string& directory, uint64_t size_bytes)
    : path_(directory + "/modeld-bench-XXXXXX") {
  const uint64_t tensor_count = std::max<uint64_t>(1, size_bytes / kTensorBytes);
  const wire::UniqueFd fd(::mkostemp(path_.data(), O_CLOEXEC));
  if (!fd.valid()) Die("cannot create a file in " + directory);
  WriteRandom(fd.get(), kHeaderBytes + tensor_count * kTensorBytes);
  std::vector<plan::OpenFile> files;
  files.push_back(test::OpenAt(path_));
  wire::TableBuilder table;
  table.AddRegion(files.front().identity.size_bytes);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    const int64_t shape[] = {static_cast<int64_t>(kTensorBytes / 4)};
    const int64_t strides[] = {1};
    table.Add({.name = "layer." + std::to_string(i) + ".weight",
               .dtype = wire::DType::kF32,
               .shape = shape,
               .strides = strides,
               .offset = kHeaderBytes + i * kTensorBytes,
               .size_bytes = kTensorBytes});
  }
  job_ = test::JobFor("bench", std::move(files), table);
}

LargeCheckpoint::~LargeCheckpoint() { ::unlink(path_.c_str()); }

residency::LoadJob LargeCheckpoint::JobAs(const std::string& id) const {
  residency::LoadJob job = job_;
  job.record.id = id;
  return job;
}

}  // namespace modeld::bench
