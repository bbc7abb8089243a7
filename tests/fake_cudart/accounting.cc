#include "fake_cudart/accounting.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <string_view>
#include <thread>

#include "fake_cudart/mutex.h"
#include "fake_cudart/process_info.h"

namespace fake_cudart {
namespace {

constexpr char kPathPrefix[] = "/memfd:fake-cuda:";
constexpr int kPoison = 0xA5;

using Sizes = std::map<ino_t, uint64_t>;

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

std::string ReadLinkAt(int directory, const char* name) {
  std::array<char, 512> target;
  const ssize_t length = readlinkat(directory, name, target.data(), target.size());
  return length < 0 ? std::string() : std::string(target.data(), static_cast<size_t>(length));
}

void AddOpen(const std::string& process, const std::string& prefix, Sizes& sizes) {
  const Dir dir(opendir((process + "/fd").c_str()));
  if (dir == nullptr) return;
  while (const dirent* entry = readdir(dir.get())) {
    if (ReadLinkAt(dirfd(dir.get()), entry->d_name).compare(0, prefix.size(), prefix) != 0) {
      continue;
    }
    struct stat info = {};
    if (fstatat(dirfd(dir.get()), entry->d_name, &info, 0) != 0) continue;
    sizes[info.st_ino] = std::max(sizes[info.st_ino], static_cast<uint64_t>(info.st_size));
  }
}

// proc(5): "start-end perms offset device inode path". A memfd is always mapped whole, so its size
// is where its last mapping ends.
void AddMapped(const std::string& process, const std::string& prefix, Sizes& sizes) {
  const std::string maps = ReadProcFile(process + "/maps");
  for (size_t at = maps.find(prefix); at != std::string::npos; at = maps.find(prefix, at + 1)) {
    const size_t before = maps.rfind('\n', at);
    const char* field = maps.c_str() + (before == std::string::npos ? 0 : before + 1);
    char* end = nullptr;
    const uint64_t first = strtoull(field, &end, 16);
    const uint64_t last = strtoull(end + 1, &end, 16);
    const char* offset = strchr(end + 1, ' ');
    const uint64_t start = strtoull(offset, &end, 16);
    const char* inode = strchr(end + 1, ' ');
    const ino_t number = strtoull(inode, nullptr, 10);
    sizes[number] = std::max(sizes[number], start + last - first);
  }
}

cudaError_t TryCreate(const Device& device, const char* kind, uint64_t bytes,
                      modeld::wire::UniqueFd& memfd) {
  const std::string name = "fake-cuda:" + device.name() + ":" + kind;
  modeld::wire::UniqueFd created(memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!created.valid()) return cudaErrorOperatingSystem;
  if (ftruncate(created.get(), static_cast<off_t>(bytes)) != 0) return cudaErrorMemoryAllocation;
  // Counted once it exists: whoever looks later sees it, so that two never get the same bytes.
  if (BytesInUse(device.name()) > device.spec.memory_bytes) return cudaErrorMemoryAllocation;
  memfd = std::move(created);
  return cudaSuccess;
}

// Real memory is not zero when it is handed out. Whoever relies on it shall be found.
void Poison(int memfd, uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (memory == MAP_FAILED) return;
  memset(memory, kPoison, bytes);
  munmap(memory, bytes);
}

}  // namespace

uint64_t BytesInUse(const std::string& device_name) {
  const std::string prefix = kPathPrefix + device_name + ":";
  Sizes sizes;
  const Dir proc(opendir("/proc"));
  if (proc == nullptr) return 0;
  while (const dirent* entry = readdir(proc.get())) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    const std::string process = std::string("/proc/") + entry->d_name;
    AddOpen(process, prefix, sizes);
    AddMapped(process, prefix, sizes);
  }
  uint64_t bytes = 0;
  for (const auto& [inode, size] : sizes) bytes += size;
  return bytes;
}

cudaError_t CreateDeviceMemfd(const Device& device, const char* kind, uint64_t bytes,
                              modeld::wire::UniqueFd& memfd) {
  if (bytes > device.spec.memory_bytes) return cudaErrorMemoryAllocation;
  const uint64_t charged = RoundUpToGranularity(bytes);
  cudaError_t error = cudaSuccess;
  {
    // Threads of one process never race each other; processes do, and then try once more.
    static Mutex& one_at_a_time = *new Mutex;
    MutexLock lock(one_at_a_time);
    error = TryCreate(device, kind, charged, memfd);
    if (error == cudaErrorMemoryAllocation) {
      std::this_thread::sleep_for(std::chrono::milliseconds(getpid() % 16));
      error = TryCreate(device, kind, charged, memfd);
    }
  }
  if (error == cudaSuccess && GetConfig().poison) Poison(memfd.get(), charged);
  return error;
}

std::optional<DeviceMemfd> DescribeDeviceMemfd(int fd) {
  const std::string path = ReadLinkAt(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str());
  const std::string_view prefix = kPathPrefix;
  if (path.compare(0, prefix.size(), prefix) != 0) return std::nullopt;
  struct stat info = {};
  if (fstat(fd, &info) != 0) return std::nullopt;
  // What follows is "<uuid>:<kind> (deleted)".
  const std::string rest = path.substr(prefix.size());
  const size_t colon = rest.find(':');
  if (colon == std::string::npos) return std::nullopt;
  const std::string kind = rest.substr(colon + 1, rest.find(' ', colon) - colon - 1);
  return DeviceMemfd{rest.substr(0, colon), kind, info.st_ino, static_cast<uint64_t>(info.st_size)};
}

}  // namespace fake_cudart
