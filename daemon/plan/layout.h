// From where tensors lie in files to where they shall lie in memory. Pure.

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "plan/load_config.h"
#include "plan/load_plan.h"

namespace modeld::plan {

enum class Place { kHost, kDevice };

// The layout of a checkpoint whose source table is `source` (region i = file i) for one segment.
//
// On the host, a file whose tensors are all aligned for their dtype keeps its own layout: its bytes
// from the page (4096) that holds the first tensor to the end of the last one go into the segment
// in one range, with segment offset and file offset equal modulo 4096, so that one direct read puts
// every byte in its place. The tensors of any other file are packed one after another at multiples
// of 64 bytes, one range each (adjacent ones merged). All files share one segment.
//
// On a device every tensor lies at a multiple of 512 bytes. A file whose tensors have such
// distances from each other is one range from its first tensor on; the tensors of any other file
// are packed.
//
// Tensors whose type `config` changes have the new one in the table, and ranges that cast. Their
// file is packed. Tensors that share bytes are cast as one run and go on sharing them; strides stay
// what they are. kFormatUnsupported names two that cannot: they see their bytes as elements of
// different types, or as elements that begin at different places. (Which tensors are wanted, and
// under which names, is the source's matter already.)
//
// kCheckpointMalformed when tensors that share bytes (strides of 0, aliases) add up to more than 64
// times the segment: reading every tensor would have no bound.
// Metadata of the source is not taken over. RESOURCE_EXHAUSTED when the sizes overflow or the table
// cannot be allocated.
absl::StatusOr<LoadPlan> MakeLayout(const wire::TableView& source, const std::string& format,
                                    Place place, const LoadConfig& config = {});

}  // namespace modeld::plan
