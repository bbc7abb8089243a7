// The parser's one exchange: a request with descriptors in, a reply and a table out.

#pragma once

#include <vector>

#include "checkpoint/sandbox.h"
#include "modeld/v1/agent.pb.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {

// Answers `request`, whose descriptors are `fds`: the files in order (weights, then companions),
// then the memfds for the source table, the reference table and the samples. Whatever goes wrong is
// in the reply.
v1::ParseReply Serve(const v1::ParseRequest& request, const std::vector<wire::UniqueFd>& fds,
                     const SandboxReport& sandbox);

}  // namespace modeld::checkpoint
