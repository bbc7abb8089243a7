// Golden texts of how long something stays, why it went, and which version has a name.

#include <gtest/gtest.h>

#include "modelctl/printer.h"
#include "printed_messages.h"

namespace modeld::modelctl {
namespace {

TEST(TablePrinter, ShowsAliasesAndExpiryOnlyWhereThereAreSome) {
  v1::ListResidenciesResponse reply = MakeResidencies();
  reply.mutable_residencies()->RemoveLast();
  v1::Residency& version = *reply.mutable_residencies(0);
  version.add_aliases("prod");
  version.add_aliases("test");
  *version.mutable_expire_time() = Ago(-299);
  reply.mutable_residencies(1)->set_state(v1::Residency::READY);
  reply.mutable_residencies(1)->set_superseded_by("prod");
  EXPECT_EQ(Make(Format::kTable)->Residencies(reply), Text(R"(
ID        REFERENCE                 ALIAS      INSTANCE  DEVICE  STATE                  SIZE  LEASES  PINNED  DIGEST          AGE  EXPIRES
3f2a91c0  minilm/model.safetensors  prod,test            host    READY              88.0 MiB       4  yes     4f1c0a9be2d3  5m03s  in 4m59s
77aa91c0  llama/été.safetensors                canary    host    READY, superseded   4.0 GiB       0  no      -                3s
)"));
}

TEST(TablePrinter, DescribesHowLongAResidencyStays) {
  v1::GetResidencyResponse reply;
  v1::Residency& r = *reply.mutable_residency();
  r = MakeResidencies().residencies(0);
  r.add_aliases("prod");
  r.mutable_keep_alive()->set_seconds(300);
  *r.mutable_expire_time() = Ago(-299);
  const auto text = [&] { return Make(Format::kTable)->Residency(reply); };
  EXPECT_NE(text().find("\nAliases        prod\n"), std::string::npos) << text();
  EXPECT_NE(text().find("\nKeep-alive     5m\n"), std::string::npos) << text();
  EXPECT_NE(text().find("\nExpires        2023-11-14T22:18:19Z (in 4m59s)\n"), std::string::npos)
      << text();
  r.mutable_keep_alive()->set_seconds(-1);
  EXPECT_NE(text().find("\nKeep-alive     forever\n"), std::string::npos) << text();
  r.set_superseded_by("prod");
  EXPECT_NE(text().find("\nSuperseded by  another version as prod; it goes with its last holder\n"),
            std::string::npos)
      << text();
}

TEST(TablePrinter, SaysWhySomethingWent) {
  v1::WatchEventsResponse reply = MakeEvent();
  v1::Event& event = *reply.mutable_event();
  event.set_type(v1::Event::RESIDENCY_DRAINING);
  event.clear_pid();
  event.clear_scope();
  event.set_cause("room");
  event.set_message("made room for big");
  EXPECT_EQ(
      Make(Format::kTable)->Event(reply),
      "2023-11-14T22:13:20Z  RESIDENCY_DRAINING     3f2a91c0  minilm/model.safetensors  room  "
      "made room for big\n");
}

v1::ExplainResidencyResponse MakeExplanation(int candidates) {
  v1::ExplainResidencyResponse reply;
  *reply.mutable_residency() = MakeResidencies().residencies(0);
  reply.add_sentences("It was loaded 5 min ago.");
  reply.add_sentences("It would be the \033[2Jfirst to go.");
  *reply.add_events() = MakeEvent().event();
  v1::Event& draining = *reply.mutable_events(0);
  draining.set_type(v1::Event::RESIDENCY_DRAINING);
  draining.clear_pid();
  draining.clear_scope();
  draining.set_bytes(2 << 20);
  draining.set_cause("expired");
  draining.set_message("its keep-alive is over");
  for (int i = 0; i < candidates; ++i) {
    v1::EvictionCandidate& one = *reply.add_eviction_order();
    one.set_residency_id("aa" + std::to_string(10 + i) + "00000000");
    one.set_reference("m" + std::to_string(i));
    *one.mutable_idle_since() = Ago(600 - i);
    one.set_freed_bytes(2 << 20);
  }
  return reply;
}

TEST(TablePrinter, ExplainsWithTheHistoryAndWhoWouldGoNext) {
  v1::ExplainResidencyResponse reply = MakeExplanation(2);
  *reply.mutable_eviction_order(1)->mutable_not_before() = Ago(-9);
  EXPECT_EQ(Make(Format::kTable)->Explained(reply), Text(R"(
It was loaded 5 min ago.
It would be the \x1b[2Jfirst to go.

TIME                  EVENT               CAUSE    WHAT
2023-11-14T22:13:20Z  RESIDENCY_DRAINING  expired  minilm/model.safetensors  2.0 MiB  its keep-alive is over

NEXT_TO_GO  REFERENCE    IDLE    FREES  NOT_BEFORE
aa100000    m0         10m00s  2.0 MiB
aa110000    m1          9m59s  2.0 MiB  in 9s
)"));
  EXPECT_EQ(Make(Format::kName)->Explained(reply), "3f2a91c07b5e4d21\n");
  reply.clear_residency();
  EXPECT_EQ(Make(Format::kName)->Explained(reply), "3f2a91c07b5e4d21\n")
      << "only the history is left";
}

TEST(TablePrinter, ShowsTenOfThoseThatWouldGoAndAllInFull) {
  const std::string ten = Make(Format::kTable)->Explained(MakeExplanation(12));
  EXPECT_NE(ten.find("m9"), std::string::npos);
  EXPECT_EQ(ten.find("m10"), std::string::npos);
  EXPECT_TRUE(ten.ends_with("and 2 more: -o wide\n")) << ten;
  const std::string all = Make(Format::kWide)->Explained(MakeExplanation(12));
  EXPECT_NE(all.find("aa2100000000  m11        2023-11-14T22:03:31Z  2097152\n"), std::string::npos)
      << all;
  EXPECT_EQ(all.find("more"), std::string::npos) << all;
}

TEST(TablePrinter, SaysWhatBecomesOfTheVersionBefore) {
  v1::SetAliasResult result;
  result.mutable_alias()->set_name("prod");
  *result.mutable_residency() = MakeResidencies().residencies(0);
  const auto text = [&] { return Make(Format::kTable)->AliasSet(result); };
  EXPECT_EQ(text(), "prod names 3f2a91c0 minilm/model.safetensors on host\n");
  v1::Residency& old = *result.add_superseded();
  old = MakeResidencies().residencies(1);
  EXPECT_NE(text().find("it goes now, because nobody holds it\n0 holders were told"),
            std::string::npos)
      << text();
  old.set_lease_count(1);
  result.set_told_holders(1);
  EXPECT_NE(text().find("it goes when 1 holder has let go\n1 holder was told"), std::string::npos)
      << text();
  old.set_pinned(true);
  EXPECT_NE(text().find("it stays, because it is pinned\n"), std::string::npos) << text();
}

TEST(TablePrinter, ListsPins) {
  v1::ListPinsResponse reply;
  v1::Pin& kept = *reply.add_pins();
  kept.set_reference("models/v2.safetensors");
  kept.set_device("host");
  kept.set_residency_id("3f2a91c04b5d6e7f");
  v1::Pin& absent = *reply.add_pins();
  absent.set_reference("models/v1.safetensors");
  absent.set_device("GPU-1");
  absent.set_instance("canary");
  EXPECT_EQ(Make(Format::kTable)->Pins(reply), Text(R"(
REFERENCE              DEVICE  INSTANCE  RESIDENCY
models/v2.safetensors  host              3f2a91c0
models/v1.safetensors  GPU-1   canary    -
)"));
}

TEST(TablePrinter, ListsAliases) {
  v1::ListAliasesResponse reply;
  v1::Alias& alias = *reply.add_aliases();
  alias.set_name("prod");
  alias.mutable_spec()->set_reference("models/v2.safetensors");
  alias.set_digest(kDigest);
  *alias.mutable_set_time() = Ago(61);
  EXPECT_EQ(Make(Format::kTable)->Aliases(reply), Text(R"(
ALIAS  REFERENCE              DEVICE  DIGEST          AGE
prod   models/v2.safetensors  host    4f1c0a9be2d3  1m01s
)"));
  v1::LoadConfig& config = *alias.mutable_spec()->mutable_load_config();
  config.set_cast("BF16");
  config.add_include("enc.*");
  config.set_key_prefix("ema.");
  alias.mutable_keep_alive()->set_seconds(600);
  EXPECT_EQ(Make(Format::kWide)->Aliases(reply), Text(R"(
ALIAS  REFERENCE              CONFIG                                 DEVICE  KEEP_ALIVE  DIGEST                                                                   SET
prod   models/v2.safetensors  cast BF16, include enc.*, prefix ema.  host    10m         sha256:4f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9be2d3774f1c0a9b  2023-11-14T22:12:19Z
)"));
}

}  // namespace
}  // namespace modeld::modelctl
