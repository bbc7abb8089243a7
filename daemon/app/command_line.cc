#include "app/command_line.h"

#include <CLI/CLI.hpp>
#include <sstream>

#include "app/settings.h"
#include "app/version.h"
#include "wire/text.h"

namespace modeld::app {
namespace {

constexpr char kDescription[] =
    "modeld keeps one copy of every model on this machine and lets any number of processes map it.";

constexpr char kFooter[] = R"(
Settings come from flags, then from the environment (MODELD_ROOTS=/a:/b, MODELD_HOST_CAPACITY, ...), then
from the file, then from defaults: `modeld --dump-config` shows which and why, modeld.toml(5) lists them all.

Examples:
  modeld --root /models                           serve what lies under /models
  modeld --root /models --host-capacity 12GiB     ... in at most 12 GiB of memory
  modelctl load /models/backbone.safetensors      make a checkpoint resident
  modelctl ps                                     see what is resident, and who uses it

Exit status: 0 stopped by a signal, 1 failed, 2 wrong flags or configuration.)";

}  // namespace

std::variant<CommandLine, Exit> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine command;
  std::map<std::string, std::string> single;
  std::vector<std::string> roots;
  bool check = false;
  bool dump = false;

  CLI::App app(kDescription, "modeld");
  app.set_help_flag("-h,--help", "Print this and exit");
  app.set_version_flag("--version", wire::StrCat("modeld ", kVersion),
                       "Print the version and exit");
  app.footer(kFooter);
  app.add_option("--config", command.config_file, "Configuration file (modeld.toml)")
      ->type_name("FILE");
  app.add_option("--runtime-dir", single["runtime_dir"],
                 "Directory of the sockets [/run/modeld as root, else $XDG_RUNTIME_DIR/modeld]")
      ->type_name("DIR");
  app.add_option("--state-dir", single["state_dir"], "Directory of what outlives a reboot")
      ->type_name("DIR");
  app.add_option("--root", roots, "Directory under which checkpoints may lie; may be repeated")
      ->type_name("DIR")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--host-capacity", single["host_capacity"],
                 "Host memory for residencies: a size (12GiB) or a part of the memory [75%]")
      ->type_name("SIZE");
  auto* const check_flag =
      app.add_flag("--check-config", check, "Check the configuration, say what is wrong, and exit");
  app.add_flag("--dump-config", dump, "Print the configuration and where each value comes from")
      ->excludes(check_flag);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const bool failed = app.exit(error, out, err) != 0;
    return Exit{failed ? 2 : 0, out.str(), err.str()};
  }

  for (auto& [name, text] : single) {
    const Setting* const setting = FindSetting(name);
    if (app.count(std::string(setting->flag)) == 0) continue;
    command.settings[name] = {
        .items = {{std::move(text)}}, .is_list = false, .origin = std::string(setting->flag)};
  }
  if (!roots.empty()) {
    RawValue value{.items = {}, .is_list = true, .origin = "--root"};
    for (std::string& root : roots) value.items.push_back({std::move(root)});
    command.settings["roots"] = std::move(value);
  }
  if (check) command.action = CommandLine::Action::kCheckConfig;
  if (dump) command.action = CommandLine::Action::kDumpConfig;
  return command;
}

}  // namespace modeld::app
