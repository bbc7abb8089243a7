// The settings as a table: one line each drives the file, the environment, the checks,
// `--dump-config`, and deploy/config/modeld.toml.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "app/config.h"

namespace modeld::app {

enum class SettingKind {
  kDirectory,
  kDirectories,
  kIds,
  kWord,
  kCapacity,
  kDuration,
  kKeepAlive,
  kLogLevel,
  kLogFormat,
  kGpus,
  kAddress,
  kPerGpu,
  kSwitch
};

struct Setting {
  std::string_view name;  // in the file; MODELD_<NAME> in the environment
  std::string_view flag;  // empty: none
  SettingKind kind;
  std::variant<std::string Config::*, std::vector<std::string> Config::*,
               std::vector<uint32_t> Config::*, Capacity Config::*, base::Duration Config::*,
               LogLevel Config::*, LogFormat Config::*, bool Config::*, PerGpu<Capacity> Config::*,
               PerGpu<std::string> Config::*>
      member;
  std::string_view default_text;  // as TOML, where documentation shows it
  std::string_view help;          // lines
  bool reloadable = false;        // SIGHUP takes it over; the others need a restart
};

std::span<const Setting> Settings();
const Setting* FindSetting(std::string_view name);

// `MODELD_HOST_CAPACITY`
std::string EnvironmentName(const Setting& setting);

// Checks what was written and puts it into `config`. INVALID_ARGUMENT names origin and setting.
absl::Status Assign(const Setting& setting, const RawValue& value, Config& config);

// What an environment variable holds: lists of directories are separated by colons, lists of ids by
// commas.
RawValue SplitVariable(const Setting& setting, std::string_view text);

// What a reload would do: takes what is reloadable in `wanted` over into `running`, and says which
// settings that were (`taken`) and which others differ, and so wait for a restart.
struct Reloaded {
  std::vector<std::string_view> taken;
  std::vector<std::string_view> waiting;
};
Reloaded TakeReloadable(const Config& wanted, Config& running);

// The value as TOML: `["/models"]`.
std::string TomlText(const Setting& setting, const Config& config);

}  // namespace modeld::app
