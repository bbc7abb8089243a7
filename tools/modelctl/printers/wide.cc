#include "modelctl/printers/wide.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

using Align = Column::Align;

Column Left(const char* title) { return {.title = title}; }
Column Right(const char* title) { return {.title = title, .align = Align::kRight}; }

std::string OrDash(const std::string& text) { return text.empty() ? "-" : Printable(text); }

}  // namespace

std::string WidePrinter::Bytes(uint64_t bytes) const { return absl::StrCat(bytes); }
std::string WidePrinter::Id(const std::string& id, size_t) const { return OrDash(id); }
std::string WidePrinter::Digest(const std::string& digest) const { return OrDash(digest); }

std::string WidePrinter::Residencies(const v1::ListResidenciesResponse& reply) const {
  Table table({Left("ID"),
               Left("REFERENCE"),
               Left("DEVICE"),
               Left("STATE"),
               Right("SIZE"),
               Right("OWN"),
               Right("SHARED"),
               Right("STRANDED"),
               Right("TENSOR_BYTES"),
               Right("TENSORS"),
               Right("LEASES"),
               Right("WAITING"),
               Left("PINNED"),
               Left("INSTANCE"),
               Right("GENERATION"),
               Left("FORMAT"),
               Right("PAGES"),
               Left("DIGEST"),
               Left("CREATED"),
               Left("READY"),
               Left("RELEASED"),
               Left("ALIASES"),
               Left("KEEP_ALIVE"),
               Left("EXPIRES"),
               Left("SUPERSEDED_BY"),
               Left("REASON")});
  for (const v1::Residency& r : reply.residencies()) {
    std::vector<std::string> references;
    for (const std::string& reference : r.references()) references.push_back(Printable(reference));
    const std::string instance = InstanceText(r);
    table.AddRow(
        {Printable(r.id()),
         references.empty() ? Printable(r.reference()) : absl::StrJoin(references, ","),
         Printable(r.device()),
         StateCell(r),
         absl::StrCat(r.size_bytes()),
         absl::StrCat(r.own_bytes()),
         absl::StrCat(r.shared_bytes()),
         absl::StrCat(r.stranded_bytes()),
         absl::StrCat(r.tensor_bytes()),
         absl::StrCat(r.tensor_count()),
         absl::StrCat(r.lease_count()),
         absl::StrCat(r.waiter_count()),
         r.pinned() ? "yes" : "no",
         instance.empty() ? "-" : instance,
         absl::StrCat(r.generation()),
         OrDash(r.format()),
         absl::StrCat(r.page_size_bytes()),
         OrDash(r.digest()),
         Rfc3339(r.created_time()),
         Rfc3339(r.ready_time()),
         Rfc3339(r.released_time()),
         OrDash(absl::StrJoin(r.aliases(), ",")),
         OrDash(KeepAliveCell(r.has_keep_alive(), r.keep_alive())),
         Rfc3339(r.expire_time()),
         OrDash(r.superseded_by()),
         Cell(OrDash(r.error_reason()), r.error_reason().empty() ? Style::kPlain : Style::kBad)});
  }
  return Render(table);
}

std::string WidePrinter::Leases(const v1::ListLeasesResponse& reply) const {
  Table table({Left("LEASE"), Left("RESIDENCY"), Left("REFERENCE"), Right("PID"), Right("UID"),
               Right("GID"), Left("PROGRAM"), Left("SCOPE"), Left("GRANTED")});
  for (const v1::Lease& lease : reply.leases()) {
    table.AddRow({Printable(lease.id()), Printable(lease.residency_id()),
                  Printable(lease.reference()), absl::StrCat(lease.pid()),
                  absl::StrCat(lease.uid()), absl::StrCat(lease.gid()), OrDash(lease.program()),
                  OrDash(lease.scope()), Rfc3339(lease.granted_time())});
  }
  return Render(table);
}

std::string WidePrinter::Devices(const v1::ListDevicesResponse& reply) const {
  Table table({Left("DEVICE"), Left("KIND"), Right("CAPACITY"), Right("RESERVED"),
               Right("RESIDENT"), Right("EVICTABLE"), Right("FREE"), Left("EXPORT"), Right("PAGES"),
               Left("AVAILABLE"), Right("AGENT_PID"), Right("AGENT_STARTS"), Left("INDEX"),
               Left("PCI_BUS_ID"), Right("MEMORY"), Left("NAME")});
  for (const v1::Device& d : reply.devices()) {
    const uint64_t taken = d.reserved_bytes() + d.resident_bytes();
    const uint64_t free = d.capacity_bytes() - std::min(d.capacity_bytes(), taken);
    table.AddRow({Printable(d.id()), v1::Device::Kind_Name(d.kind()),
                  absl::StrCat(d.capacity_bytes()), absl::StrCat(d.reserved_bytes()),
                  absl::StrCat(d.resident_bytes()), absl::StrCat(d.evictable_bytes()),
                  absl::StrCat(free), OrDash(d.export_()), absl::StrCat(d.page_size_bytes()),
                  d.available() ? Cell("yes", Style::kGood) : Cell("no", Style::kBad),
                  absl::StrCat(d.agent_pid()), absl::StrCat(d.agent_starts()),
                  OrDash(DeviceIndex(d)), OrDash(d.pci_bus_id()),
                  d.memory_bytes() == 0 ? "-" : absl::StrCat(d.memory_bytes()), OrDash(d.name())});
  }
  return absl::StrCat(Render(table), DeviceNotes(reply));
}

std::string WidePrinter::EventTitle() const {
  return Styled(absl::StrFormat("%8s  %-30s  %-21s  %-16s  %-8s  %s", "SEQUENCE", "TIME", "EVENT",
                                "ID", "LEASE", "WHAT"),
                Style::kBold, options().colour) +
         "\n";
}

std::string WidePrinter::Event(const v1::WatchEventsResponse& reply) const {
  const v1::Event& event = reply.event();
  const std::string bytes = absl::StrCat(event.bytes(), " bytes");
  std::string line =
      absl::StrFormat("%8d  %-30s  %-21s  %-16s  %-8s  %s", event.sequence(), Rfc3339(event.time()),
                      v1::Event::Type_Name(event.type()), OrDash(event.residency_id()),
                      OrDash(event.lease_id()), EventWords(event, bytes));
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string WidePrinter::Version(const VersionReport& report) const {
  if (!report.has_server()) return TablePrinter::Version(report);
  const v1::GetServerInfoResponse& s = report.server();
  std::vector<std::string> roots;
  for (const std::string& root : s.roots()) roots.push_back(Printable(root));
  std::vector<std::pair<std::string, Cell>> lines = {
      {"Protocol", absl::StrCat(s.protocol_version())},
      {"Started", Rfc3339(s.start_time())},
      {"Runtime directory", Printable(s.runtime_dir())},
      {"Roots", roots.empty() ? "none" : absl::StrJoin(roots, ", ")},
      {"Residencies", absl::StrCat(s.residency_count())},
      {"Leases", absl::StrCat(s.lease_count())},
      {"Sessions", absl::StrCat(s.session_count())},
      {"Descriptors", absl::StrCat(s.open_fds(), " of ", s.fd_limit())}};
  for (const std::string& note : s.degraded()) {
    lines.emplace_back("Degraded", Cell(Printable(note), Style::kBusy));
  }
  return absl::StrCat(TablePrinter::Version(report), "\n", Describe(lines));
}

}  // namespace modeld::modelctl
