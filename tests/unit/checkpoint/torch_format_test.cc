// Which tensors of a file are meant, and what they are called. That their values are PyTorch's own
// is for torch_ecosystem_test.

#include "checkpoint/torch_format.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "malformed_torch_files.h"
#include "support/temp_dir.h"
#include "wire/error.h"
#include "wire/reference_table.h"
#include "wire/unique_fd.h"

namespace modeld::checkpoint {
namespace {

using test::Dict;
using test::Text;

// Parsed as the daemon would.
class Read {
 public:
  explicit Read(const std::string& file, const plan::LoadConfig& config = {},
                const std::string& name = "c.pt") {
    const test::TempDir dir;
    const std::string path = dir.Write(name, file);
    const wire::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const InputFile files[] = {
        {.path = path, .name = name, .fd = fd.get(), .size_bytes = file.size()}};
    auto parsed = ParseCheckpoint(files, {}, config);
    status_ = parsed.status();
    if (!parsed.ok()) return;
    parsed_ = *std::move(parsed);
    table_ = wire::TableView::Validate(std::as_bytes(std::span(parsed_.table))).value();
    reference_ =
        wire::ReferenceTable::Validate(std::as_bytes(std::span(parsed_.reference_table))).value();
  }

  const absl::Status& status() const { return status_; }
  std::string format() const { return parsed_.format; }
  std::set<std::string> names() const {
    std::set<std::string> names;
    for (size_t i = 0; i < table_.size(); ++i) names.emplace(table_.entry(i).name);
    return names;
  }
  wire::TensorEntry entry(std::string_view name) const { return table_.entry(*table_.find(name)); }
  std::map<std::string, std::string> metadata() const {
    std::map<std::string, std::string> all;
    for (size_t i = 0; i < reference_.metadata_count(); ++i) all.emplace(reference_.metadata(i));
    return all;
  }
  const wire::ReferenceTable& reference() const { return reference_; }

 private:
  absl::Status status_;
  ParsedCheckpoint parsed_;
  wire::TableView table_;
  wire::ReferenceTable reference_;
};

std::string Floats(int64_t offset, int64_t count) {
  return test::Tensor(test::Storage("FloatStorage", "0", 16), offset, {count}, {1});
}

// A dict of several items.
std::string Items(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string text = "}(";
  for (const auto& [key, value] : items) text += Text(key) + value;
  return text + "u";
}

std::string File(const std::string& root) { return test::TorchFile(test::Pickle(root)); }

using Names = std::set<std::string>;

TEST(TorchFormat, TensorsAtTheTopAreTheCheckpoint) {
  const Read read(File(Items({{"a.weight", Floats(0, 4)},
                              {"model", Dict("w", Floats(4, 4))},
                              {"epoch", test::Int(3)},
                              {"b", Floats(8, 4)}})));
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_EQ(read.format(), "torch");
  EXPECT_EQ(read.names(), (Names{"a.weight", "b"}));
}

TEST(TorchFormat, TheOneStateDictOfATrainersCheckpointIsMeant) {
  for (const char* key : {"state_dict", "model_state_dict", "model", "module", "net", "ema",
                          "ema_state_dict", "params", "params_ema", "weights"}) {
    const Read read(File(Items({{"optimizer", Dict("state", Dict("0", Floats(8, 4)))},
                                {key, Dict("w", Floats(0, 4))},
                                {"epoch", test::Int(3)}})));
    ASSERT_TRUE(read.status().ok()) << read.status();
    EXPECT_EQ(read.names(), Names{"w"}) << key;
  }
}

TEST(TorchFormat, OfSeveralStateDictsTheLoadConfigurationChooses) {
  const std::string file =
      File(Items({{"model", Items({{"w", Floats(0, 4)}})},
                  {"ema", Items({{"w", Floats(4, 4)}, {"deep", Dict("v", Floats(8, 2))}})}}));
  const Read undecided(file);
  const wire::ErrorInfo info = wire::GetErrorInfo(undecided.status());
  EXPECT_EQ(info.reason, wire::Reason::kFieldInvalid) << undecided.status();
  EXPECT_EQ(info.metadata.at("choices"), "model., ema.");
  EXPECT_NE(info.hint.find("key_prefix"), std::string::npos);

  const Read ema(file, {.key_prefix = "ema."});
  ASSERT_TRUE(ema.status().ok()) << ema.status();
  EXPECT_EQ(ema.names(), (Names{"w", "deep.v"}));
  const Read deep(file, {.key_prefix = "ema.deep."});
  EXPECT_EQ(deep.names(), Names{"v"});
}

TEST(TorchFormat, APrefixThatIsNoKeyChoosesWithinTheStateDict) {
  const Read read(
      File(Dict("state_dict", Items({{"net.w", Floats(0, 4)}, {"loss.w", Floats(4, 4)}}))),
      {.key_prefix = "net."});
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_EQ(read.names(), Names{"w"});
}

TEST(TorchFormat, WithoutAKnownKeyEverythingIsFlattened) {
  const Read read(File(Items({{"encoder", Dict("a", "](" + Floats(0, 1) + Floats(1, 1) + "e")},
                              {"decoder", Dict("a", Floats(2, 1))}})));
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_EQ(read.names(), (Names{"encoder.a.0", "encoder.a.1", "decoder.a"}));
}

TEST(TorchFormat, ATensorOrAListByItselfIsNamedByIndex) {
  EXPECT_EQ(Read(File(Floats(0, 4))).names(), Names{"0"});
  EXPECT_EQ(Read(File("](" + Floats(0, 4) + Floats(4, 4) + "e")).names(), (Names{"0", "1"}));
}

TEST(TorchFormat, TensorsThatShareBytesAreAliasesAndOthersAreNot) {
  const Read read(File(Items({{"tied", Floats(0, 4)},
                              {"same", Floats(0, 4)},
                              {"apart", Floats(8, 4)},
                              {"empty", Floats(2, 0)}})));
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_TRUE(read.entry("tied").alias);
  EXPECT_TRUE(read.entry("same").alias);
  EXPECT_FALSE(read.entry("apart").alias);
  EXPECT_FALSE(read.entry("empty").alias);
  EXPECT_EQ(read.entry("tied").offset, read.entry("same").offset);
  EXPECT_EQ(read.entry("apart").offset, read.entry("tied").offset + 32);
}

TEST(TorchFormat, ViewsKeepTheirStridesAndOffsets) {
  const Read read(
      File(Dict("v", test::Tensor(test::Storage("ShortStorage", "1", 24), 3, {2, 3}, {1, 4}))));
  ASSERT_TRUE(read.status().ok()) << read.status();
  const wire::TensorEntry entry = read.entry("v");
  EXPECT_EQ(entry.dtype, wire::DType::kI16);
  EXPECT_EQ(std::vector(entry.strides.begin(), entry.strides.end()), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(entry.size_bytes, 20u);  // elements 3 to 12
}

TEST(TorchFormat, SmallValuesAtTheTopBecomeMetadata) {
  const Read read(File(Items({{"w", Floats(0, 4)},
                              {"epoch", test::Int(-3)},
                              {"arch", Text("net")},
                              {"best", "\x88"},
                              {"history", "]"},
                              {"long", Text(std::string(1000, 'x'))}})));
  EXPECT_EQ(read.metadata(), (std::map<std::string, std::string>{
                                 {"epoch", "-3"}, {"arch", "net"}, {"best", "true"}}));
}

TEST(TorchFormat, AnArchiveIsKnownByItsFirstRecordWhereACacheTookItsName) {
  const std::string file = File(Dict("w", Floats(0, 4)));
  EXPECT_EQ(Read(file, {}, "5f3c91aa").format(), "torch");
  // Somebody else's archive is nobody's business, unless it is called like a checkpoint.
  const std::string other = test::WriteZip({{.name = "word/document.xml", .bytes = "<x/>"}}).bytes;
  EXPECT_EQ(Read(other, {}, "letter.docx").format(), "blob");
  EXPECT_NE(std::string(Read(other, {}, "model.pth").status().message()).find("data.pkl"),
            std::string::npos);
}

TEST(TorchFormat, WhatIsOlderThanArchivesIsRefusedWithTheLineThatConverts) {
  const std::string legacy("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8\x50\x19.", 15);
  const Read read(legacy, {}, "old.pth");
  EXPECT_EQ(wire::GetReason(read.status()), wire::Reason::kFormatUnsupported);
  EXPECT_NE(std::string(read.status().message()).find("before 1.6"), std::string::npos);
  EXPECT_NE(wire::GetErrorInfo(read.status()).hint.find("python3 -c"), std::string::npos);
}

// A module of one class with a parameter, a list and a submodule that shares the parameter.
std::string ScriptFile(const std::string& constants) {
  const auto object = [](std::string_view name, const std::string& state) {
    return test::Global("__torch__", name) + ")\x81" + state + "b";
  };
  const std::string list = test::Global("torch.jit._pickle", "build_tensorlist") + "](" +
                           Floats(4, 2) + Floats(6, 2) + "e\x85R";
  const std::string tagged = test::Global("torch.jit._pickle", "restore_type_tag") +
                             Dict("k", Floats(8, 2)) + Text("Dict[str, Tensor]") + "\x86R";
  const std::string root =
      object("Net", Items({{"weight", Floats(0, 4)},
                           {"training", "\x89"},
                           {"list", list},
                           {"dict", tagged},
                           {"inner", object("Inner", Dict("weight", Floats(0, 4)))}}));
  return test::WriteZip({{.name = "net/data.pkl", .bytes = test::Pickle(root)},
                         {.name = "net/data/0", .bytes = std::string(64, '0')},
                         {.name = "net/constants/0", .bytes = std::string(64, '1')},
                         {.name = "net/constants.pkl", .bytes = constants},
                         {.name = "net/code/__torch__.py", .bytes = "class Net", .deflate = true},
                         {.name = "net/extra/note", .bytes = "hello"},
                         {.name = "net/version", .bytes = "3\n"}})
      .bytes;
}

TEST(TorchScriptFormat, TensorsHaveTheNamesOfTheModuleAndTheRestIsSmallFiles) {
  const Read read(ScriptFile(test::Pickle(Floats(0, 16) + "\x85")));
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_EQ(read.format(), "torchscript");
  EXPECT_EQ(read.names(),
            (Names{"weight", "list.0", "list.1", "dict.k", "inner.weight", "constants.0"}));
  EXPECT_TRUE(read.entry("inner.weight").alias);
  const auto text = [&read](std::string_view name) {
    const auto file = read.reference().find_file(name);
    return file ? std::string(reinterpret_cast<const char*>(file->bytes.data()), file->bytes.size())
                : "none";
  };
  EXPECT_EQ(text("code/__torch__.py"), "class Net");
  EXPECT_EQ(text("extra/note"), "hello");
  EXPECT_EQ(text("version"), "3\n");
  EXPECT_EQ(text("data/0"), "none");
  EXPECT_EQ(text("constants/0"), "none");
  using namespace std::string_literals;
  const std::string records = text(kTorchScriptRecords);
  EXPECT_NE(records.find("data/0\0"s + "64\0"s + "16\0"s + "F32\0list.0\0"s), std::string::npos);
  EXPECT_NE(records.find("constants/0\0"s + "64\0"s + "0\0"s + "F32\0constants.0\0"s),
            std::string::npos);
}

TEST(TorchScriptFormat, ConstantsGetKeysOfTheirOwn) {
  const Read read(ScriptFile(test::Pickle(Floats(0, 16) + "\x85")));
  const auto file = read.reference().find_file(kTorchScriptConstants);
  ASSERT_TRUE(file);
  const auto storage = test::Storage("FloatStorage", "constants/0", 16);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->bytes.data()), file->bytes.size()),
            test::Pickle(test::Tensor(storage, 0, {16}, {1}) + "\x85"));
  EXPECT_FALSE(Read(ScriptFile(test::Pickle(")"))).reference().find_file(kTorchScriptConstants));
}

TEST(TorchScriptFormat, SaysWhichStridesAreNotThoseOfRowMajorOrder) {
  using namespace std::string_literals;
  const auto strides = [](const std::string& constants) {
    const Read read(ScriptFile(test::Pickle(constants)));
    const auto file = read.reference().find_file(kTorchScriptStrides);
    return file ? std::string(reinterpret_cast<const char*>(file->bytes.data()), file->bytes.size())
                : "none";
  };
  const std::string storage = test::Storage("FloatStorage", "0", 16);
  EXPECT_EQ(strides(test::Tensor(storage, 0, {4, 4}, {1, 4}) + "\x85"), "constants.0\0001,4\000"s);
  EXPECT_EQ(strides(test::Tensor(storage, 0, {4, 4}, {4, 1}) + "\x85"), "");
}

TEST(TorchScriptFormat, AnArchiveDoesNotSpeakForModeld) {
  const Read read(test::WriteZip({{.name = "net/data.pkl", .bytes = test::Pickle(")")},
                                  {.name = "net/constants.pkl", .bytes = test::Pickle(")")},
                                  {.name = "net/.modeld/records", .bytes = "data/0"},
                                  {.name = "net/.modeld/other", .bytes = "x"}})
                      .bytes);
  ASSERT_TRUE(read.status().ok()) << read.status();
  EXPECT_TRUE(read.reference().find_file(kTorchScriptRecords)->bytes.empty());
  EXPECT_FALSE(read.reference().find_file(".modeld/other"));
}

TEST(TorchScriptFormat, ASmallFileThatIsNotSmallIsRefused) {
  const std::string code(65 << 20, ' ');
  const std::string file =
      test::WriteZip({{.name = "net/data.pkl", .bytes = test::Pickle(")")},
                      {.name = "net/constants.pkl", .bytes = test::Pickle(")")},
                      {.name = "net/code/__torch__.py", .bytes = code, .deflate = true}})
          .bytes;
  EXPECT_EQ(wire::GetReason(Read(file).status()), wire::Reason::kFormatUnsupported);
}

}  // namespace
}  // namespace modeld::checkpoint
