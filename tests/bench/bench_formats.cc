// From Acquire to the last of 100,000 tensors, in each format: what a checkpoint costs that is all
// names and no bytes. Files in the page cache, nothing resident; in alternation, medians; beside
// the attach to the same when it is resident.

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench_table.h"
#include "bench_tools.h"
#include "gguf_files.h"
#include "malformed_torch_files.h"
#include "many_tensors.h"
#include "modeld/client.h"
#include "resident.h"
#include "support/checkpoint_writer.h"
#include "support/daemon_fixture.h"
#include "support/zip_writer.h"

namespace modeld::bench {
namespace {

constexpr int kRepetitions = 5;
constexpr int kShards = 10;
constexpr uint32_t kGgmlF32 = 0;

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  if (!file) Die("cannot write " + path);
}

// A directory with an index, as transformers splits a checkpoint.
void WriteSharded(const std::string& path, const test::CheckpointSpec& spec) {
  std::filesystem::create_directory(path);
  std::string map;
  const size_t share = spec.tensors.size() / kShards;
  for (size_t i = 0; i < kShards; ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "model-%05zu-of-%05d.safetensors", i + 1, kShards);
    test::CheckpointSpec part = spec;
    const auto begin = spec.tensors.begin() + static_cast<std::ptrdiff_t>(i * share);
    part.tensors.assign(begin, begin + static_cast<std::ptrdiff_t>(share));
    test::WriteCheckpoint(path + "/" + name, part);
    for (const test::TensorSpec& tensor : part.tensors) {
      map.append(map.empty() ? "" : ",").append("\"" + tensor.name + "\":\"" + name + "\"");
    }
  }
  Write(path + "/model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + map + "}}");
}

// Each class is named in full once and remembered, as pickle does.
std::string Remembered(std::string pickle) {
  const std::string globals[] = {test::Global("torch._utils", "_rebuild_tensor_v2"),
                                 test::Global("torch", "FloatStorage"),
                                 test::Global("collections", "OrderedDict")};
  char index = 0;
  for (const std::string& global : globals) {
    const std::string put = {'q', index};
    const std::string get = {'h', index};
    ++index;
    std::string out;
    size_t from = 0;
    for (size_t at = 0; (at = pickle.find(global, from)) != std::string::npos;) {
      out.append(pickle, from, at - from).append(from == 0 ? global + put : get);
      from = at + global.size();
    }
    pickle = out.append(pickle, from);
  }
  return pickle;
}

// As torch.save writes a state dict: a storage and an entry of the archive for each tensor.
void WriteTorch(const std::string& path, const test::CheckpointSpec& spec) {
  std::string items;
  std::vector<test::ZipEntry> storages;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    const std::string key = std::to_string(i);
    items += test::Text(spec.tensors[i].name) +
             test::Tensor(test::Storage("FloatStorage", key, 16), 0, {4, 4}, {4, 1});
    storages.push_back({.name = "a/data/" + key, .bytes = test::TensorBytes(spec, i)});
  }
  std::vector<test::ZipEntry> entries = {
      {.name = "a/data.pkl", .bytes = test::Pickle(Remembered("}(" + items + "u"))},
      {.name = "a/byteorder", .bytes = "little"}};
  entries.insert(entries.end(), storages.begin(), storages.end());
  entries.push_back({.name = "a/version", .bytes = "3\n"});
  Write(path, test::WriteZip(entries).bytes);
}

void WriteGguf(const std::string& path, const test::CheckpointSpec& spec) {
  std::string head = test::GgufStart(spec.tensors.size(), 0);
  std::string data;
  for (size_t i = 0; i < spec.tensors.size(); ++i) {
    head += test::GgufTensor(spec.tensors[i].name, {4, 4}, kGgmlF32, data.size());
    data += test::TensorBytes(spec, i);
  }
  Write(path, test::Padded(std::move(head)) + data);
}

class Bench {
 public:
  Bench() {
    if (!daemon_.running()) Die("no daemon");
    const test::CheckpointSpec spec = ManyTensors();
    test::WriteCheckpoint(daemon_.root() + "/model.safetensors", spec);
    WriteSharded(daemon_.root() + "/sharded", spec);
    WriteTorch(daemon_.root() + "/model.pt", spec);
    WriteGguf(daemon_.root() + "/model.gguf", spec);
    client_ = Client::Connect(daemon_.endpoint());
  }

  void Run() {
    struct Times {
      std::vector<double> load;
      std::vector<double> attach;
    };
    std::map<std::string, Times> times;
    for (int i = 0; i <= kRepetitions; ++i) {
      for (const char* reference : {"model.safetensors", "sharded", "model.pt", "model.gguf"}) {
        const double load = UsableMillis(reference);
        const double attach = UsableMillis(reference);
        EvictAll(daemon_);
        if (i == 0) continue;  // the first fills the page cache
        times[reference].load.push_back(load);
        times[reference].attach.push_back(attach);
      }
    }
    for (const auto& [reference, each] : times) {
      Print(AtMost("100,000 tensors, " + reference + ": load / attach", Median(each.load),
                   Median(each.attach), "ms", 0));
    }
  }

 private:
  double UsableMillis(const std::string& reference) {
    std::shared_ptr<const Model> model;
    const double millis = TimeMillis([&] {
      model = client_->Acquire({.reference = reference});
      static volatile unsigned char sink;
      sink = *static_cast<const unsigned char*>((*model)[kManyTensors - 1].data);
      (void)sink;
    });
    if (model->size() != kManyTensors) Die(reference + " has not all its tensors");
    return millis;
  }

  test::DaemonFixture daemon_;
  std::shared_ptr<Client> client_;
};

}  // namespace
}  // namespace modeld::bench

int main() {
  return modeld::bench::RunBench([] {
    modeld::bench::Bench().Run();
    return 0;
  });
}
