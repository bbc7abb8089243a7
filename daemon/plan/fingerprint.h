// Are two checkpoints perhaps the same? Answered from their tables and a few samples, without a
// read.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "wire/tensor_table.h"

namespace modeld::plan {

// Of one tensor; all zero: it was not looked at (checkpoint/samples.h).
using Sample = std::array<std::byte, 16>;

// Copyable; thread-safe.
struct Fingerprint {
  // Of names, dtypes and shapes: equal tables have equal ones.
  std::pair<uint64_t, uint64_t> structure = {};
  std::vector<Sample> samples;  // in table order; empty: nothing was looked at
};

Fingerprint FingerprintOf(const wire::TableView& table, std::vector<Sample> samples);

// False: their weights digests differ for certain. True: only digests can tell.
bool MayBeEqual(const Fingerprint& a, const Fingerprint& b);

// Do two samples leave it open whether their tensors are equal?
bool MayBeEqual(const Sample& a, const Sample& b);

}  // namespace modeld::plan
