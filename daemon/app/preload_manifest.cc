#include "app/preload_manifest.h"

#include <algorithm>
#include <array>
#include <map>
#include <ranges>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "app/quantity.h"
#include "app/toml_text.h"
#include "residency/spec_check.h"
#include "wire/error.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

constexpr std::string_view kCuda = "cuda:";

struct Key {
  std::string_view name;
  std::string_view example;
  std::string_view help;
};

constexpr Key kKeys[] = {
    {"reference", "\"sd/backbone.safetensors\"",
     "Which checkpoint, as workers name it. The one key that every entry needs."},
    {"device", "\"host\"",
     "Where: \"host\", \"cuda:N\" as `modelctl devices` counts, or a GPU's UUID. Default: host."},
    {"pin", "true", "Is it kept whether it is used or not? Default: false."},
    {"alias", "\"backbone\"",
     "A name for this version, unless it is another version's already: then it stays there."},
    {"instance", "\"\"", "A separate copy under this name, on purpose."},
    {"cast", "\"BF16\"",
     "What F64, F32, F16 and BF16 tensors become: F32, F16 or BF16. Default: they stay."},
    {"include", "[\"*\"]", "Only tensors whose names fit one of these globs are loaded."},
    {"exclude", "[\"*.optimizer\"]", "Tensors whose names fit one of these are left out."},
    {"key_prefix", "\"model.\"", "Only tensors whose names begin so; it is taken off."},
    {"expected_digest", "\"\"", "The weights digest that it must have (\"sha256:...\")."},
    {"keep_host", "false", "For a GPU: is it kept on the host too, for the next load?"},
    {"keep_alive", "\"forever\"",
     "How long it stays after its last release: \"5min\", \"0s\", \"forever\"."},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kKeys)> names;
  std::ranges::transform(kKeys, names.begin(), &Key::name);
  return names;
}();

std::string FieldOf(std::string_view key) { return wire::StrCat(kPreloadTable, ".", key); }

// What an entry says, key by key. The first thing that is wrong stays in `status`.
class Reader {
 public:
  explicit Reader(const RawTable& table) : table_(table) {}

  const absl::Status& status() const { return status_; }

  bool Has(std::string_view key) const { return table_.values.contains(std::string(key)); }

  void Refuse(std::string_view key, std::string_view why) {
    const auto value = table_.values.find(std::string(key));
    const std::string& place = value == table_.values.end() ? table_.place : value->second.place;
    status_.Update(absl::InvalidArgumentError(wire::StrCat(place, ": ", why)));
  }

  // What a check of ours says, which names the field.
  void Take(const absl::Status& checked) {
    if (checked.ok()) return;
    const wire::ErrorInfo info = wire::GetErrorInfo(checked);
    const auto field = info.metadata.find("field");
    const std::string key =
        field == info.metadata.end() ? std::string() : field->second.substr(FieldOf("").size());
    Refuse(key,
           wire::StrCat(wire::ToStd(checked.message()), info.hint.empty() ? "" : "; ", info.hint));
  }

  std::string Text(std::string_view key) {
    if (!Has(key)) return {};
    const RawValue& value = ValueOf(key);
    if (value.is_list || !IsText(value.items.front())) {
      Refuse(key, wire::StrCat(FieldOf(key), " must be text, in quotes"));
      return {};
    }
    return value.items.front().text;
  }

  bool Truth(std::string_view key) {
    if (!Has(key)) return false;
    const RawValue& value = ValueOf(key);
    if (value.is_list || !value.items.front().is_truth) {
      Refuse(key, wire::StrCat(FieldOf(key), " must be true or false"));
      return false;
    }
    return value.items.front().text == "true";
  }

  std::vector<std::string> Texts(std::string_view key) {
    if (!Has(key)) return {};
    const RawValue& value = ValueOf(key);
    if (!value.is_list || !std::ranges::all_of(value.items, IsText)) {
      Refuse(key, wire::StrCat(FieldOf(key), " must be a list of text, such as [\"*.weight\"]"));
      return {};
    }
    std::vector<std::string> texts;
    for (const RawValue::Item& item : value.items) texts.push_back(item.text);
    return texts;
  }

 private:
  static bool IsText(const RawValue::Item& item) { return !item.is_number && !item.is_truth; }

  const RawValue& ValueOf(std::string_view key) const { return table_.values.at(std::string(key)); }

  const RawTable& table_;
  absl::Status status_;
};

bool IsDevice(const std::string& name) {
  uint32_t ordinal = 0;
  return name == residency::kHostDevice || absl::StartsWithIgnoreCase(name, "gpu-") ||
         (name.starts_with(kCuda) && absl::SimpleAtoi(name.substr(kCuda.size()), &ordinal));
}

std::optional<base::Duration> ReadKeepAlive(Reader& reader) {
  if (!reader.Has("keep_alive")) return std::nullopt;
  const std::string text = reader.Text("keep_alive");
  if (!reader.status().ok()) return std::nullopt;
  const auto duration = ParseKeepAlive(text);
  if (duration.ok()) return *duration;
  reader.Refuse("keep_alive", wire::StrCat(FieldOf("keep_alive"), ": ",
                                           wire::ToStd(duration.status().message())));
  return std::nullopt;
}

absl::StatusOr<Preload> ParsePreload(const RawTable& table) {
  Reader reader(table);
  Preload preload;
  residency::ModelSpec& spec = preload.spec;
  spec.reference = reader.Text("reference");
  if (reader.Has("device")) spec.device = reader.Text("device");
  spec.instance = reader.Text("instance");
  spec.keep_host = reader.Truth("keep_host");
  spec.config.include = reader.Texts("include");
  spec.config.exclude = reader.Texts("exclude");
  spec.config.key_prefix = reader.Text("key_prefix");
  spec.expected_digest = reader.Text("expected_digest");
  preload.pin = reader.Truth("pin");
  preload.alias = reader.Text("alias");
  preload.keep_alive = ReadKeepAlive(reader);
  const auto cast = residency::ToCast(reader.Text("cast"), FieldOf("cast"));
  if (!reader.status().ok()) return reader.status();

  if (cast.ok()) spec.config.cast = *cast;
  reader.Take(cast.status());
  reader.Take(residency::CheckSpec(spec, FieldOf(""), FieldOf("")));
  if (!IsDevice(spec.device)) {
    reader.Refuse("device", wire::StrCat(FieldOf("device"), ": ", Quoted(spec.device),
                                         " is neither \"host\" nor \"cuda:N\" nor a GPU's UUID; "
                                         "modelctl devices shows which there are"));
  }
  if (reader.Has("alias")) reader.Take(residency::CheckAliasName(preload.alias, FieldOf("alias")));
  if (!preload.alias.empty() && !spec.instance.empty()) {
    reader.Refuse("alias", wire::StrCat(FieldOf("alias"),
                                        " names a version, and an instance a copy on purpose; "
                                        "leave one of the two out"));
  }
  if (!reader.status().ok()) return reader.status();
  return preload;
}

}  // namespace

bool operator==(const Preload& a, const Preload& b) { return PreloadText(a) == PreloadText(b); }

std::span<const std::string_view> PreloadKeys() { return kNames; }

absl::StatusOr<std::vector<Preload>> ParsePreloads(const std::vector<RawTable>& tables) {
  std::vector<Preload> preloads;
  std::map<std::string, std::string> aliases;  // and whose they are
  for (const RawTable& table : tables) {
    auto preload = ParsePreload(table);
    if (!preload.ok()) return preload.status();
    if (!preload->alias.empty()) {
      const auto [first, added] = aliases.emplace(preload->alias, preload->spec.reference);
      if (!added) {
        return absl::InvalidArgumentError(
            wire::StrCat(table.values.at("alias").place, ": ", FieldOf("alias"), ": ",
                         Quoted(preload->alias), " is the name of ", first->second, " already"));
      }
    }
    preloads.push_back(*std::move(preload));
  }
  return preloads;
}

std::string PreloadText(const Preload& preload) {
  const residency::ModelSpec& spec = preload.spec;
  std::string text = wire::StrCat("[[", kPreloadTable, "]]\n");
  const auto add = [&text](std::string_view key, bool is_set, const std::string& value) {
    if (is_set) text += wire::StrCat(key, " = ", value, "\n");
  };
  const auto add_text = [&add](std::string_view key, const std::string& value) {
    add(key, !value.empty(), Quoted(value));
  };
  add_text("reference", spec.reference);
  add_text("device", spec.device);
  add("pin", preload.pin, "true");
  add_text("alias", preload.alias);
  add_text("instance", spec.instance);
  if (spec.config.cast) add_text("cast", std::string(wire::DTypeName(*spec.config.cast)));
  add("include", !spec.config.include.empty(), QuotedList(spec.config.include));
  add("exclude", !spec.config.exclude.empty(), QuotedList(spec.config.exclude));
  add_text("key_prefix", spec.config.key_prefix);
  add_text("expected_digest", spec.expected_digest);
  add("keep_host", spec.keep_host, "true");
  if (preload.keep_alive) add_text("keep_alive", KeepAliveText(*preload.keep_alive));
  return text;
}

std::string PreloadHelp() {
  std::string text =
      "# What shall be resident from the start: a table each, after all settings. They are loaded "
      "one after\n"
      "# another, in this order, while modeld serves already; one that fails is logged, and the "
      "next "
      "is loaded.\n";
  text += wire::StrCat("#[[", kPreloadTable, "]]\n");
  for (const Key& key : kKeys) {
    text += wire::StrCat("# ", key.help, "\n#", key.name, " = ", key.example, "\n");
  }
  return text;
}

absl::StatusOr<std::string> DeviceOf(const std::string& name, std::span<const std::string> gpus) {
  if (name == residency::kHostDevice) return name;
  uint32_t ordinal = 0;
  if (name.starts_with(kCuda) && absl::SimpleAtoi(name.substr(kCuda.size()), &ordinal) &&
      ordinal < gpus.size()) {
    return gpus[ordinal];
  }
  const auto found = std::ranges::find_if(
      gpus, [&name](const std::string& uuid) { return absl::EqualsIgnoreCase(uuid, name); });
  if (found != gpus.end()) return *found;
  std::string there;
  for (size_t i = 0; i < gpus.size(); ++i) {
    there += wire::StrCat(i == 0 ? ", but: " : ", ", kCuda, i, " (", gpus[i], ")");
  }
  return wire::MakeError(
      wire::Reason::kDeviceUnavailable,
      wire::StrCat("modeld has no ", name, gpus.empty() ? " and no other GPU" : there),
      {{"device", name}}, "see which there are: modelctl devices");
}

}  // namespace modeld::app
