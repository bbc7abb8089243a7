#include "supervisor/digest_cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log_line.h"

namespace modeld::supervisor {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'m', 'o', 'd', 'e', 'l', 'd', 'D', '1'};
// A million tensors and a key of many paths.
constexpr size_t kMaxFileBytes = 64 << 20;
constexpr size_t kCountEvery = 100;

// Before the key and the digests.
struct Header {
  char magic[8];
  uint64_t checksum;  // XXH3-64 of all that follows this field
  uint64_t key_bytes;
  uint64_t tensor_count;
  wire::Digest weights;
};
static_assert(sizeof(Header) == 64);
constexpr size_t kChecksummedFrom = 16;

uint64_t ChecksumOf(const std::string& bytes) {
  return XXH3_64bits(bytes.data() + kChecksummedFrom, bytes.size() - kChecksummedFrom);
}

std::string Encode(const std::string& key, const plan::ContentDigests& digests) {
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.key_bytes = key.size();
  header.tensor_count = digests.tensors.size();
  header.weights = digests.weights;
  std::string bytes(sizeof(header), '\0');
  std::memcpy(bytes.data(), &header, sizeof(header));
  bytes += key;
  bytes.append(reinterpret_cast<const char*>(digests.tensors.data()),
               digests.tensors.size() * sizeof(wire::Digest));
  header.checksum = ChecksumOf(bytes);
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

std::shared_ptr<const plan::ContentDigests> Decode(const std::string& bytes,
                                                   const std::string& key) {
  Header header = {};
  if (bytes.size() < sizeof(header)) return nullptr;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 ||
      header.checksum != ChecksumOf(bytes)) {
    return nullptr;
  }
  const size_t left = bytes.size() - sizeof(header);
  if (header.key_bytes != key.size() || left < key.size() ||
      (left - key.size()) % sizeof(wire::Digest) != 0 ||
      (left - key.size()) / sizeof(wire::Digest) != header.tensor_count ||
      bytes.compare(sizeof(header), key.size(), key) != 0) {
    return nullptr;
  }
  auto digests = std::make_shared<plan::ContentDigests>();
  digests->weights = header.weights;
  digests->tensors.resize(header.tensor_count);
  if (header.tensor_count > 0) {
    std::memcpy(digests->tensors.data(), bytes.data() + sizeof(header) + key.size(),
                header.tensor_count * sizeof(wire::Digest));
  }
  return digests;
}

}  // namespace

std::string DigestCache::PathOf(const std::string& key) const {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return absl::StrCat(directory_, "/", absl::StrFormat("%016x%016x", hash.high64, hash.low64));
}

std::shared_ptr<const plan::ContentDigests> DigestCache::Find(const std::string& key) const {
  if (directory_.empty()) return nullptr;
  std::error_code error;
  const std::string path = PathOf(key);
  const auto size = fs::file_size(path, error);
  if (error || size > kMaxFileBytes) return nullptr;
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  return Decode(bytes, key);
}

void DigestCache::Store(const std::string& key, const plan::ContentDigests& digests) {
  if (directory_.empty()) return;
  std::error_code error;
  fs::create_directories(directory_, error);
  const std::string path = PathOf(key);
  static std::atomic<uint64_t> last_number{0};
  const std::string beside = absl::StrCat(path, ".", ::getpid(), ".", ++last_number);
  {
    const std::string bytes = Encode(key, digests);
    errno = 0;
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (!file) error = std::error_code(errno != 0 ? errno : EIO, std::generic_category());
  }
  if (!error) fs::rename(beside, path, error);
  if (error) {
    std::error_code ignored;
    fs::remove(beside, ignored);
  }
  TellOutcome(error);
  if (error) return;
  {
    wire::MutexLock lock(mutex_);
    if (stored_++ % kCountEvery != 0) return;
  }
  DropOldest();
}

void DigestCache::TellOutcome(const std::error_code& error) {
  {
    wire::MutexLock lock(mutex_);
    if (failing_ == static_cast<bool>(error)) return;
    failing_ = !failing_;
  }
  if (error) {
    spdlog::warn("msg=\"digests cannot be kept for now\" directory={} error={}",
                 base::LogValue(directory_), base::QuotedLogValue(error.message()));
  } else {
    spdlog::info("msg=\"digests are kept again\" directory={}", base::LogValue(directory_));
  }
}

void DigestCache::DropOldest() {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> entries;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    std::error_code gone;
    const auto time = entry.last_write_time(gone);
    if (!gone) entries.emplace_back(time, entry.path());
  }
  if (entries.size() <= kMaxEntries) return;
  std::sort(entries.begin(), entries.end());
  entries.resize(entries.size() - kMaxEntries);
  for (const auto& [time, path] : entries) fs::remove(path, error);
}

}  // namespace modeld::supervisor
