// The arguments that name one copy of one model, for every verb that loads.

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "modelctl/verb.h"
#include "modeld/v1/types.pb.h"

namespace modeld::modelctl {

// All of these write to strings and messages that outlive the parsing.

// Either of the two ways to name it.
Argument SelectorOrReference(std::string& value);

// A version of a model, and where: REF, --device, --keep-host, --cast, --include, --exclude,
// --key-prefix and --expect.
std::vector<Argument> VersionArguments(v1::ModelSpec& spec);
// Those, and which copy of it: --instance and --private.
std::vector<Argument> SpecArguments(v1::ModelSpec& spec);

// --wait-for-room and --keep-alive, to the fields of a request that are called so. A time that is
// none is a failure of usage.
std::vector<Argument> StayArguments(std::function<void()> wait_for_room,
                                    std::function<google::protobuf::Duration*()> keep_alive);

}  // namespace modeld::modelctl
