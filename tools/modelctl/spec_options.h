// The options that name one copy of one model, for every verb that loads.

#pragma once

#include <CLI/CLI.hpp>

#include "modeld/v1/types.pb.h"

namespace modeld::modelctl {

// REF, --device, --keep-host, --instance, --private, --cast, --include, --exclude, --key-prefix and
// --expect, written to `spec`, which outlives the parsing.
void AddSpecOptions(CLI::App& verb, v1::ModelSpec& spec);

}  // namespace modeld::modelctl
