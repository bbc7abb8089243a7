#include "app/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "app/config_file.h"
#include "app/machine_memory.h"
#include "app/settings.h"
#include "wire/text.h"

extern char** environ;

namespace modeld::app {
namespace {

// Paths on a command line start where it was typed.
void MakeAbsolute(const Setting& setting, const std::string& working_dir, RawValue& value) {
  if (setting.kind != SettingKind::kDirectory && setting.kind != SettingKind::kDirectories) return;
  for (RawValue::Item& item : value.items) {
    if (item.text.empty() || item.text.front() == '/') continue;
    item.text = std::filesystem::path(working_dir + "/" + item.text).lexically_normal().string();
  }
}

absl::StatusOr<std::string> DefaultRuntimeDir(const Surroundings& surroundings) {
  if (surroundings.uid == 0) return std::string("/run/modeld");
  const auto base = surroundings.Variable("XDG_RUNTIME_DIR");
  if (base && base->front() == '/') return wire::StrCat(*base, "/modeld");
  return absl::InvalidArgumentError(
      "no runtime directory: XDG_RUNTIME_DIR is not set; name a directory with --runtime-dir");
}

std::vector<std::string> DefaultRoots(const Surroundings& surroundings) {
  const auto home = surroundings.Variable("HOME");
  if (surroundings.uid == 0 || !home || home->front() != '/') return {};
  std::string cache = wire::StrCat(*home, "/.cache/huggingface/hub");
  std::error_code ignored;
  if (!std::filesystem::is_directory(cache, ignored)) return {};
  return {std::move(cache)};
}

// The config file; an empty one if there is none and nobody named one.
absl::StatusOr<ConfigFile> ReadFile(const std::string& named, const Surroundings& surroundings,
                                    std::string* read) {
  const bool is_default = named.empty();
  const std::string path = is_default ? DefaultConfigPath(surroundings) : named;
  if (path.empty()) return ConfigFile{};
  auto contents = ReadConfigFile(path);
  if (is_default && absl::IsNotFound(contents.status())) return ConfigFile{};
  if (contents.ok()) *read = path;
  return contents;
}

}  // namespace

std::optional<std::string> Surroundings::Variable(const std::string& name) const {
  const auto found = environment.find(name);
  if (found == environment.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

Surroundings TheSurroundings() {
  Surroundings surroundings;
  surroundings.uid = ::geteuid();
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    surroundings.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  std::error_code ignored;
  surroundings.working_dir = std::filesystem::current_path(ignored).string();
  return surroundings;
}

std::string DefaultConfigPath(const Surroundings& surroundings) {
  if (surroundings.uid == 0) return "/etc/modeld/modeld.toml";
  if (const auto base = surroundings.Variable("XDG_CONFIG_HOME")) {
    return wire::StrCat(*base, "/modeld/modeld.toml");
  }
  const auto home = surroundings.Variable("HOME");
  return home ? wire::StrCat(*home, "/.config/modeld/modeld.toml") : std::string();
}

absl::StatusOr<LoadedConfig> LoadConfig(const RawValues& flags, const std::string& file,
                                        const Surroundings& surroundings) {
  LoadedConfig loaded;
  const std::string named =
      !file.empty() ? file : surroundings.Variable("MODELD_CONFIG").value_or("");
  auto from_file = ReadFile(named, surroundings, &loaded.file);
  if (!from_file.ok()) return from_file.status();
  loaded.config.preloads = std::move(from_file->preloads);

  for (const Setting& setting : Settings()) {
    const std::string name(setting.name);
    std::optional<RawValue> value;
    if (const auto flag = flags.find(name); flag != flags.end()) {
      value = flag->second;
      MakeAbsolute(setting, surroundings.working_dir, *value);
    } else if (const auto variable = surroundings.Variable(EnvironmentName(setting))) {
      value = SplitVariable(setting, *variable);
      MakeAbsolute(setting, surroundings.working_dir, *value);
    } else if (const auto line = from_file->settings.find(name);
               line != from_file->settings.end()) {
      value = line->second;
    }
    loaded.origins[name] = value ? value->origin : "default";
    if (!value) continue;
    if (auto status = Assign(setting, *value, loaded.config); !status.ok()) return status;
  }

  Config& config = loaded.config;
  if (config.runtime_dir.empty()) {
    auto runtime_dir = DefaultRuntimeDir(surroundings);
    if (!runtime_dir.ok()) return runtime_dir.status();
    config.runtime_dir = *std::move(runtime_dir);
  }
  if (loaded.origins["roots"] == "default") config.roots = DefaultRoots(surroundings);
  return loaded;
}

absl::StatusOr<uint64_t> HostCapacityBytes(const Config& config) {
  const Capacity& capacity = config.host_capacity;
  if (capacity.percent == 0) return capacity.bytes;
  const auto memory = GetMachineMemory();
  if (!memory.ok()) return memory.status();
  return static_cast<uint64_t>(static_cast<double>(memory->bytes) * capacity.percent / 100);
}

uint64_t GpuCapacityBytes(const Config& config, const std::string& uuid, uint64_t memory_bytes) {
  const Capacity& capacity = config.gpu_capacity.For(uuid);
  if (capacity.percent == 0) return std::min(capacity.bytes, memory_bytes);
  return static_cast<uint64_t>(static_cast<double>(memory_bytes) * capacity.percent / 100);
}

}  // namespace modeld::app
