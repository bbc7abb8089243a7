#include "rpc/lease_fds.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "wire/error.h"

namespace modeld::rpc {
namespace {

// In the order that attach.proto promises.
std::vector<int> FdsOf(const residency::LeaseMemory& memory, bool with_digests) {
  std::vector<int> fds;
  fds.reserve(memory.memory->segments.size() + 3);
  fds.push_back(memory.memory->table->fd());
  if (memory.reference_table != nullptr) fds.push_back(memory.reference_table->fd());
  for (const auto& segment : memory.memory->segments) {
    for (const wire::UniqueFd& fd : segment->fds) fds.push_back(fd.get());
  }
  if (with_digests) fds.push_back(memory.digests->table_fd.get());
  return fds;
}

}  // namespace

absl::Status SendMessage(wire::FramedSocket& socket, const v1::AttachServerMessage& message,
                         std::span<const int> fds) {
  return socket.TrySend(message.SerializeAsString(), fds);
}

v1::Refused ToRefused(const absl::Status& status) {
  v1::Refused refused;
  refused.set_code(static_cast<int>(status.code()));
  refused.set_message(std::string(status.message()));
  const std::string detail = wire::SerializeDetail(status);
  if (!detail.empty()) refused.mutable_detail()->ParseFromString(detail);
  return refused;
}

absl::Status SendRefusal(wire::FramedSocket& socket, const v1::GetLeaseFds& request,
                         const absl::Status& why) {
  v1::AttachServerMessage message;
  message.mutable_lease_fds()->set_request_id(request.request_id());
  *message.mutable_lease_fds()->mutable_refused() = ToRefused(why);
  return SendMessage(socket, message);
}

absl::Status SendLeaseFds(wire::FramedSocket& socket, const v1::GetLeaseFds& request,
                          const residency::LeaseMemory& memory) {
  const bool with_digests = request.want_digests() && memory.digests != nullptr;
  const std::vector<int> fds = FdsOf(memory, with_digests);
  std::span<const int> rest(fds);
  while (true) {
    const std::span<const int> now = rest.first(std::min(rest.size(), wire::kMaxFdsPerFrame));
    rest = rest.subspan(now.size());
    v1::AttachServerMessage message;
    v1::LeaseFds& answer = *message.mutable_lease_fds();
    answer.set_request_id(request.request_id());
    answer.set_fd_count(static_cast<uint32_t>(now.size()));
    answer.set_more(!rest.empty());
    answer.set_has_digests(with_digests);
    if (absl::Status sent = SendMessage(socket, message, now); !sent.ok()) return sent;
    if (rest.empty()) return absl::OkStatus();
  }
}

}  // namespace modeld::rpc
