// modelctl export: a residency as a safetensors file.

#include <unistd.h>

#include <memory>

#include "modelctl/error.h"
#include "modelctl/load_progress.h"
#include "modelctl/output_file.h"
#include "modelctl/raw_lease.h"
#include "modelctl/safetensors_writer.h"
#include "modelctl/spec_arguments.h"
#include "modelctl/terminal.h"
#include "modelctl/verbs.h"
#include "wire/text.h"

namespace modeld::modelctl {
namespace {

absl::Status WriteFile(RawLease& lease, OutputFile& file, uint64_t file_bytes,
                       const std::string& label) {
  ProgressDisplay display(label);
  uint64_t done = 0;
  return WriteSafetensors(
      lease.table(), lease.reference_table(),
      [&](uint32_t region, uint64_t offset, uint64_t size_bytes) {
        return lease.Read(region, offset, size_bytes);
      },
      [&](std::span<const std::byte> bytes) {
        if (absl::Status going_on = lease.Check(); !going_on.ok()) return going_on;
        display.ShowBytes(done, file_bytes);
        done += bytes.size();
        return file.Write(bytes);
      });
}

absl::Status Export(const std::string& selector, const std::string& path,
                    Environment& environment) {
  const bool to_stdout = path.empty() || path == "-";
  if (to_stdout && LookAt(STDOUT_FILENO).is_terminal) {
    return ErrorWithHint(absl::StatusCode::kInvalidArgument,
                         "the bytes of a checkpoint are nothing for a terminal",
                         wire::StrCat("name a file: modelctl export ", selector, " FILE"));
  }
  LoadProgress progress(selector);
  const auto acquired =
      RawLease::Acquire(environment, selector, "modelctl/export",
                        [&](const v1::Progress& update) { progress.Show(update); });
  progress.Clear();
  if (!acquired.ok()) return acquired.status();
  RawLease& lease = **acquired;

  const auto header = SafetensorsHeader(lease.table(), lease.reference_table());
  if (!header.ok()) return header.status();
  const auto data_bytes = SafetensorsDataBytes(lease.table());
  if (!data_bytes.ok()) return data_bytes.status();
  const uint64_t file_bytes = header->size() + *data_bytes;

  std::unique_ptr<OutputFile> file;
  if (to_stdout) {
    file = OutputFile::Stdout();
  } else {
    auto created = OutputFile::Create(path, file_bytes);
    if (!created.ok()) return created.status();
    file = *std::move(created);
  }
  absl::Status written =
      WriteFile(lease, *file, file_bytes, wire::StrCat("writing ", to_stdout ? "stdout" : path));
  if (written.ok()) written = file->Commit();
  if (!written.ok() || to_stdout) return written;

  ExportReport report;
  report.set_residency_id(lease.granted().residency_id());
  report.set_reference(lease.reference());
  report.set_file(path);
  report.set_file_bytes(file_bytes);
  report.set_tensor_count(lease.table().size());
  report.set_tensor_bytes(lease.table().tensor_bytes());
  report.set_digest(lease.granted().digest());
  return environment.Write(environment.MakePrinter()->Exported(report));
}

}  // namespace

Verb ExportVerb() {
  const auto selector = std::make_shared<std::string>();
  const auto path = std::make_shared<std::optional<std::string>>();
  return {
      .name = "export",
      .summary = "Write a residency as a safetensors file",
      .example = "  modelctl export 3f2a backbone.safetensors",
      .arguments = {SelectorOrReference(*selector),
                    OptionalOperand("FILE", *path,
                                    "where to; - or nothing is stdout, unless that is a terminal")},
      .run = [selector, path](Environment& environment) {
        return Export(*selector, path->value_or(""), environment);
      }};
}

}  // namespace modeld::modelctl
