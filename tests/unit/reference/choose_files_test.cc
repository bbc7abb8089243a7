#include "reference/choose_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/open_checkpoint.h"
#include "wire/error.h"

namespace modeld::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using wire::Reason;

using Names = std::vector<std::string>;

struct Case {
  std::string what;
  Names names;
  Names weights;
  Names companions = {};
  std::string index = {};
};

TEST(ChooseFiles, TakesTheWeightsThatAreMeant) {
  const Case cases[] = {
      {"nothing", {}, {}},
      {"one file", {"model.safetensors"}, {"model.safetensors"}},
      {"a file of any name", {"my weights.safetensors"}, {"my weights.safetensors"}},
      {"safetensors before everything",
       {"model.gguf", "model.onnx", "model.safetensors", "pytorch_model.bin"},
       {"model.safetensors"}},
      {"PyTorch before GGUF", {"model.gguf", "model.pt"}, {"model.pt"}},
      {"GGUF before ONNX", {"model.gguf", "model.onnx"}, {"model.gguf"}},
      {"a graph and its data",
       {"model.onnx", "model.onnx_data"},
       {"model.onnx", "model.onnx_data"}},
      {"an engine", {"model.engine", "config.json"}, {"model.engine"}, {"config.json"}},
      {"shards",
       {"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"},
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}},
      {"shards and their index",
       {"model-00001-of-00001.safetensors", "model.safetensors.index.json", "config.json"},
       {"model-00001-of-00001.safetensors"},
       {"config.json", "model.safetensors.index.json"}},
      {"parts of GGUF",
       {"m-q4-00001-of-00002.gguf", "m-q4-00002-of-00002.gguf"},
       {"m-q4-00001-of-00002.gguf", "m-q4-00002-of-00002.gguf"}},
      {"a variant beside the plain one",
       {"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors"},
       {"diffusion_pytorch_model.safetensors"}},
      {"a variant alone", {"model.fp16.safetensors"}, {"model.fp16.safetensors"}},
      {"shards of a variant beside the plain one",
       {"model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors",
        "model.safetensors"},
       {"model.safetensors"}},
      {"shards of a variant beside plain shards",
       {"model-00001-of-00001.fp16.safetensors", "model-00001-of-00001.safetensors"},
       {"model-00001-of-00001.safetensors"}},
      {"the usual name beside others",
       {"consolidated.safetensors", "model.safetensors"},
       {"model.safetensors"}},
      {"the usual shards beside others",
       {"consolidated.safetensors", "model-00001-of-00001.safetensors"},
       {"model-00001-of-00001.safetensors"}},
      {"one file beside shards of the same name",
       {"model.safetensors", "model-00001-of-00002.safetensors"},
       {"model.safetensors"}},
      {"what trainers leave",
       {"optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state_0.pth", "rng_state.pth",
        "scaler.pt", "training_args.bin", "pytorch_model.bin"},
       {"pytorch_model.bin"}},
      {"the shards of the only index, whatever else is there",
       {"a-00001-of-00001.safetensors", "a.safetensors.index.json", "b.safetensors"},
       {"a-00001-of-00001.safetensors"},
       {"a.safetensors.index.json"}},
      {"shards that nobody else calls so",
       {"one.safetensors", "two.safetensors", "w.safetensors.index.json"},
       {"one.safetensors", "two.safetensors"},
       {"w.safetensors.index.json"}},
      {"the index that is named",
       {"a-00001-of-00001.safetensors", "a.safetensors.index.json", "model.safetensors"},
       {"a-00001-of-00001.safetensors"},
       {"a.safetensors.index.json"},
       "a.safetensors.index.json"},
      {"an index of another kind",
       {"model.safetensors", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"},
       {"pytorch_model-00001-of-00001.bin"},
       {"pytorch_model.bin.index.json"},
       "pytorch_model.bin.index.json"},
      {"small files",
       {"tokenizer.json", "tokenizer.model", "merges.txt", "vocab.bpe", "chat_template.jinja",
        "modeling.py", "README.md", "photo.png", ".gitattributes", ".hidden.json"},
       {},
       {"chat_template.jinja", "merges.txt", "modeling.py", "tokenizer.json", "tokenizer.model",
        "vocab.bpe"}},
      {"hidden files are not there", {".model.safetensors", "._model.safetensors"}, {}},
      {"an ending alone is no name", {".safetensors", ".bin"}, {}},
      {"a pipeline has no weights of its own",
       {"model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors"},
       {},
       {"model_index.json"}},
      {"names that only look like shards",
       {"model-1-of-2.safetensors"},
       {"model-1-of-2.safetensors"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const auto choice = ChooseFiles(c.names, "/d", c.index);
    ASSERT_TRUE(choice.ok()) << choice.status();
    EXPECT_EQ(choice->weights, c.weights);
    if (!c.companions.empty()) {
      EXPECT_EQ(choice->companions, c.companions);
    }
    EXPECT_EQ(choice->empty(), choice->weights.empty() && choice->companions.empty());
  }
}

TEST(ChooseFiles, KnowsAPipelineByItsIndex) {
  EXPECT_TRUE(ChooseFiles(Names{"model_index.json"}, "/d")->pipeline);
  EXPECT_FALSE(ChooseFiles(Names{"config.json"}, "/d")->pipeline);
}

TEST(ChooseFiles, ListsTheChoicesWhereItIsNotClear) {
  const Names cases[] = {
      {"a.safetensors", "b.safetensors"},
      {"m-q4.gguf", "m-q8.gguf", "config.json"},
      {"consolidated.00.pth", "consolidated.01.pth"},
      {"sd-v1.5.safetensors", "sd-v1.safetensors"},
      {"model-00001-of-00001.safetensors", "model-00001-of-00002.safetensors",
       "model-00002-of-00002.safetensors"},
  };
  for (const Names& names : cases) {
    const auto choice = ChooseFiles(names, "/d");
    ASSERT_FALSE(choice.ok()) << choice->weights.front();
    const auto info = wire::GetErrorInfo(choice.status());
    EXPECT_EQ(info.reason, Reason::kFieldInvalid);
    EXPECT_THAT(std::string(choice.status().message()), HasSubstr("`/d/" + names[0] + "`"));
    EXPECT_THAT(info.metadata.at("choices"), HasSubstr("/d/" + names[1]));
    EXPECT_FALSE(info.hint.empty());
  }
  const auto choice = ChooseFiles(Names{"a-00001-of-00001.safetensors", "a.safetensors.index.json",
                                        "b.safetensors", "b.safetensors.index.json"},
                                  "/d");
  EXPECT_THAT(wire::GetErrorInfo(choice.status()).metadata.at("choices"),
              HasSubstr("/d/a.safetensors.index.json"));
}

TEST(ChooseFiles, AMessageDoesNotGrowWithTheDirectory) {
  Names names;
  for (int i = 0; i < 10'000; ++i) names.push_back(std::to_string(i) + ".safetensors");
  const auto choice = ChooseFiles(names, "/d");
  EXPECT_LT(choice.status().message().size(), 2000u);
  EXPECT_THAT(std::string(choice.status().message()), HasSubstr("10000 checkpoints"));
}

TEST(ChooseFiles, NamesTheShardThatIsMissing) {
  const std::pair<Names, std::string> cases[] = {
      {{"model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"},
       "model-00002-of-00003.safetensors"},
      {{"m.fp16-00002-of-00002.gguf"}, "m.fp16-00001-of-00002.gguf"},
      {{"m-00001-of-00002.fp16.safetensors"}, "m-00002-of-00002.fp16.safetensors"},
      {{"model.safetensors.index.json", "config.json"}, "model.safetensors.index.json"},
  };
  for (const auto& [names, missing] : cases) {
    const auto choice = ChooseFiles(names, "/d");
    const auto info = wire::GetErrorInfo(choice.status());
    EXPECT_EQ(info.reason, Reason::kCheckpointNotFound) << choice.status();
    EXPECT_EQ(info.metadata.at("missing"), missing);
    EXPECT_THAT(std::string(choice.status().message()), HasSubstr("`" + missing + "`"));
  }
}

TEST(ChooseFiles, AnIndexWithoutItsShardsDoesNotHideOtherWeights) {
  const auto choice = ChooseFiles(Names{"model.safetensors.index.json", "pytorch_model.bin"}, "/d");
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_THAT(choice->weights, ElementsAre("pytorch_model.bin"));
}

TEST(ChooseFiles, AShardTooManyIsRefused) {
  const auto choice =
      ChooseFiles(Names{"m-00000-of-00001.safetensors", "m-00001-of-00001.safetensors"}, "/d");
  EXPECT_EQ(wire::GetReason(choice.status()), Reason::kFieldInvalid) << choice.status();
}

TEST(ChooseFiles, MoreShardsThanACheckpointMayHaveAreRefused) {
  Names names;
  for (int i = 1; i <= 300; ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "m-%05d-of-00300.safetensors", i);
    names.emplace_back(name);
  }
  EXPECT_EQ(wire::GetReason(ChooseFiles(names, "/d").status()), Reason::kFormatUnsupported);
}

TEST(IsShardIndexName, KnowsTheIndexOfEveryKind) {
  EXPECT_TRUE(IsShardIndexName("model.safetensors.index.json"));
  EXPECT_TRUE(IsShardIndexName("pytorch_model.bin.index.json"));
  EXPECT_FALSE(IsShardIndexName("model_index.json"));
  EXPECT_FALSE(IsShardIndexName("faiss.index.json"));
  EXPECT_FALSE(IsShardIndexName("model.safetensors"));
}

}  // namespace
}  // namespace modeld::reference
