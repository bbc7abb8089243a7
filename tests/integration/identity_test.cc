// One copy of equal content, through the real daemon, parser and agent.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "malformed_torch_files.h"
#include "modeld/client.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/processes.h"
#include "support/rpc_client.h"
#include "support/thrown_error.h"

namespace modeld::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class Identity : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.running());
    client_ = Client::Connect(daemon_.endpoint());
  }

  std::string Path(const std::string& name) { return daemon_.root() + "/" + name; }
  std::string Write(const std::string& name, const CheckpointSpec& spec) {
    return WriteCheckpoint(Path(name), spec);
  }
  void WriteBytes(const std::string& name, const std::string& bytes) {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }
  std::shared_ptr<const Model> Acquire(const ModelSpec& spec) { return client_->Acquire(spec); }
  std::shared_ptr<const Model> Acquire(const std::string& reference) {
    return Acquire(ModelSpec{.reference = reference});
  }
  std::string DigestOf(const Model& model) {
    EXPECT_TRUE(Eventually([&] { return !model.digest().empty(); }));
    return model.digest();
  }
  std::vector<v1::Residency> List() {
    auto list = RpcClient(daemon_.socket()).List();
    EXPECT_TRUE(list.ok()) << list.status();
    return *std::move(list);
  }
  uint64_t ResidentBytes() {
    return RpcClient(daemon_.socket()).HostDevice().value().resident_bytes();
  }
  static bool SameBytes(const TensorView& a, const TensorView& b) {
    return a.size_bytes == b.size_bytes && std::memcmp(a.data, b.data, a.size_bytes) == 0;
  }

  DaemonFixture daemon_{{.host_capacity = "512MiB"}};
  std::shared_ptr<Client> client_;
};

TEST_F(Identity, TwoFilesWithEqualWeightsAreOneCopyAndKeepTheirOwnMetadata) {
  CheckpointSpec spec = LargeSpec(16 << 20);
  spec.metadata = {{"step", "1"}};
  Write("one.safetensors", spec);
  spec.metadata = {{"step", "2"}, {"note", "the same weights"}};
  spec.data_alignment = 64;
  spec.data_shift = 4;
  Write("two.safetensors", spec);

  const auto one = Acquire("one.safetensors");
  const auto two = Acquire("two.safetensors");
  EXPECT_EQ(one->residency_id(), two->residency_id());
  EXPECT_EQ(one->metadata("step"), "1");
  EXPECT_EQ(two->metadata("step"), "2");
  EXPECT_EQ(two->metadata("note"), "the same weights");
  const auto list = List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_THAT(list[0].references(), ElementsAre("one.safetensors", "two.safetensors"));
  EXPECT_EQ(list[0].lease_count(), 2u);
}

// As .pt, as .safetensors and as a directory of shards.
TEST_F(Identity, TheFormatDoesNotMatter) {
  const auto entries =
      TorchEntries(Pickle(Dict("w", Tensor(Storage("FloatStorage", "0", 16), 0, {4, 4}, {4, 1}))));
  const auto storage = std::ranges::find_if(
      entries, [](const ZipEntry& entry) { return entry.name.ends_with("data/0"); });
  ASSERT_NE(storage, entries.end());
  WriteBytes("model.pt", WriteZip(entries).bytes);
  const auto safetensors = [&](const std::string& name) {
    std::string header = R"({"w":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}})";
    header.append((8 - header.size() % 8) % 8, ' ');
    const uint64_t size = header.size();
    WriteBytes(name, std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header +
                         storage->bytes);
  };
  safetensors("model.safetensors");
  std::filesystem::create_directory(Path("sharded"));
  safetensors("sharded/model-00001-of-00001.safetensors");
  WriteBytes("sharded/model.safetensors.index.json",
             R"({"weight_map": {"w": "model-00001-of-00001.safetensors"}})");
  WriteBytes("sharded/tokenizer.json", "{}");

  const auto torch = Acquire("model.pt");
  const auto plain = Acquire("model.safetensors");
  const auto sharded = Acquire("sharded");
  EXPECT_EQ(plain->residency_id(), torch->residency_id());
  EXPECT_EQ(sharded->residency_id(), torch->residency_id());
  EXPECT_EQ(std::memcmp(torch->at("w").data, storage->bytes.data(), 64), 0);
  EXPECT_EQ(torch->file_count(), 0u);
  EXPECT_TRUE(sharded->file("tokenizer.json"));
  EXPECT_THAT(List().at(0).references(), ElementsAre("model.pt", "model.safetensors", "sharded"));
}

// Two pipelines with one text encoder, and tokenizers of their own.
TEST_F(Identity, PipelinesShareTheComponentsThatAreTheSame) {
  for (const std::string pipeline : {"one", "two"}) {
    for (const char* component : {"", "/text_encoder", "/unet", "/tokenizer"}) {
      std::filesystem::create_directories(Path(pipeline + component));
    }
    WriteBytes(pipeline + "/model_index.json", "{}");
    Write(pipeline + "/text_encoder/model.safetensors", LargeSpec(8 << 20, 4, 1));
    Write(pipeline + "/unet/diffusion_pytorch_model.safetensors",
          LargeSpec(8 << 20, 4, pipeline == "one" ? 2 : 3));
    WriteBytes(pipeline + "/tokenizer/vocab.json", "{\"" + pipeline + "\": 0}");
  }
  EXPECT_EQ(Acquire("one")->metadata("components"), "text_encoder,tokenizer,unet");
  const auto one = Acquire("one/text_encoder");
  const auto two = Acquire("two/text_encoder");
  EXPECT_EQ(one->residency_id(), two->residency_id());
  EXPECT_NE(Acquire("one/unet")->residency_id(), Acquire("two/unet")->residency_id());
  const auto vocabulary = [&](const std::string& reference) {
    const auto model = Acquire(reference);
    const auto file = model->file("vocab.json");
    return file ? std::string(reinterpret_cast<const char*>(file->bytes.data()), file->bytes.size())
                : std::string();
  };
  EXPECT_EQ(vocabulary("one/tokenizer"), "{\"one\": 0}");
  EXPECT_EQ(vocabulary("two/tokenizer"), "{\"two\": 0}");
}

TEST_F(Identity, ManyNamesAtOnceAreOneLoad) {
  const CheckpointSpec spec = LargeSpec(32 << 20);
  for (int i = 0; i < 6; ++i) Write("copy" + std::to_string(i) + ".safetensors", spec);
  std::vector<std::shared_ptr<const Model>> models(6);
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back(
        [&, i] { models[i] = Acquire("copy" + std::to_string(i) + ".safetensors"); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& model : models) EXPECT_EQ(model->residency_id(), models[0]->residency_id());
  EXPECT_EQ(ResidentBytes(), List().at(0).own_bytes());
}

TEST_F(Identity, FilesOfOneShapeAndOtherValuesAreNotConfused) {
  const CheckpointSpec one = LargeSpec(8 << 20, 4, /*seed=*/1);
  CheckpointSpec two = LargeSpec(8 << 20, 4, /*seed=*/2);
  Write("one.safetensors", one);
  Write("two.safetensors", two);
  const auto a = Acquire("one.safetensors");
  const auto b = Acquire("two.safetensors");
  EXPECT_NE(a->residency_id(), b->residency_id());
  EXPECT_NE(DigestOf(*a), DigestOf(*b));
  for (size_t i = 0; i < two.tensors.size(); ++i) {
    const std::string expected = TensorBytes(two, i);
    EXPECT_EQ(std::memcmp(b->at(two.tensors[i].name).data, expected.data(), expected.size()), 0);
  }
}

// A difference that no sample sees: in the last byte of the file.
TEST_F(Identity, ADifferenceThatNoSampleSeesIsFound) {
  const std::string one = Write("one.safetensors", LargeSpec(8 << 20));
  const std::string two = Path("two.safetensors");
  std::filesystem::copy_file(one, two);
  std::FILE* file = std::fopen(two.c_str(), "r+b");
  std::fseek(file, -1, SEEK_END);
  const int last = std::fgetc(file);
  std::fseek(file, -1, SEEK_END);
  std::fputc(last ^ 1, file);
  std::fclose(file);
  const auto a = Acquire("one.safetensors");
  const auto b = Acquire("two.safetensors");
  EXPECT_NE(a->residency_id(), b->residency_id());
  EXPECT_NE(DigestOf(*a), DigestOf(*b));
  // All other tensors are the same, and there once.
  const auto list = List();
  ASSERT_THAT(list, SizeIs(2));
  EXPECT_GT(list[1].shared_bytes(), 0u);
  EXPECT_LT(list[1].own_bytes(), list[0].own_bytes());
}

TEST_F(Identity, ADigestIsRememberedAcrossRestarts) {
  DaemonFixture daemon(
      {.host_capacity = "512MiB", .args = {"--state-dir", daemon_.directory() + "/s"}});
  ASSERT_TRUE(daemon.running());
  const std::string one = WriteCheckpoint(daemon.root() + "/one.safetensors", LargeSpec(8 << 20));
  const std::string two = daemon.root() + "/two.safetensors";
  std::filesystem::copy_file(one, two);
  const auto wait_for_ctime = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  ASSERT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() > wait_for_ctime; }));
  {
    const auto client = Client::Connect(daemon.endpoint());
    const auto a = client->Acquire({.reference = "one.safetensors"});
    const auto b = client->Acquire({.reference = "two.safetensors"});
    ASSERT_TRUE(Eventually([&] { return !a->digest().empty(); }));
  }
  const auto cached = [&] {
    std::error_code error;
    size_t count = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(daemon_.directory() + "/s/digests", error)) {
      count += entry.path().filename().string().find('.') == std::string::npos;
    }
    return count;
  };
  ASSERT_TRUE(Eventually([&] { return cached() == 2; }));
  daemon.Stop();
  daemon.Start();
  // A wrong digest is known to be wrong before anything is loaded.
  const auto client = Client::Connect(daemon.endpoint());
  const Error refused = ThrownBy([&] {
    client->Acquire(
        {.reference = "two.safetensors", .expected_digest = "sha256:" + std::string(64, '0')});
  });
  EXPECT_EQ(refused.reason(), "DIGEST_MISMATCH");
  const auto events = RpcClient(daemon.socket()).Events(100);
  ASSERT_TRUE(events.ok()) << events.status();
  const auto start = std::ranges::find_if(events->rbegin(), events->rend(), [](const auto& event) {
    return event.type() == v1::Event::DAEMON_STARTED;
  });
  for (auto event = start.base(); event != events->end(); ++event) {
    EXPECT_NE(event->type(), v1::Event::LOAD_STARTED);
  }
}

TEST_F(Identity, AMergeSharesTheTensorsThatItLeftAlone) {
  CheckpointSpec base = LargeSpec(32 << 20, 8);
  Write("base.safetensors", base);
  const auto one = Acquire("base.safetensors");
  DigestOf(*one);
  const uint64_t before = ResidentBytes();

  // The same but for the last tensor, which has another name and so other values.
  CheckpointSpec merge = base;
  merge.tensors.back().name = "changed.weight";
  merge.tensors.back().shape.front() += 4;
  Write("merge.safetensors", merge);
  const auto two = Acquire("merge.safetensors");
  for (size_t i = 0; i < merge.tensors.size(); ++i) {
    const std::string expected = TensorBytes(merge, i);
    const TensorView tensor = two->at(merge.tensors[i].name);
    ASSERT_EQ(tensor.size_bytes, expected.size());
    EXPECT_EQ(std::memcmp(tensor.data, expected.data(), expected.size()), 0) << tensor.name;
  }
  const auto list = List();
  ASSERT_THAT(list, SizeIs(2));
  EXPECT_GT(list[1].shared_bytes(), 20u << 20);
  EXPECT_EQ(ResidentBytes(), before + list[1].own_bytes());
  EXPECT_LT(list[1].own_bytes(), 8u << 20);
}

TEST_F(Identity, WhatIsBorrowedOutlivesTheLender) {
  const CheckpointSpec base = LargeSpec(32 << 20, 8);
  Write("base.safetensors", base);
  CheckpointSpec merge = base;
  merge.tensors.back().name = "changed.weight";
  Write("merge.safetensors", merge);
  std::string base_id;
  {
    const auto one = Acquire("base.safetensors");
    DigestOf(*one);
    base_id = one->residency_id();
  }
  const auto two = Acquire("merge.safetensors");
  RpcClient admin(daemon_.socket("admin.sock"));
  ASSERT_TRUE(Eventually([&] { return admin.Evict(base_id).ok(); }));
  EXPECT_EQ(std::memcmp(two->at(base.tensors[0].name).data, TensorBytes(base, 0).data(),
                        base.tensors[0].size_bytes()),
            0);
  const auto list = List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_GT(list[0].stranded_bytes(), 0u);
  EXPECT_EQ(ResidentBytes(), list[0].size_bytes());
  // A new modeld takes it over, and then a new agent.
  daemon_.Kill(SIGKILL);
  daemon_.Start();
  ASSERT_TRUE(Eventually([&] { return two->state() == Model::State::kHeld; }));
  EXPECT_EQ(ResidentBytes(), list[0].size_bytes());
  daemon_.KillAgent();
  const auto again =
      Client::Connect(daemon_.endpoint())->Acquire({.reference = "merge.safetensors"});
  EXPECT_EQ(again->residency_id(), two->residency_id());
  EXPECT_TRUE(SameBytes(again->at(base.tensors[1].name), two->at(base.tensors[1].name)));
}

TEST_F(Identity, PartsOfACheckpointAreResidenciesOfTheirOwn) {
  CheckpointSpec spec;
  spec.tensors = {{"ema.w", wire::DType::kF32, {1024}},
                  {"ema.b", wire::DType::kF32, {16}},
                  {"model.w", wire::DType::kF32, {1024}}};
  Write("train.safetensors", spec);
  const auto ema = Acquire(
      {.reference = "train.safetensors", .config = {.exclude = {"b"}, .key_prefix = "ema."}});
  ASSERT_EQ(ema->size(), 1u);
  EXPECT_EQ((*ema)[0].name, "w");
  EXPECT_EQ(std::memcmp(ema->at("w").data, TensorBytes(spec, 0).data(), 4096), 0);
  const Error nothing = ThrownBy(
      [&] { Acquire({.reference = "train.safetensors", .config = {.key_prefix = "optimizer."}}); });
  EXPECT_EQ(nothing.reason(), "FIELD_INVALID");
  EXPECT_THAT(nothing.what(), HasSubstr("ema., model."));
}

TEST_F(Identity, ACastThatEqualsAnotherFileIsThatFilesCopy) {
  CheckpointSpec wide;
  wide.tensors = {{"w", wire::DType::kF32, {512, 512}}};
  Write("wide.safetensors", wide);
  const auto narrow = Acquire({.reference = "wide.safetensors", .config = {.cast = "BF16"}});
  EXPECT_EQ(DTypeName(narrow->at("w").dtype), "BF16");
  EXPECT_EQ(narrow->at("w").size_bytes, 512u * 512 * 2);
  const std::string digest = DigestOf(*narrow);
  const auto same = Acquire(digest);
  EXPECT_EQ(same->residency_id(), narrow->residency_id());
  EXPECT_NE(Acquire("wide.safetensors")->residency_id(), narrow->residency_id());
}

TEST_F(Identity, AnExpectedDigestIsHeldTo) {
  Write("m.safetensors", SmallSpec());
  const std::string digest = DigestOf(*Acquire("m.safetensors"));
  EXPECT_NO_THROW(Acquire({.reference = "m.safetensors", .expected_digest = digest}));
  const Error wrong = ThrownBy([&] {
    Acquire({.reference = "m.safetensors", .expected_digest = "sha256:" + std::string(64, 'a')});
  });
  EXPECT_EQ(wrong.reason(), "DIGEST_MISMATCH");
  EXPECT_THAT(wrong.what(), HasSubstr(digest));
}

}  // namespace
}  // namespace modeld::test
