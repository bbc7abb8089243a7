#include "app/config_text.h"

#include "absl/strings/str_split.h"
#include "app/settings.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

void AppendHelp(const Setting& setting, std::string& text) {
  for (const absl::string_view line : absl::StrSplit(wire::ToAbsl(setting.help), '\n')) {
    text += wire::StrCat("# ", line, "\n");
  }
}

}  // namespace

std::string DumpConfig(const LoadedConfig& loaded) {
  std::string text;
  for (const Setting& setting : Settings()) {
    std::string origin = loaded.origins.at(std::string(setting.name));
    if (setting.kind == SettingKind::kCapacity) {
      const auto bytes = HostCapacityBytes(loaded.config);
      if (bytes.ok()) origin += wire::StrCat(": ", *bytes, " bytes");
    }
    text +=
        wire::StrCat(setting.name, " = ", TomlText(setting, loaded.config), "  # ", origin, "\n");
  }
  for (const Preload& preload : loaded.config.preloads) {
    text += wire::StrCat("\n# ", loaded.file, "\n", PreloadText(preload));
  }
  return text;
}

std::string DefaultConfigFile() {
  std::string text =
      "# The configuration of modeld, read from /etc/modeld/modeld.toml or from what --config "
      "names. Each\n"
      "# setting stands here with its default. Environment variables (MODELD_ROOTS, ...) and flags "
      "come\n"
      "# before this file; `modeld --dump-config` shows what is in force and why, `modeld "
      "--check-config`\n"
      "# checks it. What is not marked so is taken over by a restart, which reloads no checkpoint. "
      "See\n"
      "# modeld.toml(5).\n";
  for (const Setting& setting : Settings()) {
    text += "\n";
    AppendHelp(setting, text);
    if (setting.reloadable) text += "# A reload (SIGHUP) takes it over.\n";
    text += wire::StrCat("#", setting.name, " = ", setting.default_text, "\n");
  }
  return wire::StrCat(text, "\n", PreloadHelp());
}

}  // namespace modeld::app
