#include "checkpoint/torch_archive.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
#include "checkpoint/torch_globals.h"
#include "wire/error.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

constexpr std::string_view kPickleName = "data.pkl";
constexpr uint64_t kMaxByteOrderBytes = 64;

absl::Status ForeignArchive(const InputFile& file, const std::string& what,
                            const std::string& hint) {
  const std::string path = wire::ToUtf8(file.path);
  return wire::MakeError(wire::Reason::kFormatUnsupported, absl::StrCat(path, ": ", what),
                         {{"file", path}, {"byte", "0"}}, hint);
}

}  // namespace

absl::StatusOr<TorchArchive> TorchArchive::Open(const InputFile& file) {
  auto zip = ZipReader::Open(file);
  if (!zip.ok()) return zip.status();
  TorchArchive archive(file, *std::move(zip));
  if (auto status = archive.FindFolder(); !status.ok()) return status;
  if (auto status = archive.CheckByteOrder(); !status.ok()) return status;
  return archive;
}

absl::Status TorchArchive::FindFolder() {
  bool found = false;
  for (const ZipRecord& record : zip_.records()) {
    if (!record.name.ends_with(kPickleName)) continue;
    const std::string_view folder = record.name.substr(0, record.name.size() - kPickleName.size());
    // At the top, or in a folder that is there.
    if (!folder.empty() && folder.find('/') != folder.size() - 1) continue;
    if (found) {
      return Malformed(file_->path, record.directory_entry,
                       absl::StrCat("two archives in one: ", Quoted(folder_), " and ",
                                    Quoted(folder), " both have a data.pkl"));
    }
    found = true;
    folder_ = folder;
  }
  if (found) return absl::OkStatus();
  for (const ZipRecord& record : zip_.records()) {
    if (record.name.ends_with("/model.json") || record.name.ends_with(".data/version")) {
      return ForeignArchive(*file_,
                            record.name.ends_with("/model.json")
                                ? "a TorchScript archive of a PyTorch before 1.1"
                                : "a package of torch.package, and no checkpoint",
                            "load it in PyTorch and save its state_dict() with torch.save");
    }
  }
  return ForeignArchive(*file_, "a ZIP archive without a data.pkl: not one that torch.save wrote",
                        "unpack it, and name the checkpoint that is in it");
}

absl::Status TorchArchive::CheckByteOrder() const {
  const ZipRecord* const record = Find("byteorder");
  if (record == nullptr) return absl::OkStatus();  // before PyTorch 2.1
  const auto order = zip_.Read(*record, kMaxByteOrderBytes);
  if (!order.ok()) return order.status();
  if (*order == "little") return absl::OkStatus();
  return ForeignArchive(*file_, absl::StrCat("its numbers are ", Quoted(*order), "-endian"),
                        "load it in PyTorch and save it again on a little-endian machine");
}

absl::StatusOr<std::unique_ptr<ArchivePickle>> ArchivePickle::Read(const InputFile& file,
                                                                   const TorchArchive& archive,
                                                                   const ZipRecord& record,
                                                                   FindPickleGlobal find) {
  auto result = std::make_unique<ArchivePickle>();
  auto text = archive.zip().Read(record, kMaxTorchPickleBytes);
  if (!text.ok()) return text.status();
  const auto data_offset = archive.zip().Locate(record);
  if (!data_offset.ok()) return data_offset.status();
  result->text_ = *std::move(text);
  result->reader_.emplace(result->text_, find);
  result->source_ = {
      .file = &file, .record = &record, .data_offset = *data_offset, .pickle = &*result->reader_};
  if (result->reader_->Read()) return result;
  const PickleReader::Error& error = result->reader_->error();
  const std::string what =
      absl::StrCat(error.what, error.global.empty() ? "" : WhyRefused(error.global), " (byte ",
                   error.position, " of ", Quoted(record.name), ")");
  const uint64_t byte = result->source_.ByteOf(error.position);
  return error.unsupported ? TorchUnsupported(file, byte, what, error.global)
                           : Malformed(file.path, byte, what);
}

}  // namespace modeld::checkpoint
