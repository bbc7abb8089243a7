// Dependencies point one way (docs/architecture.md): who may include whom, read from the sources
// themselves.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // relative to the source tree
  std::string target;  // as written
};

std::vector<Include> IncludesBelow(const std::string& folder) {
  static const std::regex include_line(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"].*)");
  std::vector<Include> includes;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(SOURCE_DIR) / folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cc") continue;
    std::ifstream file(entry.path());
    std::string line;
    std::smatch match;
    while (std::getline(file, line)) {
      if (std::regex_match(line, match, include_line)) {
        includes.push_back({fs::relative(entry.path(), SOURCE_DIR).string(), match[1]});
      }
    }
  }
  return includes;
}

// `residency` for `residency/manager.h`; empty for `memory`, which is the standard's.
std::string TopFolder(const Include& include) {
  const size_t slash = include.target.find('/');
  return slash == std::string::npos ? std::string() : include.target.substr(0, slash);
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

// Folder below daemon/ -> the daemon folders that it may include.
const std::map<std::string, std::set<std::string>> kDaemonGraph = {
    {"base", {}},
    {"plan", {"base"}},
    {"checkpoint", {"base", "plan"}},
    {"reference", {"base", "plan"}},
    {"memory", {"base", "plan"}},
    {"agent", {"base", "plan", "memory"}},
    {"residency", {"base", "plan"}},
    {"metrics", {"base", "plan", "residency"}},
    {"state", {"base", "plan", "residency"}},
    {"supervisor", {"base", "plan", "residency"}},
    {"rpc", {"base", "plan", "residency", "supervisor"}},
    {"app", {"base", "plan", "reference", "residency", "state", "metrics", "supervisor", "rpc"}},
};

TEST(Layering, DaemonFoldersIncludeOnlyWhatTheGraphAllows) {
  for (const auto& [folder, allowed] : kDaemonGraph) {
    const auto includes = IncludesBelow("daemon/" + folder);
    ASSERT_FALSE(includes.empty()) << folder;
    for (const Include& include : includes) {
      const std::string top = TopFolder(include);
      if (!kDaemonGraph.contains(top) || top == folder) continue;
      EXPECT_TRUE(allowed.contains(top)) << include.file << " includes " << include.target;
    }
  }
}

TEST(Layering, EveryDaemonFolderIsInTheGraph) {
  for (const auto& entry : fs::directory_iterator(fs::path(SOURCE_DIR) / "daemon")) {
    if (entry.is_directory()) {
      EXPECT_TRUE(kDaemonGraph.contains(entry.path().filename())) << entry.path();
    }
  }
}

TEST(Layering, TheResidencyDomainIsPure) {
  for (const std::string folder : {"daemon/base", "daemon/plan", "daemon/residency"}) {
    for (const Include& include : IncludesBelow(folder)) {
      for (const char* impure :
           {"grpc", "google/", "modeld/v1", "cuda", "torch", "ATen", "spdlog"}) {
        EXPECT_FALSE(StartsWith(include.target, impure))
            << include.file << " includes " << include.target;
      }
    }
  }
}

TEST(Layering, AgentsAndParsersKnowNoGrpc) {
  for (const std::string folder :
       {"daemon/agent", "daemon/memory", "daemon/checkpoint", "proto/wire"}) {
    for (const Include& include : IncludesBelow(folder)) {
      EXPECT_FALSE(StartsWith(include.target, "grpc")) << include.file;
      EXPECT_EQ(include.target.find(".grpc.pb.h"), std::string::npos) << include.file;
    }
  }
}

TEST(Layering, DaemonAndClientNeverIncludeEachOther) {
  for (const Include& include : IncludesBelow("client")) {
    const std::string top = TopFolder(include);
    EXPECT_FALSE(kDaemonGraph.contains(top)) << include.file << " includes " << include.target;
  }
  for (const Include& include : IncludesBelow("daemon")) {
    EXPECT_FALSE(StartsWith(include.target, "modeld/") && !StartsWith(include.target, "modeld/v1/"))
        << include.file << " includes " << include.target;
  }
}

TEST(Layering, PublicHeadersShowNoForeignTypes) {
  for (const Include& include : IncludesBelow("client/include")) {
    for (const char* foreign : {"absl", "grpc", "google", "wire", "modeld/v1", "spdlog"}) {
      EXPECT_FALSE(StartsWith(include.target, foreign))
          << include.file << " includes " << include.target;
    }
  }
}

TEST(Layering, LibTorchIsIncludedByTheAdapterAndItsExamplesOnly) {
  for (const std::string folder : {"proto", "daemon", "client/src", "client/include", "tools"}) {
    for (const Include& include : IncludesBelow(folder)) {
      EXPECT_FALSE(StartsWith(include.target, "torch/") || StartsWith(include.target, "ATen/"))
          << include.file << " includes " << include.target;
    }
  }
}

// What is loaded without a driver must not need one.
TEST(Layering, TheClientAndTheToolsIncludeCudaInThePluginOnly) {
  for (const std::string folder :
       {"proto", "client/include", "client/src", "client/device", "client/torch", "tools"}) {
    for (const Include& include : IncludesBelow(folder)) {
      EXPECT_FALSE(StartsWith(include.target, "cuda") || StartsWith(include.target, "c10/cuda"))
          << include.file << " includes " << include.target;
    }
  }
}

// It is loaded into programs that have their own of everything.
TEST(Layering, ThePluginKnowsNothingButCudaAndItsInterface) {
  for (const Include& include : IncludesBelow("client/cuda")) {
    for (const char* foreign : {"absl", "grpc", "google", "modeld/", "torch", "ATen"}) {
      EXPECT_FALSE(StartsWith(include.target, foreign))
          << include.file << " includes " << include.target;
    }
  }
}

TEST(Layering, TheDaemonIncludesCudaInTheMemoryOfGpusOnly) {
  for (const Include& include : IncludesBelow("daemon")) {
    if (StartsWith(include.file, "daemon/memory/cuda_")) continue;
    EXPECT_FALSE(StartsWith(include.target, "cuda"))
        << include.file << " includes " << include.target;
  }
}

TEST(Layering, NoSourceFileHoldsMoreThan30Kilobytes) {
  for (const std::string folder : {"proto", "daemon", "client", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(SOURCE_DIR) / folder)) {
      const std::string extension = entry.path().extension();
      if (extension == ".h" || extension == ".cc") {
        EXPECT_LE(entry.file_size(), 30u * 1024) << entry.path();
      }
    }
  }
}

}  // namespace
