#include "app/settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "app/toml_text.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

constexpr Setting kSettings[] = {
    {"runtime_dir", "--runtime-dir", SettingKind::kDirectory, &Config::runtime_dir,
     "\"/run/modeld\"",
     "Where the sockets are: modeld.sock, attach.sock, admin.sock. Made with mode 0750 if it is "
     "not\n"
     "there. Default: /run/modeld as root, else $XDG_RUNTIME_DIR/modeld."},
    {"state_dir", "--state-dir", SettingKind::kDirectory, &Config::state_dir, "\"\"",
     "Where modeld keeps what shall outlive a reboot. Empty: nothing is kept."},
    {"roots", "--root", SettingKind::kDirectories, &Config::roots, "[]",
     "Directories under which checkpoints may lie; nothing else is ever opened. A relative "
     "reference\n"
     "is looked up in each, in this order. Whoever may open modeld.sock may read what lies here.\n"
     "Default: none as root, else ~/.cache/huggingface/hub if it exists."},
    {"host_capacity", "--host-capacity", SettingKind::kCapacity, &Config::host_capacity, "\"75%\"",
     "How much host memory residencies may take: a size (\"12GiB\") or a part of the memory that "
     "the\n"
     "machine, or the cgroup that modeld runs in, has."},
    {"gpus", "", SettingKind::kGpus, &Config::gpus, "\"auto\"",
     "Which GPUs residencies may be on: \"auto\", all that the driver shows, or \"none\". "
     "CUDA_VISIBLE_DEVICES\n"
     "narrows it down."},
    {"gpu_capacity", "", SettingKind::kPerGpu, &Config::gpu_capacity, "[\"80%\"]",
     "How much of a GPU's memory residencies may take: a size or a part of all of it, for every "
     "GPU,\n"
     "and others for some (\"GPU-<uuid>=40GiB\")."},
    {"gpu_export", "", SettingKind::kPerGpu, &Config::gpu_export, "[\"auto\"]",
     "How workers get at a GPU's memory: \"vmm\" (read-only, outlives the agent), \"ipc\" "
     "(legacy CUDA\n"
     "IPC), or \"auto\", which tries vmm first; for every GPU, and others for some "
     "(\"GPU-<uuid>=ipc\")."},
    {"allow_uids", "", SettingKind::kIds, &Config::allow_uids, "[]",
     "Users (numbers) whose processes may connect to modeld.sock and attach.sock; root and "
     "modeld's\n"
     "own user always may. With allow_uids and allow_gids both empty: whoever the permissions of\n"
     "the sockets let in.",
     true},
    {"allow_gids", "", SettingKind::kIds, &Config::allow_gids, "[]",
     "Groups (numbers) whose members may connect, as allow_uids.", true},
    {"socket_group", "", SettingKind::kWord, &Config::socket_group, "\"\"",
     "Group (name or number) that the runtime directory, modeld.sock and attach.sock belong to, "
     "so\n"
     "that its members can reach them. Empty: the group that modeld runs with. Sockets that "
     "systemd\n"
     "listens on stay as they are."},
    {"log_level", "", SettingKind::kLogLevel, &Config::log_level, "\"info\"",
     "The least that is logged: \"debug\", \"info\", \"warn\" or \"error\".", true},
    {"log_format", "", SettingKind::kLogFormat, &Config::log_format, "\"text\"",
     "How it is logged: \"text\", lines of key=value, or \"json\", an object a line whose values "
     "are text."},
    {"metrics_listen", "", SettingKind::kAddress, &Config::metrics_listen, "\"\"",
     "Where Prometheus may collect metrics: a port (\"9464\") of this machine alone, or an address "
     "and\n"
     "a port (\"127.0.0.1:9464\", \"[::1]:9464\", \"0.0.0.0:9464\"). Whoever may connect may read "
     "them.\n"
     "Empty: nowhere."},
    {"stop_timeout", "", SettingKind::kDuration, &Config::stop_timeout, "\"5s\"",
     "How long a stopping modeld waits for holders to let go before it leaves.", true},
    {"share_tensors", "", SettingKind::kSwitch, &Config::share_tensors, "true",
     "May a residency use tensors that lie in another one's memory? Equal checkpoints are one copy "
     "in\n"
     "any case; this is about different ones with some tensors in common."},
    {"keep_alive", "", SettingKind::kKeepAlive, &Config::keep_alive, "\"forever\"",
     "How long a residency stays that nobody holds, where neither a request nor an alias says so: "
     "a\n"
     "duration (\"5min\"; \"0s\": it goes with its last release) or \"forever\", which is until "
     "its room is\n"
     "needed or an operator evicts it.",
     true},
    {"min_residency", "", SettingKind::kDuration, &Config::min_residency, "\"0s\"",
     "How long what has been loaded is not evicted for the sake of another model, so that two that "
     "do not\n"
     "fit together do not take turns at every request. Whoever needs the room waits for it.",
     true},
    {"adoption_grace", "", SettingKind::kDuration, &Config::adoption_grace, "\"10s\"",
     "How long after a restart nothing is evicted that an earlier modeld left: its holders come "
     "back\n"
     "and take their leases again in that time."},
    {"agent_grace", "", SettingKind::kDuration, &Config::agent_grace, "\"1min\"",
     "How long an agent keeps its memory when its modeld has died, for the next one to take over."},
};

constexpr std::string_view kLogLevels[] = {"debug", "info", "warn", "error"};
constexpr std::string_view kFormats[] = {"text", "json"};

absl::Status Wrong(const Setting& setting, const std::string& place, std::string_view why) {
  return absl::InvalidArgumentError(wire::StrCat(place, ": ", setting.name, ": ", why));
}

absl::Status Wrong(const Setting& setting, const RawValue& value, std::string_view why) {
  return Wrong(setting, value.place.empty() ? value.origin : value.place, why);
}

// Of one item of a list.
absl::Status Wrong(const Setting& setting, const RawValue& value, const RawValue::Item& item,
                   std::string_view why) {
  return item.place.empty() ? Wrong(setting, value, why) : Wrong(setting, item.place, why);
}

// Kinds whose items may be written as TOML integers.
bool TakesNumbers(SettingKind kind) {
  return kind == SettingKind::kIds || kind == SettingKind::kCapacity ||
         kind == SettingKind::kWord || kind == SettingKind::kAddress;
}

bool IsList(SettingKind kind) {
  return kind == SettingKind::kDirectories || kind == SettingKind::kIds ||
         kind == SettingKind::kPerGpu;
}

absl::Status CheckShape(const Setting& setting, const RawValue& value) {
  if (value.is_list != IsList(setting.kind)) {
    return Wrong(setting, value,
                 wire::StrCat(value.is_list ? "is a list; write one value" : "must be a list",
                              ", such as ", setting.default_text));
  }
  for (const RawValue::Item& item : value.items) {
    if (item.is_number && !TakesNumbers(setting.kind)) {
      return Wrong(setting, value, item,
                   wire::StrCat("must be text, such as ", setting.kind == SettingKind::kDirectories
                                                              ? "[\"/models\"]"
                                                              : setting.default_text));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDirectory(const Setting& setting, const RawValue& value,
                            const RawValue::Item& item) {
  const std::string& path = item.text;
  if (path.empty() && setting.kind == SettingKind::kDirectory) return absl::OkStatus();
  if (path.empty()) return Wrong(setting, value, item, "an empty path names no directory");
  if (path.find('\0') != std::string::npos) return Wrong(setting, value, item, "holds a NUL byte");
  if (path.front() != '/') {
    return Wrong(setting, value, item,
                 wire::StrCat(Quoted(path), " is relative; write an absolute path"));
  }
  return absl::OkStatus();
}

// `9464` -> `127.0.0.1:9464`; nullopt for what is no address of numbers and no port.
std::optional<std::string> AddressOf(const std::string& text) {
  const size_t colon = text.rfind(':');
  const std::string host = colon == std::string::npos ? "127.0.0.1" : text.substr(0, colon);
  uint32_t port = 0;
  const std::string_view digits = std::string_view(text).substr(colon + 1);  // npos + 1 is 0
  if (!absl::SimpleAtoi(wire::ToAbsl(digits), &port) || port > 65535) return std::nullopt;
  struct in_addr v4;
  struct in6_addr v6;
  const bool is_v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const bool valid = is_v6
                         ? ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1
                         : ::inet_pton(AF_INET, host.c_str(), &v4) == 1;
  if (!valid) return std::nullopt;
  return wire::StrCat(host, ":", port);
}

// `/a//b/` -> `/a/b`
std::string Trimmed(std::string path) {
  path.erase(
      std::unique(path.begin(), path.end(), [](char a, char b) { return a == '/' && b == '/'; }),
      path.end());
  if (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// One overload per type of member.
struct Parser {
  const Setting& setting;
  const RawValue& value;
  Config& config;

  const std::string& only() const { return value.items.front().text; }

  absl::Status operator()(std::string Config::*member) const {
    if (setting.kind == SettingKind::kDirectory) {
      if (auto status = CheckDirectory(setting, value, value.items.front()); !status.ok())
        return status;
      config.*member = Trimmed(only());
    } else if (setting.kind == SettingKind::kGpus && only() != "auto" && only() != "none") {
      return Wrong(setting, value,
                   wire::StrCat(Quoted(only()), " is neither \"auto\" nor \"none\""));
    } else if (setting.kind == SettingKind::kAddress && !only().empty()) {
      auto address = AddressOf(only());
      if (!address) {
        return Wrong(setting, value,
                     wire::StrCat(Quoted(only()),
                                  " is no port and no numeric address with one, such as "
                                  "\"9464\" or \"127.0.0.1:9464\""));
      }
      config.*member = *std::move(address);
    } else {
      config.*member = only();
    }
    return absl::OkStatus();
  }

  absl::Status operator()(std::vector<std::string> Config::*member) const {
    std::vector<std::string> paths;
    for (const RawValue::Item& item : value.items) {
      if (auto status = CheckDirectory(setting, value, item); !status.ok()) return status;
      paths.push_back(Trimmed(item.text));
    }
    config.*member = std::move(paths);
    return absl::OkStatus();
  }

  absl::Status operator()(std::vector<uint32_t> Config::*member) const {
    std::vector<uint32_t> ids;
    for (const RawValue::Item& item : value.items) {
      uint32_t id = 0;
      // The highest is (uid_t)-1: nobody has it, and the kernel takes it for "no change".
      if (!absl::SimpleAtoi(item.text, &id) || id == ~uint32_t{0}) {
        return Wrong(
            setting, value, item,
            wire::StrCat(Quoted(item.text), " is not a user's or group's number; `id` shows them"));
      }
      ids.push_back(id);
    }
    config.*member = std::move(ids);
    return absl::OkStatus();
  }

  absl::Status operator()(Capacity Config::*member) const {
    return Take(ParseCapacity(only()), config.*member);
  }

  absl::Status operator()(base::Duration Config::*member) const {
    const bool may_be_forever = setting.kind == SettingKind::kKeepAlive;
    return Take(may_be_forever ? ParseKeepAlive(only()) : ParseDuration(only()), config.*member);
  }

  absl::Status operator()(bool Config::*member) const {
    if (only() != "true" && only() != "false") {
      return Wrong(setting, value, wire::StrCat(Quoted(only()), " is neither true nor false"));
    }
    config.*member = only() == "true";
    return absl::OkStatus();
  }

  absl::Status operator()(LogLevel Config::*member) const {
    return TakeWord(kLogLevels, config.*member);
  }

  absl::Status operator()(LogFormat Config::*member) const {
    return TakeWord(kFormats, config.*member);
  }

  absl::Status operator()(PerGpu<Capacity> Config::*member) const {
    return TakePerGpu(config.*member, [](std::string_view text) { return ParseCapacity(text); });
  }

  absl::Status operator()(PerGpu<std::string> Config::*member) const {
    return TakePerGpu(config.*member, [](std::string_view text) -> absl::StatusOr<std::string> {
      if (text == "auto" || text == "vmm" || text == "ipc") return std::string(text);
      return absl::InvalidArgumentError(wire::StrCat(Quoted(text), " is none of: auto, vmm, ipc"));
    });
  }

  // `words` are those of the enumerators, in their order.
  template <class T>
  absl::Status TakeWord(std::span<const std::string_view> words, T& to) const {
    const auto word = std::ranges::find(words, only());
    if (word == words.end()) {
      const std::string list = absl::StrJoin(
          words, ", ", [](std::string* out, std::string_view name) { out->append(name); });
      return Wrong(setting, value, wire::StrCat(Quoted(only()), " is none of: ", list));
    }
    to = static_cast<T>(word - words.begin());
    return absl::OkStatus();
  }

  // `VALUE` for all, `GPU-<uuid>=VALUE` for one.
  template <class T, class Parse>
  absl::Status TakePerGpu(PerGpu<T>& to, Parse parse) const {
    for (const RawValue::Item& item : value.items) {
      const size_t equals = item.text.find('=');
      const bool for_all = equals == std::string::npos;
      const std::string uuid = for_all ? "" : absl::AsciiStrToLower(item.text.substr(0, equals));
      if (!for_all && !absl::StartsWith(uuid, "gpu-")) {
        return Wrong(setting, value, item,
                     wire::StrCat(Quoted(item.text.substr(0, equals)),
                                  " is no GPU's UUID; nvidia-smi -L shows them"));
      }
      auto parsed = parse(std::string_view(item.text).substr(for_all ? 0 : equals + 1));
      if (!parsed.ok()) return Wrong(setting, value, item, wire::ToStd(parsed.status().message()));
      (for_all ? to.common : to.by_uuid["GPU-" + uuid.substr(4)]) = *std::move(parsed);
    }
    return absl::OkStatus();
  }

  template <class T>
  absl::Status Take(absl::StatusOr<T> parsed, T& to) const {
    if (!parsed.ok()) return Wrong(setting, value, wire::ToStd(parsed.status().message()));
    to = *std::move(parsed);
    return absl::OkStatus();
  }
};

struct Printer {
  const Config& config;

  std::string operator()(std::string Config::*member) const { return Quoted(config.*member); }
  std::string operator()(std::vector<std::string> Config::*member) const {
    return wire::StrCat(
        "[",
        absl::StrJoin(config.*member, ", ",
                      [](std::string* out, const std::string& path) { out->append(Quoted(path)); }),
        "]");
  }
  std::string operator()(std::vector<uint32_t> Config::*member) const {
    return wire::StrCat("[", absl::StrJoin(config.*member, ", "), "]");
  }
  std::string operator()(Capacity Config::*member) const {
    return Quoted(CapacityText(config.*member));
  }
  std::string operator()(base::Duration Config::*member) const {
    return Quoted(KeepAliveText(config.*member));
  }
  std::string operator()(bool Config::*member) const { return config.*member ? "true" : "false"; }
  std::string operator()(PerGpu<Capacity> Config::*member) const {
    return List(config.*member, [](const Capacity& capacity) { return CapacityText(capacity); });
  }
  std::string operator()(PerGpu<std::string> Config::*member) const {
    return List(config.*member, [](const std::string& word) { return word; });
  }
  template <class T, class Text>
  static std::string List(const PerGpu<T>& values, Text text) {
    std::string list = Quoted(text(values.common));
    for (const auto& [uuid, value] : values.by_uuid) {
      list += wire::StrCat(", ", Quoted(wire::StrCat(uuid, "=", text(value))));
    }
    return wire::StrCat("[", list, "]");
  }
  std::string operator()(LogLevel Config::*member) const {
    return Quoted(kLogLevels[static_cast<size_t>(config.*member)]);
  }
  std::string operator()(LogFormat Config::*member) const {
    return Quoted(kFormats[static_cast<size_t>(config.*member)]);
  }
};

}  // namespace

std::span<const Setting> Settings() { return kSettings; }

const Setting* FindSetting(std::string_view name) {
  const Setting* const setting = std::ranges::find(kSettings, name, &Setting::name);
  return setting != std::end(kSettings) ? setting : nullptr;
}

std::string EnvironmentName(const Setting& setting) {
  return wire::StrCat("MODELD_", absl::AsciiStrToUpper(wire::ToAbsl(setting.name)));
}

absl::Status Assign(const Setting& setting, const RawValue& value, Config& config) {
  if (auto status = CheckShape(setting, value); !status.ok()) return status;
  return std::visit(Parser{setting, value, config}, setting.member);
}

RawValue SplitVariable(const Setting& setting, std::string_view text) {
  RawValue value{.items = {}, .is_list = IsList(setting.kind), .origin = EnvironmentName(setting)};
  if (!value.is_list) {
    value.items.push_back({std::string(text)});
    return value;
  }
  const char separator = setting.kind == SettingKind::kDirectories ? ':' : ',';
  for (const absl::string_view item :
       absl::StrSplit(wire::ToAbsl(text), separator, absl::SkipWhitespace())) {
    value.items.push_back({std::string(wire::ToStd(absl::StripAsciiWhitespace(item)))});
  }
  return value;
}

Reloaded TakeReloadable(const Config& wanted, Config& running) {
  Reloaded reloaded;
  for (const Setting& setting : kSettings) {
    if (TomlText(setting, wanted) == TomlText(setting, running)) continue;
    (setting.reloadable ? reloaded.taken : reloaded.waiting).push_back(setting.name);
    if (!setting.reloadable) continue;
    std::visit([&](auto member) { running.*member = wanted.*member; }, setting.member);
  }
  if (wanted.preloads != running.preloads) reloaded.waiting.push_back(kPreloadTable);
  return reloaded;
}

std::string TomlText(const Setting& setting, const Config& config) {
  return std::visit(Printer{config}, setting.member);
}

}  // namespace modeld::app
