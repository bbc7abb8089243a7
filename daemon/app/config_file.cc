#include "app/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <span>

#include "app/nearest_name.h"
#include "app/settings.h"
#include "wire/error.h"
#include "wire/text.h"
#include "wire/unique_fd.h"

namespace modeld::app {
namespace {

constexpr size_t kMostBytes = 1 << 20;

std::string Place(const std::string& path, const toml::source_region& source) {
  return wire::StrCat(path, ":", source.begin.line, ":", source.begin.column);
}

absl::Status Wrong(const std::string& path, const toml::source_region& source,
                   std::string_view what) {
  return absl::InvalidArgumentError(wire::StrCat(Place(path, source), ": ", what));
}

std::optional<RawValue::Item> ItemOf(const toml::node& node, const std::string& path) {
  const std::string place = Place(path, node.source());
  if (const auto* text = node.as_string()) return RawValue::Item{text->get(), false, place};
  if (const auto* number = node.as_integer()) {
    return RawValue::Item{std::to_string(number->get()), true, place};
  }
  if (const auto* truth = node.as_boolean()) {
    return RawValue::Item{truth->get() ? "true" : "false", false, place, true};
  }
  return std::nullopt;
}

absl::StatusOr<RawValue> ValueOf(std::string_view name, const toml::node& node,
                                 const std::string& path) {
  const auto wrong = [&](const toml::node& where) {
    return Wrong(
        path, where.source(),
        wire::StrCat("`", name, "` must be text, a number, true or false, or a list of these"));
  };
  RawValue value{.items = {}, .is_list = node.is_array(), .origin = {}};
  value.origin = wire::StrCat(path, ":", node.source().begin.line);
  value.place = Place(path, node.source());
  if (const auto* list = node.as_array()) {
    for (const toml::node& element : *list) {
      auto item = ItemOf(element, path);
      if (!item) return wrong(element);
      value.items.push_back(*std::move(item));
    }
    return value;
  }
  auto item = ItemOf(node, path);
  if (!item) return wrong(node);
  value.items.push_back(*std::move(item));
  return value;
}

absl::StatusOr<toml::table> ParseToml(std::string_view text, const std::string& path) {
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return Wrong(path, error.source(), error.description());
  }
}

// `kind`: what the names are.
absl::Status CheckName(const toml::key& key, std::span<const std::string_view> names,
                       std::string_view kind, const std::string& path) {
  const std::string_view name = key.str();
  if (std::ranges::find(names, name) != names.end()) return absl::OkStatus();
  const std::string_view nearest = NearestName(name, names);
  return Wrong(path, key.source(),
               wire::StrCat("`", name, "` is no ", kind,
                            nearest.empty() ? std::string("; `man 5 modeld.toml` lists them")
                                            : wire::StrCat("; did you mean `", nearest, "`?")));
}

absl::StatusOr<RawTable> TableOf(const toml::table& table, const std::string& path) {
  RawTable raw{.values = {}, .place = Place(path, table.source())};
  for (const auto& [key, node] : table) {
    if (auto status = CheckName(key, PreloadKeys(), "key of a preload", path); !status.ok()) {
      return status;
    }
    auto value = ValueOf(wire::StrCat(kPreloadTable, ".", key.str()), node, path);
    if (!value.ok()) return value.status();
    raw.values.emplace(key.str(), *std::move(value));
  }
  return raw;
}

absl::StatusOr<std::vector<Preload>> PreloadsOf(const toml::node& node, const std::string& path) {
  std::vector<RawTable> tables;
  const auto* const list = node.as_array();
  if (list == nullptr) return Wrong(path, node.source(), "write [[preload]], with two brackets");
  for (const toml::node& element : *list) {
    const auto* const table = element.as_table();
    if (table == nullptr) {
      return Wrong(path, element.source(), "a preload is a table; write [[preload]]");
    }
    auto raw = TableOf(*table, path);
    if (!raw.ok()) return raw.status();
    tables.push_back(*std::move(raw));
  }
  return ParsePreloads(tables);
}

std::vector<std::string_view> TopLevelNames() {
  std::vector<std::string_view> names = {kPreloadTable};
  for (const Setting& setting : Settings()) names.push_back(setting.name);
  return names;
}

}  // namespace

absl::StatusOr<ConfigFile> ParseConfigText(std::string_view text, const std::string& path) {
  auto table = ParseToml(text, path);
  if (!table.ok()) return table.status();
  const std::vector<std::string_view> names = TopLevelNames();
  ConfigFile file;
  for (const auto& [key, node] : *table) {
    const std::string_view name = key.str();
    if (auto status = CheckName(key, names, "setting", path); !status.ok()) return status;
    if (name == kPreloadTable) {
      auto preloads = PreloadsOf(node, path);
      if (!preloads.ok()) return preloads.status();
      file.preloads = *std::move(preloads);
      continue;
    }
    auto value = ValueOf(name, node, path);
    if (!value.ok()) return value.status();
    file.settings.emplace(name, *std::move(value));
  }
  return file;
}

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  const wire::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) {
    const std::string why = wire::StrCat("cannot read ", path, ": ", wire::ErrnoText(errno));
    return errno == ENOENT ? absl::NotFoundError(why) : absl::UnavailableError(why);
  }
  std::string text(kMostBytes + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t count = ::read(fd.get(), text.data() + length, text.size() - length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::UnavailableError(
          wire::StrCat("cannot read ", path, ": ", wire::ErrnoText(errno)));
    }
    if (count == 0) break;
    length += static_cast<size_t>(count);
  }
  if (length > kMostBytes) {
    return absl::InvalidArgumentError(wire::StrCat(path, " is larger than 1 MiB"));
  }
  text.resize(length);
  return ParseConfigText(text, path);
}

}  // namespace modeld::app
