// The arguments that name one copy of one model, for every verb that loads.

#pragma once

#include <functional>
#include <vector>

#include "google/protobuf/duration.pb.h"
#include "modelctl/verb.h"
#include "modeld/v1/types.pb.h"

namespace modeld::modelctl {

// All of these write to messages that outlive the parsing.

// A version of a model, and where: REF, --device, --keep-host, --cast, --include, --exclude,
// --key-prefix and --expect.
std::vector<Argument> VersionArguments(v1::ModelSpec& spec);
// Those, and which copy of it: --instance and --private.
std::vector<Argument> SpecArguments(v1::ModelSpec& spec);

// --wait-for-room and --keep-alive, to the fields of a request that are called so.
std::vector<Argument> StayArguments(std::function<void()> wait_for_room,
                                    std::function<google::protobuf::Duration*()> keep_alive);

}  // namespace modeld::modelctl
