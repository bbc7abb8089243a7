// Files that the formats' own writers write, read as they say they are. Skipped where Python's
// packages gguf, safetensors and numpy are not installed; MODELD_TEST_PYTHON names an interpreter.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "parsed_files.h"
#include "support/temp_dir.h"

namespace modeld::checkpoint {
namespace {

using test::ParsedFiles;

class EcosystemTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Run("import gguf, numpy, safetensors.numpy") != 0) {
      GTEST_SKIP() << "`" << Python() << "` has not all of gguf, safetensors and numpy "
                   << "(pip install gguf safetensors numpy; MODELD_TEST_PYTHON)";
    }
  }

  static std::string Python() {
    const char* named = std::getenv("MODELD_TEST_PYTHON");
    return named != nullptr ? named : "python3";
  }

  // In the test's directory, with what it prints in `out`.
  int Run(const std::string& script) {
    dir_.Write("script.py", script);
    const std::string command =
        "cd '" + dir_.path() + "' && '" + Python() + "' script.py > out 2> err";
    return std::system(command.c_str());
  }

  // `name dtype dim,dim offset size first-bytes-in-hex` of each tensor, sorted by name.
  static std::string Told(const ParsedFiles& files) {
    std::ostringstream text;
    for (size_t i = 0; i < files.view().size(); ++i) {
      const wire::TensorEntry entry = files.view().entry(i);
      text << entry.name << " " << wire::DTypeName(entry.dtype) << " ";
      for (size_t d = 0; d < entry.shape.size(); ++d) text << (d > 0 ? "," : "") << entry.shape[d];
      text << " " << entry.offset << " " << entry.size_bytes << " ";
      for (const char c : files.BytesOf(entry).substr(0, 16)) {
        char hex[3];
        std::snprintf(hex, sizeof(hex), "%02x", static_cast<unsigned char>(c));
        text << hex;
      }
      text << "\n";
    }
    return text.str();
  }

  std::string Output(const std::string& name) const {
    std::string text;
    if (FILE* file = std::fopen((dir_ / name).c_str(), "r")) {
      char buffer[4096];
      while (const size_t size = std::fread(buffer, 1, sizeof(buffer), file)) {
        text.append(buffer, size);
      }
      std::fclose(file);
    }
    return text;
  }

  test::TempDir dir_;
};

TEST_F(EcosystemTest, WhatGgufPyWritesAndReadsIsReadAlike) {
  ASSERT_EQ(Run(R"(
import gguf, numpy as np
from gguf import GGMLQuantizationType as T
w = gguf.GGUFWriter("m.gguf", "llama")
w.add_uint32("llama.block_count", 7)
w.add_float32("llama.rope.freq_base", 0.1)
w.add_bool("some.flag", True)
w.add_token_list(["<s>", "</s>", "\u00e4"])
w.add_array("some.long", list(range(1000)))
w.add_custom_alignment(64)
rng = np.random.default_rng(1)
for name, dtype in [("f32", np.float32), ("f16", np.float16), ("f64", np.float64), ("i8", np.int8),
                    ("i16", np.int16), ("i32", np.int32), ("i64", np.int64)]:
    w.add_tensor(name, (rng.standard_normal((3, 5)) * 50).astype(dtype))
for kind, (elements, size) in gguf.GGML_QUANT_SIZES.items():
    if elements > 1 and kind != T.Q8_1:
        w.add_tensor("q." + kind.name, rng.integers(0, 255, (4, 3 * size), np.uint8), raw_dtype=kind)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
for t in sorted(gguf.GGUFReader("m.gguf").tensors, key=lambda t: t.name):
    kind = t.tensor_type
    name = kind.name if gguf.GGML_QUANT_SIZES[kind][0] == 1 else "GGML_" + kind.name
    print(t.name, name, ",".join(str(d) for d in reversed(t.shape.tolist())), t.data_offset, t.n_bytes,
          t.data.tobytes()[:16].hex())
)"),
            0)
      << Output("err");
  const ParsedFiles files({dir_ / "m.gguf"});
  ASSERT_TRUE(files.status().ok()) << files.status();
  EXPECT_EQ(files.view().size(), 7u + 25u);
  EXPECT_EQ(Told(files), Output("out"));
  EXPECT_EQ(files.metadata("general.architecture"), "llama");
  EXPECT_EQ(files.metadata("llama.block_count"), "7");
  EXPECT_EQ(files.metadata("llama.rope.freq_base"), "0.1");
  EXPECT_EQ(files.metadata("some.flag"), "true");
  EXPECT_EQ(files.metadata("tokenizer.ggml.tokens"), "[\"<s>\", \"</s>\", \"\xC3\xA4\"]");
  EXPECT_EQ(files.metadata("some.long"), "i32[1000]");
}

TEST_F(EcosystemTest, WhatSafetensorsWritesInShardsIsOneCheckpoint) {
  ASSERT_EQ(Run(R"(
import json, numpy as np
from safetensors.numpy import save_file
names = ["model-%05d-of-00003.safetensors" % i for i in (1, 2, 3)]
weight_map = {}
for i, name in enumerate(names):
    tensors = {"layers.%d.w" % j: np.full((2, 3), j, np.float32) for j in range(i * 4, i * 4 + 4)}
    save_file(tensors, name, metadata={"format": "np"})
    weight_map.update({t: name for t in tensors})
json.dump({"metadata": {"total_size": 12 * 24}, "weight_map": weight_map},
          open("model.safetensors.index.json", "w"), indent=2)
)"),
            0)
      << Output("err");
  const auto shard = [this](int i) {
    return dir_ / ("model-0000" + std::to_string(i) + "-of-00003.safetensors");
  };
  const std::string index = dir_ / "model.safetensors.index.json";
  const ParsedFiles files({shard(1), shard(2), shard(3), index}, 3);
  ASSERT_TRUE(files.status().ok()) << files.status();
  ASSERT_EQ(files.view().size(), 12u);
  const auto entry = files.view().entry(*files.view().find("layers.7.w"));
  EXPECT_EQ(entry.region, 1u);
  float value = 0;
  std::memcpy(&value, files.BytesOf(entry).data(), sizeof(value));
  EXPECT_EQ(value, 7);
}

}  // namespace
}  // namespace modeld::checkpoint
