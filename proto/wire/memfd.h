// Sealed memory files and their mappings: how tables, digests and host segments travel.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "wire/unique_fd.h"

namespace modeld::wire {

// A mapping with one owner. Move-only; externally synchronised.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, size_t size_bytes) : address_(address), size_bytes_(size_bytes) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Unmap(); }

  std::byte* data() const { return static_cast<std::byte*>(address_); }
  size_t size_bytes() const { return size_bytes_; }
  std::span<const std::byte> bytes() const { return {data(), size_bytes_}; }
  void Unmap();

 private:
  void* address_ = nullptr;
  size_t size_bytes_ = 0;
};

// A new memfd with these bytes, sealed WRITE|GROW|SHRINK|SEAL. RESOURCE_EXHAUSTED when memory or
// descriptors are short.
absl::StatusOr<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes);

// Seals a memfd that nobody has mapped writable any more: FAILED_PRECONDITION (EBUSY) if somebody
// has. Blocks for `patience` at most, trying again: EBUSY is also what the kernel says while
// anything has a reference to one of the pages (memfd_wait_for_pins), which passes. Thread-safe.
absl::Status SealMemfd(int fd, std::chrono::milliseconds patience = std::chrono::seconds(2));

// Is it sealed against every change, and of this size? DATA_LOSS says what is missing. Whoever maps
// a descriptor that came from a peer asks first: an unsealed one could change, or fault, under the
// reader.
absl::Status CheckSealed(int fd, uint64_t size_bytes);

// PROT_READ, MAP_PRIVATE|MAP_NORESERVE: shares the pages, also on kernels before 6.7, which refuse
// MAP_SHARED of a sealed memfd. size_bytes 0 gives an empty mapping.
absl::StatusOr<Mapping> MapReadOnly(int fd, uint64_t size_bytes);

}  // namespace modeld::wire
