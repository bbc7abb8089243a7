// A file of a few GiB, laid out as safetensors are, and the job to load it.

#pragma once

#include <cstdint>
#include <string>

#include "plan/load_plan.h"
#include "plan/open_checkpoint.h"
#include "residency/device_backend.h"

namespace modeld::bench {

// Drops what is cached of the file, or caches all of it. Whatever fails ends the program.
void DropPageCache(int fd);
void FillPageCache(int fd);

// Tensors of 64 MiB behind a header as long as typical ones, so that they are aligned for their
// dtype and for no page. Externally synchronised. The file is removed at the end.
class LargeCheckpoint {
 public:
  // Writes it in `directory`.
  LargeCheckpoint(const std::string& directory, uint64_t size_bytes);
  ~LargeCheckpoint();
  LargeCheckpoint(const LargeCheckpoint&) = delete;
  LargeCheckpoint& operator=(const LargeCheckpoint&) = delete;

  const residency::LoadJob& job() const { return job_; }
  // The same load as a residency of that id.
  residency::LoadJob JobAs(const std::string& id) const;
  const plan::OpenFile& file() const { return job_.checkpoint->files.front(); }
  const plan::LoadPlan& plan() const { return *job_.plan; }
  uint64_t size_bytes() const { return file().identity.size_bytes; }

  void DropCache() const { DropPageCache(file().fd.get()); }
  void WarmCache() const { FillPageCache(file().fd.get()); }

 private:
  std::string path_;
  residency::LoadJob job_;
};

}  // namespace modeld::bench
