#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

#include "checkpoint/sandbox.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

// The kernel's own struct as of ABI 6 (Linux 6.12), spelled out: the build machine's headers may be
// older than the kernel that this runs on. A shorter size says that the fields behind it are not
// meant.
struct RulesetAttributes {
  uint64_t handled_access_fs;   // ABI 1
  uint64_t handled_access_net;  // ABI 4
  uint64_t scoped;              // ABI 6
};

constexpr uint64_t Bits(unsigned count) { return (uint64_t{1} << count) - 1; }

// Source: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h. Rights that a
// later ABI adds are not handled here until they are known here.
RulesetAttributes AttributesOf(long abi, size_t* size) {
  // Up to MAKE_SYM, then REFER, TRUNCATE, (none in 4) and IOCTL_DEV.
  const unsigned fs_rights = abi >= 5 ? 16 : abi >= 3 ? 15 : abi == 2 ? 14 : 13;
  RulesetAttributes attributes = {
      .handled_access_fs = Bits(fs_rights), .handled_access_net = 0, .scoped = 0};
  *size = offsetof(RulesetAttributes, handled_access_net);
  if (abi >= 4) {
    attributes.handled_access_net = Bits(2);  // BIND_TCP, CONNECT_TCP
    *size = offsetof(RulesetAttributes, scoped);
  }
  if (abi >= 6) {
    attributes.scoped = Bits(2);  // ABSTRACT_UNIX_SOCKET, SIGNAL
    *size = sizeof(RulesetAttributes);
  }
  return attributes;
}

}  // namespace

uint32_t RestrictWithLandlock() {
  const long abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return 0;
  size_t size = 0;
  const RulesetAttributes attributes = AttributesOf(abi, &size);
  // No rule is added: everything handled is forbidden.
  const wire::UniqueFd ruleset(
      static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid() || syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return 0;
  return static_cast<uint32_t>(abi);
}

}  // namespace modeld::checkpoint
