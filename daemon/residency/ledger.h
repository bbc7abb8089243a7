// The byte budget of one device.

#pragma once

#include <cstdint>

namespace modeld::residency {

// capacity = reserved + resident + free, always: bytes are promised before they are allocated, and
// every promise is either kept (Commit) or taken back (Cancel). modeld's own numbers, never the
// driver's, which move between processes.
//
// Externally synchronised.
class Ledger {
 public:
  explicit Ledger(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t reserved_bytes() const { return reserved_bytes_; }
  uint64_t resident_bytes() const { return resident_bytes_; }
  // 0 when adopted residencies already exceed the capacity.
  uint64_t free_bytes() const;

  // False, and nothing changes, when there is not that much free.
  [[nodiscard]] bool Reserve(uint64_t bytes);
  // A reservation that came true. REQUIRES: bytes <= reserved_bytes().
  void Commit(uint64_t bytes);
  // A reservation that did not. REQUIRES: bytes <= reserved_bytes().
  void Cancel(uint64_t bytes);
  // Resident bytes that were given back. REQUIRES: bytes <= resident_bytes().
  void Free(uint64_t bytes);
  // Resident bytes that were there before this ledger: may exceed the capacity.
  void Adopt(uint64_t bytes);

 private:
  const uint64_t capacity_bytes_;
  uint64_t reserved_bytes_ = 0;
  uint64_t resident_bytes_ = 0;
};

}  // namespace modeld::residency
