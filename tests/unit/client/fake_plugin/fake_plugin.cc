#include "fake_plugin.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "device/plugin_abi.h"

#ifndef FAKE_PLUGIN_ABI
#define FAKE_PLUGIN_ABI kModeldDeviceAbi
#endif

struct ModeldDeviceMapping {
  void* address;
  std::uint64_t size_bytes;
};

namespace modeld::testing {
namespace {

int Fail(ModeldDeviceFailure* failure, const std::string& reason, const std::string& message) {
  std::snprintf(failure->reason, sizeof(failure->reason), "%s", reason.c_str());
  std::snprintf(failure->message, sizeof(failure->message), "%s", message.c_str());
  std::snprintf(failure->hint, sizeof(failure->hint), "do something else");
  return 1;
}

int Devices(ModeldDeviceUuid* out, std::uint32_t capacity, std::uint32_t* count,
            ModeldDeviceFailure*) {
  const char* uuids[] = {kGpuA, kGpuB};
  *count = 2;
  for (std::uint32_t i = 0; i < std::min(capacity, *count); ++i) {
    std::memcpy(out[i].text, uuids[i], kModeldDeviceUuidBytes);
  }
  return 0;
}

int Current(std::int32_t* ordinal, ModeldDeviceFailure*) {
  *ordinal = GetFakePlugin().current;
  return 0;
}

// The handle of an IPC segment is a path.
bool MapInto(char* address, const ModeldDeviceSegment& segment) {
  const auto map = [](char* at, std::uint64_t size, int fd) {
    return mmap(at, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED;
  };
  if (segment.kind == kModeldDeviceIpc) {
    const int fd = open(reinterpret_cast<const char*>(segment.ipc_handle), O_RDONLY | O_CLOEXEC);
    const bool mapped = map(address, segment.size_bytes, fd);
    close(fd);
    return mapped;
  }
  bool mapped = true;
  for (std::uint64_t i = 0; i < segment.fd_count; ++i) {
    const std::uint64_t offset = i * segment.chunk_bytes;
    mapped =
        mapped && map(address + offset, std::min(segment.chunk_bytes, segment.size_bytes - offset),
                      segment.fds[i]);
  }
  return mapped;
}

int Map(const ModeldDeviceSegment* segment, std::int32_t ordinal, std::int32_t peer,
        ModeldDeviceMapping** mapping, void** address, ModeldDeviceFailure* failure) {
  FakePlugin& fake = GetFakePlugin();
  fake.last_ordinal = ordinal;
  fake.last_peer = peer;
  if (fake.failing_after == 0) return Fail(failure, fake.failure, "the fake GPU says no");
  if (fake.failing_after > 0) --fake.failing_after;
  void* range = mmap(nullptr, segment->size_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (range == MAP_FAILED || !MapInto(static_cast<char*>(range), *segment)) {
    return Fail(failure, "DEVICE_UNAVAILABLE", "the fake GPU cannot map it");
  }
  ++fake.mapped;
  *address = range;
  *mapping = new ModeldDeviceMapping{range, segment->size_bytes};
  return 0;
}

void Unmap(ModeldDeviceMapping* mapping) {
  munmap(mapping->address, mapping->size_bytes);
  delete mapping;
  ++GetFakePlugin().unmapped;
}

int CopyToHost(std::int32_t, const void* from, void* to, std::uint64_t size_bytes,
               ModeldDeviceFailure*) {
  std::memcpy(to, from, size_bytes);
  return 0;
}

constexpr ModeldDevicePlugin kTable = {.abi = FAKE_PLUGIN_ABI,
                                       .release = "9.9",
                                       .devices = Devices,
                                       .current = Current,
                                       .map = Map,
                                       .unmap = Unmap,
                                       .copy_to_host = CopyToHost};

}  // namespace

FakePlugin& GetFakePlugin() {
  static FakePlugin& fake = *new FakePlugin;
  return fake;
}

}  // namespace modeld::testing

const ModeldDevicePlugin* modeld_device_plugin() { return &modeld::testing::kTable; }
