// Digests of tensors against libcrypto's SHA-256 of the same bytes by itself, which is what
// `openssl speed -evp sha256` measures. A residency is digested by one thread, so both are held to
// one core. In alternation, medians.

#include <openssl/evp.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench_table.h"
#include "wire/digest.h"
#include "wire/tensor_table.h"

namespace modeld::bench {
namespace {

constexpr size_t kBytes = 256 << 20;
constexpr int kRepetitions = 5;

double GigabytesPerSecond(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return static_cast<double>(kBytes) / 1e9 / took.count();
}

void BareSha256(std::span<const std::byte> bytes) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  unsigned char digest[32];
  if (EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest, nullptr) != 1) {
    std::abort();
  }
}

// `count` tensors of the same size.
bool Compare(size_t count) {
  std::vector<std::byte> bytes(kBytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  wire::TableBuilder builder;
  builder.AddRegion(kBytes);
  const uint64_t size = kBytes / count;
  for (size_t i = 0; i < count; ++i) {
    const int64_t shape[] = {static_cast<int64_t>(size)};
    const int64_t strides[] = {1};
    builder.Add({.name = "layer." + std::to_string(i),
                 .shape = shape,
                 .strides = strides,
                 .offset = i * size,
                 .size_bytes = size});
  }
  const std::string table = builder.Build();
  const auto view = wire::TableView::Validate(std::as_bytes(std::span(table)));
  const std::span<const std::byte> segments[] = {bytes};
  std::vector<double> digests;
  std::vector<double> bare;
  for (int i = 0; i <= kRepetitions; ++i) {
    const double ours = GigabytesPerSecond([&] {
      if (!wire::TensorDigests(*view, segments, [] { return true; }).ok()) std::abort();
    });
    const double theirs = GigabytesPerSecond([&] { BareSha256(bytes); });
    if (i == 0) continue;  // the first touch of the memory
    digests.push_back(ours);
    bare.push_back(theirs);
  }
  const Row row =
      AtLeast("digests of " + std::to_string(count) + " tensors / libcrypto SHA-256 x 1 core",
              Median(digests), Median(bare), "GB/s", 0.85);
  Print(row);
  return row.holds;
}

}  // namespace
}  // namespace modeld::bench

int main() {
  bool holds = true;
  for (const size_t count : {16, 1024, 65536}) holds = modeld::bench::Compare(count) && holds;
  return holds ? 0 : 1;
}
