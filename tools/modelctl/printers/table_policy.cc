// TablePrinter: what operators wished, and why things are as they are.

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "modelctl/printers/table.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

using Align = Column::Align;

// Of those who would be evicted next; more are there with -o wide.
constexpr int kShownCandidates = 10;

// `cast F16, prefix ema.`
std::string ConfigText(const v1::LoadConfig& config) {
  std::vector<std::string> words;
  if (!config.cast().empty()) words.push_back("cast " + config.cast());
  for (const std::string& glob : config.include()) words.push_back("include " + glob);
  for (const std::string& glob : config.exclude()) words.push_back("exclude " + glob);
  if (!config.key_prefix().empty()) words.push_back("prefix " + config.key_prefix());
  return Printable(absl::StrJoin(words, ", "));
}

std::string WhatBecomesOf(const v1::Residency& superseded) {
  if (superseded.pinned()) return "it stays, because it is pinned";
  if (superseded.lease_count() == 0) return "it goes now, because nobody holds it";
  return absl::StrCat("it goes when ",
                      Plural(superseded.lease_count(), "holder has", "holders have"), " let go");
}

}  // namespace

std::string TablePrinter::Loaded(const v1::Residency& residency) const {
  v1::ListResidenciesResponse one;
  *one.add_residencies() = residency;
  return Residencies(one);
}

std::string TablePrinter::Evicted(const v1::EvictResponse& reply) const {
  return absl::StrCat("evicted ", Id(reply.residency().id(), kShortIdLength), " ",
                      Printable(reply.residency().reference()), ": ", Bytes(reply.freed_bytes()),
                      " freed\n");
}

std::string TablePrinter::Pinned(const v1::PinResponse& reply) const {
  return absl::StrCat("pinned ", Id(reply.residency().id(), kShortIdLength), " ",
                      Printable(reply.residency().reference()), "\n");
}

std::string TablePrinter::Unpinned(const v1::UnpinResponse& reply) const {
  const v1::Residency& residency = reply.residency();
  if (residency.id().empty()) {
    return absl::StrCat("unpinned ", Printable(residency.reference()), ", which is not resident\n");
  }
  return absl::StrCat("unpinned ", Id(residency.id(), kShortIdLength), " ",
                      Printable(residency.reference()), "\n");
}

std::string TablePrinter::WouldEvict(const v1::EvictResponse& reply) const {
  const std::string out = absl::StrCat(
      "would evict ", Id(reply.residency().id(), kShortIdLength), " ",
      Printable(reply.residency().reference()), ": ", Bytes(reply.freed_bytes()),
      " would come back",
      reply.holders().empty()
          ? ""
          : absl::StrCat(" when ", Plural(reply.holders_size(), "holder has", "holders have"),
                         " let go"),
      "\n");
  if (reply.holders().empty()) return out;
  v1::ListLeasesResponse holders;
  *holders.mutable_leases() = reply.holders();
  return absl::StrCat(out, "\n", Leases(holders));
}

std::string TablePrinter::Pins(const v1::ListPinsResponse& reply) const {
  Table table({{.title = "REFERENCE", .shrink_to = 16},
               {.title = "DEVICE", .shrink_to = 8},
               {.title = "INSTANCE", .optional = true},
               {.title = "RESIDENCY"}});
  for (const v1::Pin& pin : reply.pins()) {
    table.AddRow({Printable(pin.reference()), Printable(pin.device()), Printable(pin.instance()),
                  Id(pin.residency_id(), kShortIdLength)});
  }
  return Render(table);
}

std::string TablePrinter::Aliases(const v1::ListAliasesResponse& reply) const {
  Table table(
      {{.title = "ALIAS"},
       {.title = "REFERENCE", .shrink_to = 16},
       {.title = "CONFIG", .shrink_to = 10, .optional = true},
       {.title = "DEVICE", .shrink_to = 8},
       {.title = "KEEP_ALIVE", .optional = true},
       {.title = "DIGEST"},
       {.title = in_full() ? "SET" : "AGE", .align = in_full() ? Align::kLeft : Align::kRight}});
  for (const v1::Alias& alias : reply.aliases()) {
    table.AddRow({Printable(alias.name()), Printable(alias.spec().reference()),
                  ConfigText(alias.spec().load_config()),
                  alias.spec().device().empty() ? "host" : Printable(alias.spec().device()),
                  KeepAliveCell(alias.has_keep_alive(), alias.keep_alive()), Digest(alias.digest()),
                  in_full() ? Rfc3339(alias.set_time()) : Age(alias.set_time(), options().now)});
  }
  return Render(table);
}

std::string TablePrinter::AliasSet(const v1::SetAliasResult& result) const {
  const std::string name = Printable(result.alias().name());
  const auto text = [&](const v1::Residency& residency) {
    return absl::StrCat(Id(residency.id(), kShortIdLength), " ", Printable(residency.reference()),
                        " on ", Printable(residency.device()));
  };
  std::string out = absl::StrCat(name, " names ", text(result.residency()), "\n");
  for (const v1::Residency& old : result.superseded()) {
    absl::StrAppend(&out, "it replaces ", text(old), ": ", WhatBecomesOf(old), "\n");
  }
  if (!result.superseded().empty() || result.told_holders() > 0) {
    absl::StrAppend(&out, Plural(result.told_holders(), "holder was", "holders were"),
                    " told of the new version\n");
  }
  return out;
}

std::string TablePrinter::AliasRemoved(const v1::RemoveAliasResponse& reply) const {
  return absl::StrCat("removed ", Printable(reply.alias().name()), ", which named ",
                      Printable(reply.alias().spec().reference()), "\n");
}

std::string TablePrinter::Explained(const v1::ExplainResidencyResponse& reply) const {
  std::string out;
  for (const std::string& sentence : reply.sentences()) {
    absl::StrAppend(&out, Printable(sentence), "\n");
  }
  if (!reply.events().empty()) {
    Table history({{.title = "TIME"},
                   {.title = "EVENT"},
                   {.title = "CAUSE", .optional = true},
                   {.title = "WHAT", .shrink_to = 16}});
    for (v1::Event event : reply.events()) {
      if (!in_full()) event.mutable_time()->set_nanos(0);
      const std::string cause = event.cause();
      event.clear_cause();
      history.AddRow({Rfc3339(event.time()), v1::Event::Type_Name(event.type()), Printable(cause),
                      EventWords(event, Bytes(event.bytes()))});
    }
    absl::StrAppend(&out, "\n", Render(history));
  }
  if (reply.eviction_order().empty()) return out;

  std::set<std::string> ids;
  for (const v1::EvictionCandidate& one : reply.eviction_order()) ids.insert(one.residency_id());
  const size_t id_length = IdLength(ids);
  const int all = reply.eviction_order_size();
  const int shown = in_full() ? all : std::min(all, kShownCandidates);
  Table order({{.title = "NEXT_TO_GO"},
               {.title = "REFERENCE", .shrink_to = 16},
               {.title = in_full() ? "IDLE_SINCE" : "IDLE", .align = Align::kRight},
               {.title = "FREES", .align = Align::kRight},
               {.title = "NOT_BEFORE", .optional = true}});
  for (int i = 0; i < shown; ++i) {
    const v1::EvictionCandidate& one = reply.eviction_order(i);
    const std::string not_before = !one.has_not_before() ? ""
                                   : in_full()           ? Rfc3339(one.not_before())
                                                         : Until(one.not_before(), options().now);
    order.AddRow({Id(one.residency_id(), id_length), Printable(one.reference()),
                  in_full() ? Rfc3339(one.idle_since()) : Age(one.idle_since(), options().now),
                  Bytes(one.freed_bytes()), not_before});
  }
  absl::StrAppend(&out, "\n", Render(order));
  if (shown < all) absl::StrAppend(&out, "and ", all - shown, " more: -o wide\n");
  return out;
}

}  // namespace modeld::modelctl
