// Any bytes as the index of a checkpoint of two shards, with the tensors a and b, and c: refused at
// a byte within it, or true.

#include <cstdint>
#include <cstring>
#include <string>

#include "fuzzed_file.h"

namespace {

std::string Shard(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + std::string(data_bytes, 'd');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using modeld::wire::Reason;
  static modeld::fuzz::File one("m-1.safetensors");
  static modeld::fuzz::File two("m-2.safetensors");
  static modeld::fuzz::File index("m.safetensors.index.json");
  static const modeld::checkpoint::InputFile weights[] = {
      one.Holding(Shard(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                        R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                        2)),
      two.Holding(Shard(R"({"c":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1))};
  const std::string text(reinterpret_cast<const char*>(data), size);
  const modeld::checkpoint::InputFile companions[] = {index.Holding(text)};
  const auto parsed = modeld::checkpoint::ParseCheckpoint(weights, companions);
  if (!parsed.ok()) {
    modeld::fuzz::CheckRefusal(parsed.status(), size,
                               {Reason::kCheckpointMalformed, Reason::kCheckpointNotFound});
    return 0;
  }
  const uint64_t sizes[] = {weights[0].size_bytes, weights[1].size_bytes, size};
  if (modeld::fuzz::CheckTables(*parsed, sizes).size() != 3) modeld::fuzz::Fail("tensors got lost");
  // An index that says nothing of a shard is refused, so it names both.
  if (text.find("weight_map") == std::string::npos && text.find('\\') == std::string::npos) {
    modeld::fuzz::Fail("an index without a map");
  }
  return 0;
}
