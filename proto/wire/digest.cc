#include "wire/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <concepts>
#include <map>
#include <memory>
#include <stdexcept>
#include <tuple>

#include "absl/strings/escaping.h"
#include "wire/checked.h"
#include "wire/error.h"
#include "wire/strided_reader.h"
#include "wire/text.h"

namespace modeld::wire {
namespace {

constexpr std::byte kLeaf{0x00};
constexpr std::byte kRoot{0x01};
constexpr std::string_view kWeightsPrefix = "modeld.weights.v1";
constexpr size_t kGatherBytes = 64 << 10;  // stays in the L2 cache between gathering and hashing

void Require(bool ok) {
  if (!ok) throw std::runtime_error("OpenSSL does not compute SHA-256");
}

// Fetched once and kept: looking it up costs more than hashing a small tensor.
const EVP_MD* Sha256Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  Require(algorithm != nullptr);
  return algorithm;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { Require(context_ != nullptr); }

  void Begin() { Require(EVP_DigestInit_ex2(context_.get(), Sha256Algorithm(), nullptr) == 1); }
  void Add(std::span<const std::byte> bytes) {
    Require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text))); }
  template <std::unsigned_integral T>
  void AddInteger(T value) {
    static_assert(std::endian::native == std::endian::little);
    Add(std::as_bytes(std::span(&value, 1)));
  }
  Digest End() {
    Digest digest;
    Require(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                               nullptr) == 1);
    return digest;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

struct Hashers {
  Sha256 root;
  Sha256 leaf;
};

Hashers& ThreadHashers() {
  thread_local Hashers hashers;
  return hashers;
}

absl::Status Cancelled() { return MakeError(Reason::kCancelled, "digesting was cancelled"); }

// `add_chunk(offset, size)` puts that part of the C-contiguous bytes into ThreadHashers().leaf.
template <typename AddChunk>
absl::StatusOr<Digest> DigestOfChunks(uint64_t size_bytes, AddChunk add_chunk,
                                      const std::function<bool()>& keep_going) {
  auto& [root, leaf] = ThreadHashers();
  root.Begin();
  root.Add(std::span(&kRoot, 1));
  root.AddInteger(size_bytes);
  for (uint64_t offset = 0; offset < size_bytes; offset += kDigestChunkBytes) {
    if (keep_going && !keep_going()) return Cancelled();
    leaf.Begin();
    leaf.Add(std::span(&kLeaf, 1));
    const uint64_t chunk_bytes = std::min<uint64_t>(kDigestChunkBytes, size_bytes - offset);
    if (absl::Status added = add_chunk(offset, chunk_bytes); !added.ok()) return added;
    root.Add(leaf.End());
  }
  return root.End();
}

absl::StatusOr<Digest> DigestOfContiguous(const TensorEntry& entry, const ReadRegion& read,
                                          const std::function<bool()>& keep_going) {
  return DigestOfChunks(
      entry.size_bytes,
      [&](uint64_t offset, uint64_t size) {
        const auto bytes = read(entry.region, entry.offset + offset, size);
        if (bytes.ok()) ThreadHashers().leaf.Add(*bytes);
        return bytes.status();
      },
      keep_going);
}

absl::StatusOr<Digest> DigestOfStrided(const TensorEntry& entry, const ReadRegion& read,
                                       std::vector<std::byte>& buffer,
                                       const std::function<bool()>& keep_going) {
  const auto bytes = read(entry.region, entry.offset, entry.size_bytes);
  if (!bytes.ok()) return bytes.status();
  StridedReader reader(bytes->data(), DTypeElementBytes(entry.dtype), entry.shape, entry.strides);
  buffer.resize(kGatherBytes);
  return DigestOfChunks(
      *ContiguousBytes(entry.dtype, entry.shape),
      [&](uint64_t, uint64_t size) {
        // Elements divide the buffer's size, so they divide that of every part, too.
        for (uint64_t left = size; left > 0;) {
          const auto part = std::span(buffer).first(std::min<uint64_t>(left, buffer.size()));
          reader.Read(part);
          ThreadHashers().leaf.Add(part);
          left -= part.size();
        }
        return absl::OkStatus();
      },
      keep_going);
}

}  // namespace

Digest TensorDigest(std::span<const std::byte> bytes) {
  return *DigestOfChunks(
      bytes.size(),
      [&](uint64_t offset, uint64_t size) {
        ThreadHashers().leaf.Add(bytes.subspan(offset, size));
        return absl::OkStatus();
      },
      nullptr);
}

absl::StatusOr<std::vector<Digest>> TensorDigests(const TableView& table, const ReadRegion& read,
                                                  const std::function<bool()>& keep_going) {
  // Tied weights are several names on the same bytes.
  std::map<std::tuple<uint32_t, uint64_t, uint64_t>, Digest> aliases;
  std::vector<std::byte> buffer;
  std::vector<Digest> digests;
  digests.reserve(table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    const TensorEntry entry = table.entry(i);
    if (entry.size_bytes > 0 && !IsContiguous(entry.shape, entry.strides)) {
      auto digest = DigestOfStrided(entry, read, buffer, keep_going);
      if (!digest.ok()) return digest.status();
      digests.push_back(*digest);
      continue;
    }
    const auto place = std::tuple(entry.region, entry.offset, entry.size_bytes);
    if (entry.alias) {
      if (const auto known = aliases.find(place); known != aliases.end()) {
        digests.push_back(known->second);
        continue;
      }
    }
    const auto digest = DigestOfContiguous(entry, read, keep_going);
    if (!digest.ok()) return digest.status();
    if (entry.alias) aliases.emplace(place, *digest);
    digests.push_back(*digest);
  }
  return digests;
}

absl::StatusOr<std::vector<Digest>> TensorDigests(
    const TableView& table, std::span<const std::span<const std::byte>> segments,
    const std::function<bool()>& keep_going) {
  if (segments.size() < table.region_count()) {
    return MakeError(Reason::kInternal, StrCat("digests: ", table.region_count(), " regions, ",
                                               segments.size(), " segments"));
  }
  return TensorDigests(
      table,
      [&](uint32_t region, uint64_t offset,
          uint64_t size_bytes) -> absl::StatusOr<std::span<const std::byte>> {
        const auto segment = segments[region];
        if (!RangeFits(offset, size_bytes, segment.size())) {
          return MakeError(Reason::kInternal, StrCat("digests: a tensor beyond segment ", region,
                                                     " of ", segment.size(), " bytes"));
        }
        return segment.subspan(offset, size_bytes);
      },
      keep_going);
}

Digest WeightsDigest(const TableView& table, std::span<const Digest> digests) {
  Sha256& hasher = ThreadHashers().root;
  hasher.Begin();
  hasher.Add(kWeightsPrefix);
  hasher.AddInteger(uint64_t{table.size()});
  for (size_t i = 0; i < table.size(); ++i) {
    const TensorEntry entry = table.entry(i);
    const std::string_view dtype = DTypeName(entry.dtype);
    hasher.AddInteger(static_cast<uint32_t>(entry.name.size()));
    hasher.Add(entry.name);
    hasher.AddInteger(static_cast<uint32_t>(dtype.size()));
    hasher.Add(dtype);
    hasher.AddInteger(static_cast<uint32_t>(entry.shape.size()));
    hasher.Add(std::as_bytes(entry.shape));
    hasher.Add(digests[i]);
  }
  return hasher.End();
}

std::string DigestText(const Digest& digest) {
  return StrCat("sha256:", absl::BytesToHexString(absl::string_view(
                               reinterpret_cast<const char*>(digest.data()), digest.size())));
}

}  // namespace modeld::wire
