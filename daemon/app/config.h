// What an operator can set, and what he did set.

#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "app/per_gpu.h"
#include "app/preload_manifest.h"
#include "app/quantity.h"
#include "app/raw_value.h"
#include "base/clock.h"

namespace modeld::app {

enum class LogLevel { kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

// The settings; settings.cc has a line for each, with the words that documentation and
// `--dump-config` show. A member that is added here without one there is not settable.
struct Config {
  std::string runtime_dir;
  std::string state_dir;  // empty: none
  std::vector<std::string> roots;
  Capacity host_capacity = {.bytes = 0, .percent = 75};
  std::string gpus = "auto";  // or `none`
  PerGpu<Capacity> gpu_capacity = {.common = {.bytes = 0, .percent = 80}, .by_uuid = {}};
  PerGpu<std::string> gpu_export = {.common = "auto", .by_uuid = {}};  // `auto`, `vmm` or `ipc`
  std::vector<uint32_t> allow_uids;
  std::vector<uint32_t> allow_gids;
  std::string socket_group;  // empty: the group that the daemon runs with
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  std::string metrics_listen;  // `127.0.0.1:9464`; empty: no metrics
  base::Duration stop_timeout = std::chrono::seconds(5);
  base::Duration agent_grace = std::chrono::seconds(60);
  bool share_tensors = true;
  base::Duration keep_alive = base::Duration::max();  // which is forever
  base::Duration min_residency{0};
  base::Duration adoption_grace = std::chrono::seconds(10);
  std::vector<Preload> preloads;  // no setting: the file's alone
};

// Where a value comes from: `default`, `/etc/modeld/modeld.toml:3`, `MODELD_ROOTS`, `--root`. By
// setting.
using Origins = std::map<std::string, std::string>;

// What the daemon finds around it: its user and environment variables. Given, so that tests can.
struct Surroundings {
  uid_t uid = 0;
  std::map<std::string, std::string> environment;
  std::string working_dir;  // absolute: relative paths of flags and environment start here

  std::optional<std::string> Variable(const std::string& name) const;
};

Surroundings TheSurroundings();

struct LoadedConfig {
  Config config;
  Origins origins;
  std::string file;  // empty: none was read
};

// Flags over environment (MODELD_*) over file over default. `flags` has what the command line
// names; `file` is the config file that it names, or empty: then MODELD_CONFIG, or the default one
// (DefaultConfigPath) if it exists. INVALID_ARGUMENT names the setting and where it was written;
// NOT_FOUND the file.
absl::StatusOr<LoadedConfig> LoadConfig(const RawValues& flags, const std::string& file,
                                        const Surroundings& surroundings);

// /etc/modeld/modeld.toml as root; else $XDG_CONFIG_HOME/modeld/modeld.toml, with ~/.config for an
// unset XDG_CONFIG_HOME.
std::string DefaultConfigPath(const Surroundings& surroundings);

// `host_capacity` in bytes. UNAVAILABLE when it is a part of a memory whose size cannot be told.
absl::StatusOr<uint64_t> HostCapacityBytes(const Config& config);

// `gpu_capacity` of a GPU with so much memory, in bytes; never more than that.
uint64_t GpuCapacityBytes(const Config& config, const std::string& uuid, uint64_t memory_bytes);

}  // namespace modeld::app
