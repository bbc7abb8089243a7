// modeld-memory: prints what processes really take, shared weights counted once.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "footprint.h"

namespace {

using modeld::tools::Footprint;

std::string MiB(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

void PrintTable(const Footprint& footprint) {
  std::printf("%10s  %-16s %10s\n", "PID", "PROGRAM", "OWN MiB");
  for (const auto& process : footprint.processes) {
    std::printf("%10d  %-16s %10s\n", process.pid, process.program.c_str(),
                MiB(process.own_bytes()).c_str());
  }
  std::printf("\n%10s  %-16s %10s\n", "INODE", "MEMFD", "MiB");
  for (const auto& memfd : footprint.memfds) {
    std::printf("%10llu  %-16s %10s%s\n", static_cast<unsigned long long>(memfd.inode),
                memfd.name.c_str(), MiB(memfd.bytes).c_str(), memfd.estimated ? "  at most" : "");
  }
  std::printf("\n%-28s %10s\n%-28s %10s\n%-28s %10s\n", "processes",
              MiB(footprint.own_bytes()).c_str(), "memfds", MiB(footprint.memfd_bytes()).c_str(),
              "total", MiB(footprint.total_bytes()).c_str());
}

void PrintJson(const Footprint& footprint) {
  nlohmann::ordered_json json;
  json["processes"] = nlohmann::json::array();
  for (const auto& process : footprint.processes) {
    json["processes"].push_back({{"pid", process.pid},
                                 {"program", process.program},
                                 {"pss_bytes", process.pss_bytes},
                                 {"pss_shmem_bytes", process.pss_shmem_bytes},
                                 {"own_bytes", process.own_bytes()}});
  }
  json["memfds"] = nlohmann::json::array();
  for (const auto& memfd : footprint.memfds) {
    json["memfds"].push_back({{"device", memfd.device},
                              {"inode", memfd.inode},
                              {"name", memfd.name},
                              {"bytes", memfd.bytes},
                              {"estimated", memfd.estimated}});
  }
  json["processes_bytes"] = footprint.own_bytes();
  json["memfds_bytes"] = footprint.memfd_bytes();
  json["total_bytes"] = footprint.total_bytes();
  // Names of memfds are any bytes: replaced, not refused, where they are no UTF-8.
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Prints what processes really take: the memory of their own, (PSS - Pss_Shmem), and each "
      "memfd\n"
      "that they have open or mapped, once.");
  std::vector<pid_t> pids;
  std::string output = "table";
  app.add_option("PID", pids, "Processes: modeld, its agents and its workers")->required();
  app.add_option("-o,--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::StatusOr<Footprint> footprint = modeld::tools::MeasureFootprint(pids);
  if (!footprint.ok()) {
    std::cerr << "modeld-memory: " << footprint.status().message() << "\n";
    return footprint.status().code() == absl::StatusCode::kNotFound ? 4 : 1;
  }
  output == "json" ? PrintJson(*footprint) : PrintTable(*footprint);
}
