// Failures that a test asks for while processes run: FAKE_CUDA_FAULTS (README.md has its lines).

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fake_cudart {

// One reading of the file: what of it concerns this process. Immutable but for the counts.
class FaultSet {
 public:
  // `version` tells one reading from another.
  FaultSet(const std::string& text, uint64_t version);

  uint64_t version() const { return version_; }
  uint64_t copy_delay_us_per_mib() const { return copy_delay_us_per_mib_; }
  bool IsGone(const std::string& device_name) const;
  // The error that poisons the device's context.
  std::optional<int> Sticky(const std::string& device_name) const;
  // The error that this call of `function` shall end with; takes one off its count.
  std::optional<int> TakeFailure(const std::string& function) const;

 private:
  struct Failure {
    std::string function;
    int error = 0;
    bool counted = false;
    mutable std::atomic<int64_t> remaining{0};
  };
  struct Sticking {
    std::string device_name;
    int error = 0;
  };

  bool ParseLine(const std::string& line);

  const uint64_t version_;
  uint64_t copy_delay_us_per_mib_ = 0;
  std::vector<std::string> gone_;
  std::vector<Sticking> sticky_;
  std::vector<std::unique_ptr<Failure>> failures_;
};

// What the file says now; reads it again when its inode, size or time has changed. Without a file
// there are no faults. Thread-safe.
std::shared_ptr<const FaultSet> CurrentFaults();

}  // namespace fake_cudart
