#include "checkpoint/blob.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parsed_files.h"
#include "support/temp_dir.h"
#include "wire/error.h"

namespace modeld::checkpoint {
namespace {

using test::ParsedFiles;
using ::testing::HasSubstr;
using wire::Reason;

TEST(Blob, AnyFileIsOneTensorOfItsBytesThatIsCalledAsTheFileIs) {
  const test::TempDir dir;
  const std::string graph = "\x08\x07\x12\x07pytorch{\"not\": json";
  const ParsedFiles file({dir.Write("model.onnx", graph)});
  ASSERT_TRUE(file.status().ok()) << file.status();
  EXPECT_EQ(file.format(), "blob");
  ASSERT_EQ(file.view().size(), 1u);
  const wire::TensorEntry entry = file.view().entry(0);
  EXPECT_EQ(entry.name, "model.onnx");
  EXPECT_EQ(entry.dtype, wire::DType::kU8);
  ASSERT_EQ(entry.shape.size(), 1u);
  EXPECT_EQ(static_cast<size_t>(entry.shape[0]), graph.size());
  EXPECT_EQ(file.BytesOf(entry), graph);
}

TEST(Blob, TextIsServedAsItIsEvenWithABraceAsItsNinthByte) {
  const test::TempDir dir;
  for (const std::string text : {"12345678{...", "{\"a\": 1, {", "remember the milk"}) {
    EXPECT_EQ(ParsedFiles({dir.Write("notes.txt", text)}).format(), "blob") << text;
  }
}

TEST(Blob, AGraphAndItsDataAreOneCheckpoint) {
  const test::TempDir dir;
  const ParsedFiles files({dir.Write("model.onnx", "graph"), dir.Write("model.onnx_data", "data")});
  ASSERT_TRUE(files.status().ok()) << files.status();
  EXPECT_EQ(files.BytesOf(files.view().entry(*files.view().find("model.onnx_data"))), "data");
}

TEST(Blob, TheConfigurationMayLeaveItOut) {
  const test::TempDir dir;
  const ParsedFiles file({dir.Write("a.plan", "plan")}, 1, {.exclude = {"*"}});
  EXPECT_EQ(wire::GetReason(file.status()), Reason::kFieldInvalid);
}

TEST(Blob, WhatIsNoModelIsRefusedWithAHint) {
  const std::pair<std::string, std::string> files[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "git lfs pull"},
      {"<!DOCTYPE html><html>", "web page"},
      {"\n  <!doctype HTML>", "web page"},
      {"\xEF\xBB\xBF<html lang=en>", "web page"},
      {"Entry not found", "text of an error"},
      {"Invalid username or password.", "text of an error"}};
  const test::TempDir dir;
  for (const auto& [bytes, words] : files) {
    for (const std::string name : {"model.onnx", "model.safetensors", "model.gguf"}) {
      const ParsedFiles file({dir.Write(name, bytes)});
      const auto info = wire::GetErrorInfo(file.status());
      EXPECT_EQ(info.reason, Reason::kCheckpointMalformed) << file.status();
      EXPECT_THAT(info.hint, HasSubstr(words)) << name;
    }
  }
}

TEST(Blob, WhatClaimsAFormatAndIsNotIsNoBlob) {
  const test::TempDir dir;
  for (const std::string name : {"m.safetensors", "m.gguf"}) {
    EXPECT_EQ(wire::GetReason(ParsedFiles({dir.Write(name, "some bytes that are none")}).status()),
              Reason::kCheckpointMalformed)
        << name;
  }
}

TEST(Files, ADirectoryWithoutWeightsIsItsSmallFiles) {
  const test::TempDir dir;
  const ParsedFiles files({dir.Write("tokenizer.json", "{}"), dir.Write("merges.txt", "")}, 0);
  ASSERT_TRUE(files.status().ok()) << files.status();
  EXPECT_EQ(files.format(), "files");
  EXPECT_EQ(files.view().size(), 0u);
  EXPECT_EQ(files.reference().file_count(), 2u);
}

}  // namespace
}  // namespace modeld::checkpoint
