#include "residency/ledger.h"

#include <cassert>

namespace modeld::residency {

uint64_t Ledger::free_bytes() const {
  const uint64_t used = reserved_bytes_ + resident_bytes_;
  return used < capacity_bytes_ ? capacity_bytes_ - used : 0;
}

bool Ledger::Reserve(uint64_t bytes) {
  if (bytes > free_bytes()) return false;
  reserved_bytes_ += bytes;
  return true;
}

void Ledger::Commit(uint64_t bytes) {
  assert(bytes <= reserved_bytes_);
  reserved_bytes_ -= bytes;
  resident_bytes_ += bytes;
}

void Ledger::Cancel(uint64_t bytes) {
  assert(bytes <= reserved_bytes_);
  reserved_bytes_ -= bytes;
}

void Ledger::Free(uint64_t bytes) {
  assert(bytes <= resident_bytes_);
  resident_bytes_ -= bytes;
}

void Ledger::Adopt(uint64_t bytes) { resident_bytes_ += bytes; }

}  // namespace modeld::residency
