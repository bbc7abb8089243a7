// Files written by PyTorch, read by modeld, and compared with what PyTorch reads from them, bit for
// bit. TORCH_PYTHON names the Python whose PyTorch writes: Debian's unless it is set.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/format.h"
#include "support/read_file.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/reference_table.h"
#include "wire/strided_reader.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

std::string Python() {
  const char* const chosen = std::getenv("TORCH_PYTHON");
  return chosen != nullptr ? chosen : "/usr/bin/python3";
}

// The elements in row-major order, as PyTorch's contiguous() has them.
std::string Elements(const std::string& file, const wire::TensorEntry& entry) {
  if (entry.size_bytes == 0) return "";
  if (wire::IsContiguous(entry.shape, entry.strides)) {
    return file.substr(entry.offset, entry.size_bytes);
  }
  std::string bytes(*wire::ContiguousBytes(entry.dtype, entry.shape), '\0');
  wire::StridedReader reader(reinterpret_cast<const std::byte*>(file.data()) + entry.offset,
                             wire::DTypeBits(entry.dtype) / 8, entry.shape, entry.strides);
  reader.Read(std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

class TorchFiles : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    const std::string import = Python() + " -W ignore -c 'import torch' 2>/dev/null";
    if (std::system(import.c_str()) != 0) return;
    const std::string write = Python() + " -W ignore '" + TORCH_FILES + "' '" + dir_->path() + "'";
    ASSERT_EQ(std::system(write.c_str()), 0);
    cases_ = new nlohmann::json(nlohmann::json::parse(test::ReadFile(*dir_ / "cases.json")));
    std::cout << "PyTorch " << (*cases_)["torch"] << "\n";
  }
  static void TearDownTestSuite() {
    delete cases_;
    delete dir_;
  }
  void SetUp() override {
    if (cases_ == nullptr) {
      GTEST_SKIP() << Python() << " has no PyTorch: install python3-torch, or set TORCH_PYTHON";
    }
  }

  struct Parsed {
    absl::StatusOr<ParsedCheckpoint> result;
    double cpu_milliseconds;
  };
  static Parsed Parse(const nlohmann::json& one, const std::string& path) {
    const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const InputFile files[] = {
        {.path = path, .name = path, .fd = fd.get(), .size_bytes = test::ReadFile(path).size()}};
    const plan::LoadConfig config{.key_prefix = one["prefix"]};
    const std::clock_t start = std::clock();
    auto result = ParseCheckpoint(files, {}, config);
    const std::clock_t took = std::clock() - start;
    return {std::move(result), 1e3 * static_cast<double>(took) / CLOCKS_PER_SEC};
  }

  static void Compare(const nlohmann::json& one) {
    const std::string name = one["name"];
    SCOPED_TRACE(name);
    const std::string path = *dir_ / (name + ".pt");
    const auto [parsed, cpu_milliseconds] = Parse(one, path);
    if (one.contains("refused")) {
      const std::string words = one["refused"];
      EXPECT_FALSE(parsed.ok());
      EXPECT_NE(std::string(parsed.status().message()).find(words), std::string::npos)
          << parsed.status();
      EXPECT_FALSE(wire::GetErrorInfo(parsed.status()).hint.empty());
      return;
    }
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->format, one["format"].get<std::string>());
    const std::string file = test::ReadFile(path);
    const std::string raw = test::ReadFile(*dir_ / (name + ".raw"));
    const uint64_t sizes[] = {file.size()};
    const auto table =
        wire::TableView::Validate(std::as_bytes(std::span(parsed->table)), {.region_sizes = sizes});
    ASSERT_TRUE(table.ok()) << table.status();
    const auto& tensors = one["tensors"];
    EXPECT_EQ(table->size(), tensors.size());
    for (const auto& tensor : tensors) {
      const auto index = table->find(tensor["name"].get<std::string>());
      ASSERT_TRUE(index) << tensor["name"];
      const wire::TensorEntry entry = table->entry(*index);
      EXPECT_EQ(wire::DTypeName(entry.dtype), tensor["dtype"].get<std::string>());
      EXPECT_EQ(std::vector(entry.shape.begin(), entry.shape.end()),
                tensor["shape"].get<std::vector<int64_t>>());
      ASSERT_EQ(Elements(file, entry), raw.substr(tensor["at"], tensor["bytes"])) << entry.name;
    }
    const auto reference =
        wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed->reference_table)));
    ASSERT_TRUE(reference.ok());
    for (const auto& small : one["files"]) {
      EXPECT_TRUE(reference->find_file(small.get<std::string>())) << small;
    }
    if (tensors.size() >= 100'000) {
      std::cout << name << ": parsed in " << cpu_milliseconds << " ms of CPU time\n";
    }
  }

  static test::TempDir* dir_;
  static nlohmann::json* cases_;
};

test::TempDir* TorchFiles::dir_ = nullptr;
nlohmann::json* TorchFiles::cases_ = nullptr;

TEST_F(TorchFiles, EveryValueIsTheOneThatPyTorchLoads) {
  std::set<std::string> seen;
  for (const auto& one : (*cases_)["cases"]) {
    if (one.contains("tensors")) {
      Compare(one);
      seen.insert(one["name"]);
    }
  }
  EXPECT_GE(seen.size(), 25u);
}

TEST_F(TorchFiles, WhatHasNoPlainLayoutIsRefusedInItsOwnWords) {
  size_t refused = 0;
  for (const auto& one : (*cases_)["cases"]) {
    if (!one.contains("refused")) continue;
    ++refused;
    Compare(one);
  }
  EXPECT_GE(refused, 8u);
}

}  // namespace
}  // namespace modeld::checkpoint
