#include "modelctl/printers/table.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "modelctl/duration.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

using Align = Column::Align;

constexpr size_t kShortDigestLength = 12;
constexpr char kDigestPrefix[] = "sha256:";

std::string Both(uint64_t bytes) {
  return bytes < 1024 ? absl::StrCat(bytes, " bytes")
                      : absl::StrCat(HumanBytes(bytes), " (", bytes, " bytes)");
}

// Rows of the tree, depth first. `lead` is what stands left of the node's own name, `below` left of
// everything under it.
class TreeRows {
 public:
  TreeRows(Table& table, std::function<std::vector<Cell>(const ScopeUse&)> use_cells,
           size_t use_columns)
      : table_(table), use_cells_(std::move(use_cells)), use_columns_(use_columns) {}

  void Add(const ScopeNode& node, const std::string& lead, const std::string& below) {
    const std::string name = node.name().empty() ? "(no scope)" : Printable(node.name());
    AddUses(lead + name, node.children().empty() ? below : below + "│  ", node.uses());
    for (int i = 0; i < node.children_size(); ++i) {
      const bool last = i + 1 == node.children_size();
      Add(node.children(i), below + (last ? "└─ " : "├─ "), below + (last ? "   " : "│  "));
    }
  }

  // The first use stands on the line of the name, the others under it.
  template <class Uses>
  void AddUses(const std::string& name, const std::string& below, const Uses& uses) {
    if (uses.empty()) AddRow(name, std::vector<Cell>(use_columns_, Cell("")));
    for (int i = 0; i < uses.size(); ++i) AddRow(i == 0 ? name : below, use_cells_(uses[i]));
  }

 private:
  void AddRow(const std::string& name, std::vector<Cell> cells) {
    cells.insert(cells.begin(), Cell(name));
    table_.AddRow(std::move(cells));
  }

  Table& table_;
  const std::function<std::vector<Cell>(const ScopeUse&)> use_cells_;
  const size_t use_columns_;
};

void CollectIds(const ScopeNode& node, std::set<std::string>& ids) {
  for (const ScopeUse& use : node.uses()) ids.insert(use.residency_id());
  for (const ScopeNode& child : node.children()) CollectIds(child, ids);
}

}  // namespace

Cell StateCell(const v1::Residency& residency) {
  const std::string name = v1::Residency::State_Name(residency.state());
  // It goes with its last holder.
  if (residency.state() == v1::Residency::READY && !residency.superseded_by().empty()) {
    return {absl::StrCat(name, ", superseded"), Style::kBusy};
  }
  switch (residency.state()) {
    case v1::Residency::READY:
      return {name, Style::kGood};
    case v1::Residency::LOADING: {
      if (residency.tensor_bytes() == 0) return {name, Style::kBusy};
      const double part = static_cast<double>(residency.loaded_bytes()) /
                          static_cast<double>(residency.tensor_bytes());
      return {absl::StrFormat("%s %d%%", name, std::min(99, static_cast<int>(part * 100))),
              Style::kBusy};
    }
    case v1::Residency::PENDING:
    case v1::Residency::DRAINING:
      return {name, Style::kBusy};
    case v1::Residency::FAILED:
    case v1::Residency::LOST:
      return {name, Style::kBad};
    default:
      return {name, Style::kDim};
  }
}

std::string DeviceIndex(const v1::Device& device) {
  return device.kind() == v1::Device::CUDA ? absl::StrCat("cuda:", device.index()) : "";
}

std::string PageSize(uint32_t bytes) { return bytes == 0 ? "-" : HumanBytes(bytes); }

std::string InstanceText(const v1::Residency& residency) {
  return residency.private_copy() ? "(private)" : Printable(residency.instance());
}

std::string KeepAliveCell(bool is_set, const google::protobuf::Duration& keep_alive) {
  if (!is_set) return "";
  return KeepAliveText(std::chrono::nanoseconds(
      google::protobuf::util::TimeUtil::DurationToNanoseconds(keep_alive)));
}

std::string Plural(uint64_t count, const std::string& one, const std::string& many) {
  return absl::StrCat(count, " ", count == 1 ? one : many);
}

std::string ShapeText(const v1::TensorInfo& tensor) {
  return absl::StrCat("[", absl::StrJoin(tensor.shape(), ", "), "]");
}

std::string EventWords(const v1::Event& event, const std::string& bytes) {
  std::vector<std::string> words;
  if (!event.reference().empty()) words.push_back(Printable(event.reference()));
  if (event.bytes() != 0) words.push_back(bytes);
  if (event.pid() != 0) words.push_back(absl::StrCat("pid ", event.pid()));
  if (!event.scope().empty()) words.push_back(Printable(event.scope()));
  if (!event.reason().empty()) words.push_back(Printable(event.reason()));
  if (!event.cause().empty()) words.push_back(Printable(event.cause()));
  if (!event.message().empty()) words.push_back(Printable(event.message()));
  return absl::StrJoin(words, "  ");
}

size_t TablePrinter::IdLength(const std::set<std::string>& ids) {
  size_t length = kShortIdLength;
  const std::string* previous = nullptr;
  for (const std::string& id : ids) {  // sorted: the closest are neighbours
    if (previous != nullptr) {
      const auto [a, b] = std::mismatch(previous->begin(), previous->end(), id.begin(), id.end());
      length = std::max(length, static_cast<size_t>(a - previous->begin()) + 1);
    }
    previous = &id;
  }
  return length;
}

std::string TablePrinter::Bytes(uint64_t bytes) const { return HumanBytes(bytes); }

std::string TablePrinter::Id(const std::string& id, size_t length) const {
  return id.empty() ? "-" : Printable(id.substr(0, length));
}

std::string TablePrinter::Digest(const std::string& digest) const {
  if (digest.empty()) return "-";
  const bool prefixed = digest.starts_with(kDigestPrefix);
  return Printable(digest.substr(prefixed ? sizeof(kDigestPrefix) - 1 : 0, kShortDigestLength));
}

std::string TablePrinter::Describe(const std::vector<std::pair<std::string, Cell>>& lines) const {
  size_t width = 0;
  for (const auto& [name, cell] : lines) {
    if (!cell.text.empty()) width = std::max(width, DisplayWidth(name));
  }
  std::string out;
  for (const auto& [name, cell] : lines) {
    if (cell.text.empty()) continue;
    absl::StrAppend(&out, Styled(name, Style::kBold, options_.colour),
                    std::string(width - DisplayWidth(name) + 2, ' '),
                    Styled(cell.text, cell.style, options_.colour), "\n");
  }
  return out;
}

std::string TablePrinter::Residencies(const v1::ListResidenciesResponse& reply) const {
  std::set<std::string> ids;
  for (const v1::Residency& residency : reply.residencies()) ids.insert(residency.id());
  const size_t id_length = IdLength(ids);
  Table table({{.title = "ID"},
               {.title = "REFERENCE", .shrink_to = 16},
               {.title = "ALIAS", .shrink_to = 10, .optional = true},
               {.title = "INSTANCE", .shrink_to = 10, .optional = true},
               {.title = "DEVICE", .shrink_to = 8},
               {.title = "STATE"},
               {.title = "SIZE", .align = Align::kRight},
               {.title = "SHARED", .align = Align::kRight, .optional = true},
               {.title = "STRANDED", .align = Align::kRight, .optional = true},
               {.title = "LEASES", .align = Align::kRight},
               {.title = "PINNED"},
               {.title = "DIGEST"},
               {.title = "AGE", .align = Align::kRight},
               {.title = "EXPIRES", .optional = true},
               {.title = "REASON", .optional = true}});
  // Where nothing is, nobody needs a column.
  const auto bytes_or_none = [&](uint64_t bytes) { return bytes == 0 ? "" : Bytes(bytes); };
  for (const v1::Residency& residency : reply.residencies()) {
    const std::string aliases = Printable(absl::StrJoin(residency.aliases(), ","));
    const std::string expires =
        residency.has_expire_time() ? Until(residency.expire_time(), options_.now) : "";
    table.AddRow({Id(residency.id(), id_length), Printable(residency.reference()), aliases,
                  InstanceText(residency), Printable(residency.device()), StateCell(residency),
                  Bytes(residency.size_bytes()), bytes_or_none(residency.shared_bytes()),
                  bytes_or_none(residency.stranded_bytes()), absl::StrCat(residency.lease_count()),
                  residency.pinned() ? "yes" : "no", Digest(residency.digest()),
                  Age(residency.created_time(), options_.now), expires,
                  Cell(Printable(residency.error_reason()), Style::kBad)});
  }
  return Render(table);
}

std::string TablePrinter::Residency(const v1::GetResidencyResponse& reply) const {
  const v1::Residency& r = reply.residency();
  std::vector<std::string> others;
  for (const std::string& reference : r.references()) {
    if (reference != r.reference()) others.push_back(Printable(reference));
  }
  const auto moment = [&](const google::protobuf::Timestamp& time) -> std::string {
    const std::string text = Rfc3339(time);
    return text == "-" ? "" : absl::StrCat(text, " (", Age(time, options_.now), " ago)");
  };
  std::string out = Describe({
      {"Residency", Printable(r.id())},
      {"Reference", Printable(r.reference())},
      {"Also known as", absl::StrJoin(others, ", ")},
      {"Aliases", Printable(absl::StrJoin(r.aliases(), ", "))},
      {"Device", Printable(r.device())},
      {"Instance", InstanceText(r)},
      {"State", StateCell(r)},
      {"Superseded by", r.superseded_by().empty()
                            ? ""
                            : absl::StrCat("another version as ", Printable(r.superseded_by()),
                                           "; it goes with its last holder")},
      {"Error", Cell(Printable(r.error_message().empty()
                                   ? r.error_reason()
                                   : absl::StrCat(r.error_reason(), ": ", r.error_message())),
                     Style::kBad)},
      {"Digest", r.digest().empty() ? "not known yet" : Printable(r.digest())},
      {"Size", Both(r.size_bytes())},
      {"Own, shared", r.shared_bytes() == 0 ? ""
                                            : absl::StrCat(HumanBytes(r.own_bytes()), ", ",
                                                           HumanBytes(r.shared_bytes()))},
      {"Tensors", absl::StrCat(r.tensor_count(), ", ", Both(r.tensor_bytes()))},
      {"Format", Printable(r.format())},
      {"Pages", PageSize(r.page_size_bytes())},
      {"Pinned", r.pinned() ? "yes" : "no"},
      {"Keep-alive", KeepAliveCell(r.has_keep_alive(), r.keep_alive())},
      {"Generation", absl::StrCat(r.generation())},
      {"Created", moment(r.created_time())},
      {"Ready", moment(r.ready_time())},
      {"Last released", moment(r.released_time())},
      {"Expires", r.has_expire_time() ? absl::StrCat(Rfc3339(r.expire_time()), " (",
                                                     Until(r.expire_time(), options_.now), ")")
                                      : ""},
      {"Waiting", r.waiter_count() == 0 ? "" : absl::StrCat(r.waiter_count())},
      {"Leases", absl::StrCat(r.lease_count())},
  });
  if (reply.leases().empty()) return out;
  v1::ListLeasesResponse leases;
  *leases.mutable_leases() = reply.leases();
  return absl::StrCat(out, "\n", Leases(leases));
}

std::string TablePrinter::Tree(const ScopeTree& tree) const {
  std::set<std::string> ids;
  for (const ScopeNode& root : tree.roots()) CollectIds(root, ids);
  for (const ScopeUse& idle : tree.idle()) ids.insert(idle.residency_id());
  const size_t id_length = IdLength(ids);

  Table table({{.title = "SCOPE"},
               {.title = "ID"},
               {.title = "REFERENCE", .shrink_to = 16},
               {.title = "SIZE", .align = Align::kRight},
               {.title = "PIDS", .shrink_to = 8}});
  TreeRows rows(
      table,
      [&](const ScopeUse& use) -> std::vector<Cell> {
        return {Id(use.residency_id(), id_length), Printable(use.reference()),
                Bytes(use.size_bytes()), absl::StrJoin(use.pids(), ", ")};
      },
      4);
  for (const ScopeNode& root : tree.roots()) rows.Add(root, "", "");
  if (!tree.idle().empty()) rows.AddUses("(idle)", "", tree.idle());

  const std::string uses = Plural(tree.uses(), "use", "uses");
  const std::string copies = Plural(tree.copies(), "copy", "copies");
  const std::string totals =
      tree.uses() == 0 ? "nothing is in use"
                       : absl::StrCat(uses, ", ", copies, ", ", Bytes(tree.bytes()), " instead of ",
                                      Bytes(tree.bytes_without_sharing()));
  const bool nothing = tree.roots().empty() && tree.idle().empty();
  return absl::StrCat(nothing ? "" : Render(table) + "\n",
                      Styled(totals, Style::kBold, options_.colour), "\n");
}

std::string TablePrinter::Leases(const v1::ListLeasesResponse& reply) const {
  std::set<std::string> ids;
  for (const v1::Lease& lease : reply.leases()) ids.insert(lease.residency_id());
  const size_t id_length = IdLength(ids);
  Table table({{.title = "LEASE"},
               {.title = "RESIDENCY"},
               {.title = "REFERENCE", .shrink_to = 16},
               {.title = "PID", .align = Align::kRight},
               {.title = "UID", .align = Align::kRight},
               {.title = "PROGRAM", .shrink_to = 8},
               {.title = "SCOPE", .shrink_to = 12},
               {.title = "AGE", .align = Align::kRight}});
  for (const v1::Lease& lease : reply.leases()) {
    table.AddRow({Printable(lease.id()), Id(lease.residency_id(), id_length),
                  Printable(lease.reference()), absl::StrCat(lease.pid()),
                  absl::StrCat(lease.uid()), Printable(lease.program()),
                  lease.scope().empty() ? "-" : Printable(lease.scope()),
                  Age(lease.granted_time(), options_.now)});
  }
  return Render(table);
}

std::string TablePrinter::DeviceNotes(const v1::ListDevicesResponse& reply) const {
  std::vector<std::pair<std::string, Cell>> lines;
  for (const v1::Device& device : reply.devices()) {
    const std::string id = Printable(device.id());
    if (!device.page_size_note().empty()) {
      lines.emplace_back(id, absl::StrCat("pages of ", PageSize(device.page_size_bytes()), ": ",
                                          Printable(device.page_size_note())));
    }
    if (!device.export_note().empty()) {
      lines.emplace_back(id, absl::StrCat("export ", Printable(device.export_()), ": ",
                                          Printable(device.export_note())));
    }
    for (const std::string& note : device.notes())
      lines.emplace_back(id, Cell(Printable(note), Style::kBusy));
  }
  for (const std::string& note : reply.gpu_notes()) {
    lines.emplace_back("GPUs", Cell(Printable(note), Style::kBusy));
  }
  std::string sandbox = "not known yet: no checkpoint has been read";
  if (reply.has_parser_sandbox()) {
    const v1::ParserSandbox& s = reply.parser_sandbox();
    sandbox = absl::StrCat(
        s.landlock_abi() == 0 ? "no Landlock" : absl::StrCat("Landlock ABI ", s.landlock_abi()),
        ", ", s.seccomp() ? "seccomp" : "no seccomp", ", address space ",
        s.address_space_limit_bytes() == 0
            ? "unlimited"
            : absl::StrCat("at most ", HumanBytes(s.address_space_limit_bytes())));
  }
  lines.emplace_back("parser sandbox", sandbox);
  return absl::StrCat("\n", Describe(lines));
}

std::string TablePrinter::Devices(const v1::ListDevicesResponse& reply) const {
  Table table({{.title = "DEVICE", .shrink_to = 12},
               {.title = "INDEX", .optional = true},
               {.title = "NAME", .shrink_to = 8, .optional = true},
               {.title = "KIND"},
               {.title = "CAPACITY", .align = Align::kRight},
               {.title = "RESERVED", .align = Align::kRight},
               {.title = "RESIDENT", .align = Align::kRight},
               {.title = "EVICTABLE", .align = Align::kRight},
               {.title = "FREE", .align = Align::kRight},
               {.title = "EXPORT"},
               {.title = "PAGES", .align = Align::kRight},
               {.title = "AGENT"}});
  for (const v1::Device& device : reply.devices()) {
    const uint64_t taken = device.reserved_bytes() + device.resident_bytes();
    const uint64_t free = device.capacity_bytes() - std::min(device.capacity_bytes(), taken);
    table.AddRow({Printable(device.id()), DeviceIndex(device), Printable(device.name()),
                  v1::Device::Kind_Name(device.kind()), Bytes(device.capacity_bytes()),
                  Bytes(device.reserved_bytes()), Bytes(device.resident_bytes()),
                  Bytes(device.evictable_bytes()), Bytes(free), Printable(device.export_()),
                  PageSize(device.page_size_bytes()),
                  device.available() ? Cell(absl::StrCat("pid ", device.agent_pid()))
                                     : Cell("down", Style::kBad)});
  }
  return absl::StrCat(Render(table), DeviceNotes(reply));
}

std::string TablePrinter::EventTitle() const {
  return Styled(absl::StrFormat("%-20s  %-21s  %-8s  %s", "TIME", "EVENT", "ID", "WHAT"),
                Style::kBold, options_.colour) +
         "\n";
}

std::string TablePrinter::Event(const v1::WatchEventsResponse& reply) const {
  const v1::Event& event = reply.event();
  google::protobuf::Timestamp seconds = event.time();
  seconds.set_nanos(0);
  std::string line = absl::StrFormat(
      "%-20s  %-21s  %-8s  %s", Rfc3339(seconds), v1::Event::Type_Name(event.type()),
      Id(event.residency_id(), kShortIdLength), EventWords(event, Bytes(event.bytes())));
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string TablePrinter::Checkpoint(const v1::InspectCheckpointResponse& reply,
                                     bool with_tensors) const {
  const v1::Checkpoint& c = reply.checkpoint();
  std::vector<std::pair<std::string, Cell>> lines = {{"Reference", Printable(c.reference())}};
  for (const std::string& file : c.files()) lines.emplace_back("File", Printable(file));
  lines.insert(lines.end(),
               {{"Format", Printable(c.format())},
                {"Files", Both(c.file_bytes())},
                {"Tensors", absl::StrCat(c.tensor_count(), ", ", Both(c.tensor_bytes()))},
                {"When resident", absl::StrCat(Both(c.resident_bytes()), " on the host")}});
  const std::map<std::string, std::string> metadata(c.metadata().begin(), c.metadata().end());
  for (const auto& [key, value] : metadata) {
    lines.emplace_back("Metadata", absl::StrCat(Printable(key), " = ", Printable(value)));
  }
  const std::string out = Describe(lines);
  if (!with_tensors) return out;

  Table table({{.title = "TENSOR", .shrink_to = 20},
               {.title = "DTYPE"},
               {.title = "SHAPE"},
               {.title = "SIZE", .align = Align::kRight},
               {.title = "FILE", .align = Align::kRight, .optional = true},
               {.title = "OFFSET", .align = Align::kRight}});
  const bool many_files = c.files_size() > 1;
  for (const v1::TensorInfo& tensor : reply.tensors()) {
    table.AddRow({Printable(tensor.name()), Printable(tensor.dtype()), ShapeText(tensor),
                  Bytes(tensor.size_bytes()), many_files ? absl::StrCat(tensor.file_index()) : "",
                  absl::StrCat(tensor.file_offset())});
  }
  return absl::StrCat(out, "\n", Render(table));
}

std::string TablePrinter::Verified(const VerifyReport& report) const {
  const std::string summary = Describe({
      {"Residency", Id(report.residency_id(), kShortIdLength)},
      {"Reference", Printable(report.reference())},
      {"Read", absl::StrCat(Plural(report.tensor_count(), "tensor", "tensors"), ", ",
                            Bytes(report.tensor_bytes()))},
      {"Digest", Printable(report.found_digest())},
      {"Expected", report.found_digest() == report.expected_digest()
                       ? ""
                       : Printable(report.expected_digest())},
      {"Result", report.mismatches().empty() && report.found_digest() == report.expected_digest()
                     ? Cell("as it was loaded", Style::kGood)
                     : Cell("DIFFERENT", Style::kBad)},
  });
  if (report.mismatches().empty()) return summary;
  Table table({{.title = "TENSOR", .shrink_to = 20}, {.title = "EXPECTED"}, {.title = "FOUND"}});
  for (const TensorMismatch& mismatch : report.mismatches()) {
    table.AddRow({Printable(mismatch.name()), Digest(mismatch.expected_digest()),
                  Digest(mismatch.found_digest())});
  }
  return absl::StrCat(summary, "\n", Render(table));
}

std::string TablePrinter::Digested(const DigestReport& report) const {
  return absl::StrCat(report.digest(), "  ", Printable(report.reference()), "\n");
}

std::string TablePrinter::Exported(const ExportReport& report) const {
  return absl::StrCat("wrote ", Printable(report.file()), ": ",
                      Plural(report.tensor_count(), "tensor", "tensors"), ", ",
                      Bytes(report.file_bytes()), "\n");
}

std::string TablePrinter::Doctor(const DoctorReport& report) const {
  size_t width = 0;
  for (const Finding& finding : report.findings()) {
    width = std::max(width, DisplayWidth(Printable(finding.check())));
  }
  // As wide as `WARNING` and `PROBLEM`.
  constexpr size_t kLevelWidth = 7;
  std::string out;
  for (const Finding& finding : report.findings()) {
    const std::string level = Finding::Level_Name(finding.level());
    const Style style = finding.level() == Finding::OK        ? Style::kGood
                        : finding.level() == Finding::WARNING ? Style::kBusy
                                                              : Style::kBad;
    const std::string check = Printable(finding.check());
    absl::StrAppend(&out, Styled(level, style, options_.colour),
                    std::string(kLevelWidth - level.size() + 2, ' '), check,
                    std::string(width - DisplayWidth(check) + 2, ' '), Printable(finding.found()),
                    "\n");
    if (finding.mend().empty()) continue;
    absl::StrAppend(&out, std::string(kLevelWidth + 2 + width + 2, ' '),
                    Styled("mend: ", Style::kBold, options_.colour), Printable(finding.mend()),
                    "\n");
  }
  return out;
}

std::string TablePrinter::Health(const grpc::health::v1::HealthCheckResponse& reply) const {
  const bool serving = reply.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  return Styled(grpc::health::v1::HealthCheckResponse::ServingStatus_Name(reply.status()),
                serving ? Style::kGood : Style::kBad, options_.colour) +
         "\n";
}

std::string TablePrinter::Version(const VersionReport& report) const {
  std::string out = absl::StrCat("modelctl  ", report.client_version(), "\n");
  if (report.has_server()) {
    absl::StrAppend(&out, "modeld    ", Printable(report.server().version()), "  (pid ",
                    report.server().pid(), ", up ", Age(report.server().start_time(), options_.now),
                    ")\n");
  }
  return out;
}

}  // namespace modeld::modelctl
