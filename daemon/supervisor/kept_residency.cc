#include "supervisor/kept_residency.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "wire/error.h"
#include "wire/memfd.h"

namespace modeld::supervisor {
namespace {

constexpr char kPrefix[] = "residency-";
constexpr char kRecord[] = "record";
constexpr char kDigest[] = "digest-";
constexpr uint64_t kMostRecordBytes = 16 << 20;
// Longer than any residency has descriptors: 8 GiB each.
constexpr size_t kMostDescriptors = 4096;

std::string NameOf(const std::string& id, const std::string& part) {
  return absl::StrCat(kPrefix, id, "-", part);
}

bool IsOwn(const residency::ResidencyRecord& record, const residency::LoadedSegment& segment) {
  return absl::StartsWith(segment.id, absl::StrCat(record.id, "/"));
}

// What was found of one residency.
struct Parts {
  wire::UniqueFd record;
  std::map<size_t, wire::UniqueFd> descriptors;
  std::string weights_digest;  // 32 bytes, where its table was found
  wire::UniqueFd digest;
  std::vector<std::string> names;
};

// `residency-<id>-<part>`; false for another name.
bool Split(absl::string_view name, std::string* id, std::string* part) {
  if (!absl::ConsumePrefix(&name, kPrefix)) return false;
  const size_t dash = name.find('-');
  if (dash == absl::string_view::npos || dash == 0) return false;
  *id = std::string(name.substr(0, dash));
  *part = std::string(name.substr(dash + 1));
  return true;
}

// False: of no known kind, or there twice.
bool Add(const std::string& part, wire::UniqueFd fd, Parts& parts) {
  if (part == kRecord) {
    if (parts.record.valid()) return false;
    parts.record = std::move(fd);
    return true;
  }
  absl::string_view digest = part;
  if (absl::ConsumePrefix(&digest, kDigest)) {
    if (parts.digest.valid() || digest.size() != 2 * wire::kDigestBytes ||
        !std::all_of(digest.begin(), digest.end(), absl::ascii_isxdigit)) {
      return false;
    }
    parts.weights_digest = absl::HexStringToBytes(digest);
    parts.digest = std::move(fd);
    return true;
  }
  size_t index = 0;
  if (!absl::SimpleAtoi(part, &index) || index >= kMostDescriptors) return false;
  return parts.descriptors.emplace(index, std::move(fd)).second;
}

absl::StatusOr<v1::InventoryItem> ReadRecord(const wire::UniqueFd& fd) {
  if (!fd.valid()) return absl::DataLossError("its record is missing");
  struct stat status;
  if (::fstat(fd.get(), &status) != 0 || status.st_size <= 0 ||
      static_cast<uint64_t>(status.st_size) > kMostRecordBytes) {
    return absl::DataLossError("its record has an impossible size");
  }
  const auto size_bytes = static_cast<uint64_t>(status.st_size);
  if (absl::Status sealed = wire::CheckSealed(fd.get(), size_bytes); !sealed.ok()) return sealed;
  auto mapping = wire::MapReadOnly(fd.get(), size_bytes);
  if (!mapping.ok()) return mapping.status();
  v1::InventoryItem item;
  if (!item.ParseFromArray(mapping->data(), static_cast<int>(mapping->size_bytes()))) {
    return absl::DataLossError("its record cannot be read");
  }
  return item;
}

absl::StatusOr<InventoryEntry> Put(const std::string& id, Parts parts) {
  auto item = ReadRecord(parts.record);
  if (!item.ok()) return item.status();
  if (item->residency_id() != id) return absl::DataLossError("its record is another one's");
  std::vector<wire::UniqueFd> fds;
  for (auto& [index, fd] : parts.descriptors) {
    if (index != fds.size()) return absl::DataLossError("descriptors of it are missing");
    fds.push_back(std::move(fd));
  }
  item->clear_weights_digest();
  if (parts.digest.valid()) {
    const auto attachments = static_cast<size_t>(item->record().attachment_sizes_size());
    if (attachments > fds.size()) return absl::DataLossError("descriptors of it are missing");
    item->set_weights_digest(parts.weights_digest);
    fds.insert(fds.end() - static_cast<std::ptrdiff_t>(attachments), std::move(parts.digest));
  }
  return ReadInventoryItem(*item, std::move(fds));
}

}  // namespace

absl::StatusOr<KeptItems> ItemsOf(const residency::ResidencyRecord& record,
                                  const residency::ResidentMemory& memory) {
  v1::InventoryItem item;
  item.set_residency_id(record.id);
  item.set_table_size_bytes(memory.table->size_bytes());
  KeptItems kept;
  size_t next = 0;
  const auto add = [&](int fd) {
    kept.items.push_back({NameOf(record.id, absl::StrCat(next++)), fd});
  };
  const auto add_anew = [&](int fd) {
    wire::UniqueFd opened(::open(absl::StrCat("/proc/self/fd/", fd).c_str(), O_RDONLY | O_CLOEXEC));
    if (!opened.valid()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("opening a descriptor anew: ", wire::ErrnoText(errno)));
    }
    add(opened.get());
    kept.own_fds.push_back(std::move(opened));
    return absl::OkStatus();
  };
  add(memory.table->fd());
  for (const auto& segment : memory.segments) {
    wire::ToProto(segment->info, *item.add_segments());
    item.add_segment_ids(segment->id);
    const bool own = IsOwn(record, *segment);
    for (const wire::UniqueFd& fd : segment->fds) {
      if (own) {
        add(fd.get());
      } else if (auto status = add_anew(fd.get()); !status.ok()) {
        return status;
      }
    }
  }
  std::vector<int> attachments;
  EncodeRecord(record, item.mutable_record(), &attachments);
  for (const int fd : attachments) {
    if (auto status = add_anew(fd); !status.ok()) return status;
  }
  auto record_fd = wire::MakeSealedMemfd("modeld-record", item.SerializeAsString());
  if (!record_fd.ok()) return record_fd.status();
  kept.own_fds.push_back(*std::move(record_fd));
  // Last: what has a record is whole.
  kept.items.push_back({NameOf(record.id, kRecord), kept.own_fds.back().get()});
  return kept;
}

DescriptorStore::Item DigestItem(const std::string& residency_id,
                                 const residency::ResidentDigests& digests) {
  const wire::Digest& weights = digests.content->weights;
  const absl::string_view bytes(reinterpret_cast<const char*>(weights.data()), weights.size());
  return {NameOf(residency_id, absl::StrCat(kDigest, absl::BytesToHexString(bytes))),
          digests.table_fd.get()};
}

bool IsKeepable(const residency::ResidencyRecord& record, const residency::ResidentMemory& memory) {
  return std::ranges::none_of(memory.segments, [&](const auto& segment) {
    return segment->info.kind == wire::SegmentKind::kCudaIpc ||
           (segment->info.kind == wire::SegmentKind::kCudaVmm && !IsOwn(record, *segment));
  });
}

Found Assemble(std::vector<NamedFd> descriptors) {
  Found found;
  std::map<std::string, Parts> residencies;
  std::map<std::string, std::string> broken;  // id -> why
  for (NamedFd& descriptor : descriptors) {
    std::string id;
    std::string part;
    if (!Split(descriptor.name, &id, &part)) {
      found.unusable_names.push_back(descriptor.name);
      found.unusable_because.push_back(
          absl::StrCat("descriptor ", descriptor.name, " is none of modeld's"));
      continue;
    }
    Parts& parts = residencies[id];
    parts.names.push_back(descriptor.name);
    if (!Add(part, std::move(descriptor.fd), parts)) {
      broken[id] = absl::StrCat("a descriptor ", descriptor.name, " too many");
    }
  }
  for (auto& [id, parts] : residencies) {
    std::vector<std::string> names = std::move(parts.names);
    const auto is_broken = broken.find(id);
    absl::StatusOr<InventoryEntry> entry = is_broken != broken.end()
                                               ? absl::DataLossError(is_broken->second)
                                               : Put(id, std::move(parts));
    if (entry.ok()) {
      found.residencies.push_back({*std::move(entry), std::move(names)});
      continue;
    }
    found.unusable_names.insert(found.unusable_names.end(), names.begin(), names.end());
    found.unusable_because.push_back(
        absl::StrCat("residency ", id, ": ", std::string(entry.status().message())));
  }
  return found;
}

}  // namespace modeld::supervisor
