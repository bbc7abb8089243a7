// The expected digests were computed apart from this code, with Python's hashlib, from the text of
// docs/identity.md.

#include "wire/digest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <thread>

#include "table_fixture.h"
#include "wire/error.h"
#include "wire/strided_reader.h"

namespace modeld::wire {
namespace {

constexpr std::string_view kFloats =
    "9ade371e4015f74492234a2f4deade1d6cfd0da171ace83f2b972d10f7e46f79";
constexpr std::string_view kFloatsTransposed =
    "1445ff4917eb16df47f09d9b3762233baf3019891ba5d79e881b2d7f5998fcc4";

// Byte i is (7 i + i / 251) mod 256.
std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

template <typename T>
std::vector<std::byte> BytesOf(std::vector<T> values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void Append(std::vector<std::byte>& to, const std::vector<std::byte>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

std::string Hex(const Digest& digest) { return DigestText(digest).substr(strlen("sha256:")); }

struct Digested {
  absl::Status status;
  std::vector<Digest> tensors;
  std::string weights;
};

Digested DigestAll(const TableBuilder& builder, std::vector<std::vector<std::byte>> memory,
                   const std::function<bool()>& keep_going = nullptr) {
  const std::string bytes = builder.Build();
  const auto table = TableView::Validate(AsBytes(bytes));
  if (!table.ok()) return {.status = table.status(), .tensors = {}, .weights = {}};
  std::vector<std::span<const std::byte>> segments(memory.begin(), memory.end());
  auto digests = TensorDigests(*table, segments, keep_going);
  if (!digests.ok()) return {.status = digests.status(), .tensors = {}, .weights = {}};
  return {.status = absl::OkStatus(),
          .tensors = *digests,
          .weights = Hex(WeightsDigest(*table, *digests))};
}

TEST(TensorDigest, OfNoBytes) {
  EXPECT_EQ(Hex(TensorDigest({})),
            "a536aa3cede6ea3c1f3e0357c3c60e0f216a8c89b853df13b29daa8f85065dfb");
}

TEST(TensorDigest, OfOneShortChunk) {
  EXPECT_EQ(Hex(TensorDigest(AsBytes(std::string("abc")))),
            "e26987d728b67586aa85d8f6626087b569458b7f0251510b551392585b845153");
}

TEST(TensorDigest, OfOneWholeChunk) {
  EXPECT_EQ(Hex(TensorDigest(Pattern(4 << 20))),
            "f4ed77e96b4228cb244b57f3f9935c694f4be749131a9f0cbe9c68e04ad8966b");
}

TEST(TensorDigest, OfOneByteMoreThanAChunk) {
  EXPECT_EQ(Hex(TensorDigest(Pattern((4 << 20) + 1))),
            "c268fb8bf0d8ad4c40cdfd5283a249c6dc9294d86578045cf2b7c69e13bb75be");
}

TEST(TensorDigest, OfThreeChunks) {
  EXPECT_EQ(Hex(TensorDigest(Pattern(9 << 20))),
            "95c6df7ae9e4c82ab370abff7400d957ec4b12bda92dfd87ba054324300c140d");
}

TEST(TensorDigest, IsTheSameOnEveryThread) {
  const auto bytes = Pattern((4 << 20) + 1);
  const Digest expected = TensorDigest(bytes);
  std::vector<Digest> digests(4);
  std::vector<std::thread> threads;
  for (Digest& digest : digests) {
    threads.emplace_back([&digest, &bytes] {
      for (int i = 0; i < 3; ++i) digest = TensorDigest(bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(digests, ::testing::Each(expected));
}

TEST(WeightsDigest, OfNoTensors) {
  EXPECT_EQ(DigestAll(TableBuilder(), {}).weights,
            "984f087001ba14c917537dbf6bcd30c6124760c7f378e5291481e4ef189647c5");
}

// b: F32 [2,3] = 1..6; a.weight: BF16 [2] = 1, 2; scalar: I64 [] = -1; empty: U8 [0,4].
void AddFour(TableBuilder& builder, std::vector<std::byte>& memory, Dims shape_of_b = {2, 3}) {
  AddContiguous(builder, "b", DType::kF32, shape_of_b, memory.size());
  Append(memory, BytesOf<float>({1, 2, 3, 4, 5, 6}));
  AddContiguous(builder, "scalar", DType::kI64, {}, memory.size());
  Append(memory, BytesOf<int64_t>({-1}));
  AddContiguous(builder, "a.weight", DType::kBF16, {2}, memory.size());
  Append(memory, BytesOf<uint16_t>({0x3f80, 0x4000}));
  AddContiguous(builder, "empty", DType::kU8, {0, 4}, memory.size());
  builder.AddRegion(memory.size());
}

TEST(WeightsDigest, OfFourTensors) {
  TableBuilder builder;
  std::vector<std::byte> memory;
  AddFour(builder, memory);
  const Digested digested = DigestAll(builder, {memory});
  ASSERT_TRUE(digested.status.ok()) << digested.status;
  ASSERT_EQ(digested.tensors.size(), 4u);
  EXPECT_EQ(Hex(digested.tensors[1]), kFloats) << "in the order of names";
  EXPECT_EQ(digested.weights, "6e743078a0e2f1309f2e9ac849b4e334a4eee05b569a1b03e09c169b512d21de");
}

TEST(WeightsDigest, DependsOnTheShape) {
  TableBuilder builder;
  std::vector<std::byte> memory;
  AddFour(builder, memory, {3, 2});
  EXPECT_EQ(DigestAll(builder, {memory}).weights,
            "01a87c024d29d21d177b896ac235baa1efd3888f56fe7716957c71d39f796917");
}

TEST(WeightsDigest, OfANameThatIsNotAscii) {
  TableBuilder builder;
  builder.AddRegion(3);
  AddContiguous(builder, "é", DType::kU8, {3}, 0);
  EXPECT_EQ(DigestAll(builder, {BytesOf<char>({'a', 'b', 'c'})}).weights,
            "8ce75d8d939873e384bf9cbabbff4bd3cca1021b09119eb558073828388a646e");
}

TEST(WeightsDigest, OfATensorOfSeveralChunks) {
  TableBuilder builder;
  builder.AddRegion(9 << 20);
  AddContiguous(builder, "x", DType::kU8, {9 << 20}, 0);
  EXPECT_EQ(DigestAll(builder, {Pattern(9 << 20)}).weights,
            "a343cb457bb7effb10e980e706d161eae811bbc5befc1a26588efd9ec8b65b03");
}

TEST(WeightsDigest, DoesNotDependOnPlaceOrderMetadataOrAliases) {
  TableBuilder plain;
  std::vector<std::byte> memory;
  AddFour(plain, memory);
  const std::string expected = DigestAll(plain, {memory}).weights;

  // Another order, two regions, gaps, metadata.
  TableBuilder other;
  std::vector<std::byte> first(64);
  std::vector<std::byte> second(64);
  other.AddRegion(64);
  other.AddRegion(64);
  other.AddMetadata("format", "pt");
  AddContiguous(other, "scalar", DType::kI64, {}, 8, 1);
  std::memcpy(second.data() + 8, memory.data() + 24, 8);
  AddContiguous(other, "empty", DType::kU8, {0, 4}, 64, 1);
  AddContiguous(other, "a.weight", DType::kBF16, {2}, 60, 0, /*alias=*/true);
  std::memcpy(first.data() + 60, memory.data() + 32, 4);
  AddContiguous(other, "b", DType::kF32, {2, 3}, 12);
  std::memcpy(first.data() + 12, memory.data(), 24);
  EXPECT_EQ(DigestAll(other, {first, second}).weights, expected);
}

TEST(TensorDigests, GatherStridedTensors) {
  TableBuilder builder;
  builder.AddRegion(24);
  AddStrided(builder, "w", DType::kF32, {3, 2}, {1, 3}, 0, 24);
  const Digested digested = DigestAll(builder, {BytesOf<float>({1, 2, 3, 4, 5, 6})});
  ASSERT_TRUE(digested.status.ok()) << digested.status;
  EXPECT_EQ(Hex(digested.tensors[0]), kFloatsTransposed);
}

// Every shape of strides against gathering by the definition, element by element.
std::vector<std::byte> GatherSlowly(std::span<const std::byte> memory, size_t element_bytes,
                                    const Dims& shape, const Dims& strides) {
  std::vector<std::byte> out;
  Dims index(shape.size(), 0);
  for (;;) {
    uint64_t at = 0;
    for (size_t i = 0; i < shape.size(); ++i) at += static_cast<uint64_t>(index[i] * strides[i]);
    const auto element = memory.subspan(at * element_bytes, element_bytes);
    out.insert(out.end(), element.begin(), element.end());
    size_t i = shape.size();
    while (i > 0 && ++index[i - 1] == shape[i - 1]) index[--i] = 0;
    if (i == 0) return out;
  }
}

TEST(TensorDigests, OfAnyStridesAreThoseOfTheContiguousBytes) {
  const std::vector<std::byte> memory = Pattern(12 << 20);
  const struct {
    const char* what;
    DType dtype;
    Dims shape;
    Dims strides;
  } cases[] = {
      {"transposed bytes", DType::kU8, {300, 200}, {1, 300}},
      {"transposed halves", DType::kF16, {300, 200}, {1, 300}},
      {"transposed doubles", DType::kF64, {30, 20}, {1, 30}},
      {"a window", DType::kF32, {100, 50}, {64, 1}},
      {"every other element", DType::kF32, {1000}, {2}},
      {"every other pair", DType::kF32, {500, 2}, {4, 1}},
      {"permuted", DType::kF32, {7, 5, 3}, {1, 21, 7}},
      {"four dimensions", DType::kBF16, {3, 4, 5, 6}, {6, 18, 72, 1}},
      {"expanded", DType::kF32, {10, 4}, {0, 1}},
      {"expanded within", DType::kF32, {4, 10, 3}, {3, 0, 1}},
      {"overlapping with itself", DType::kU8, {20, 20}, {1, 1}},
      {"dimensions of one", DType::kF32, {1, 30, 1, 20, 1}, {999, 1, 77, 30, 5}},
      {"a single element far out", DType::kF32, {1}, {1 << 20}},
      {"strided runs that are one dimension", DType::kF32, {10, 10}, {20, 2}},
      {"more than a chunk", DType::kF32, {1100, 1200}, {1, 1100}},
      {"more than a chunk in rows", DType::kF32, {1100, 1000}, {1200, 1}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const size_t element_bytes = DTypeBits(c.dtype) / 8;
    uint64_t last = 0;
    for (size_t i = 0; i < c.shape.size(); ++i) {
      last += static_cast<uint64_t>((c.shape[i] - 1) * c.strides[i]);
    }
    TableBuilder builder;
    builder.AddRegion(memory.size());
    AddStrided(builder, "w", c.dtype, c.shape, c.strides, 0, (last + 1) * element_bytes);
    const Digested digested = DigestAll(builder, {memory});
    ASSERT_TRUE(digested.status.ok()) << digested.status;
    EXPECT_EQ(digested.tensors[0],
              TensorDigest(GatherSlowly(memory, element_bytes, c.shape, c.strides)));
  }
}

TEST(IsContiguous, LooksPastDimensionsOfOne) {
  EXPECT_TRUE(IsContiguous(Dims{}, Dims{}));
  EXPECT_TRUE(IsContiguous(Dims{2, 3}, Dims{3, 1}));
  EXPECT_TRUE(IsContiguous(Dims{2, 1, 3, 1}, Dims{3, 777, 1, 5}));
  EXPECT_FALSE(IsContiguous(Dims{2, 3}, Dims{1, 2}));
  EXPECT_FALSE(IsContiguous(Dims{2, 3}, Dims{4, 1}));
  EXPECT_FALSE(IsContiguous(Dims{2}, Dims{0}));
}

TEST(TensorDigests, OfTiedWeightsAreEqual) {
  TableBuilder builder;
  builder.AddRegion(24);
  AddContiguous(builder, "embed", DType::kF32, {2, 3}, 0, 0, /*alias=*/true);
  AddContiguous(builder, "head", DType::kF32, {6}, 0, 0, /*alias=*/true);
  int asked = 0;
  const Digested digested = DigestAll(builder, {BytesOf<float>({1, 2, 3, 4, 5, 6})}, [&] {
    ++asked;
    return true;
  });
  ASSERT_TRUE(digested.status.ok()) << digested.status;
  EXPECT_EQ(Hex(digested.tensors[0]), kFloats);
  EXPECT_EQ(Hex(digested.tensors[1]), kFloats);
  EXPECT_EQ(asked, 1) << "the bytes are read once";
}

TEST(TensorDigests, AskBeforeEveryChunkWhetherToGoOn) {
  TableBuilder builder;
  builder.AddRegion(9 << 20);
  AddContiguous(builder, "x", DType::kU8, {9 << 20}, 0);
  int asked = 0;
  const Digested digested = DigestAll(builder, {Pattern(9 << 20)}, [&] { return ++asked < 3; });
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(digested.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(GetReason(digested.status), Reason::kCancelled);
}

TEST(TensorDigests, RefuseSegmentsThatAreTooFewOrTooShort) {
  TableBuilder builder;
  builder.AddRegion(24);
  AddContiguous(builder, "w", DType::kF32, {6}, 0);
  EXPECT_EQ(GetReason(DigestAll(builder, {}).status), Reason::kInternal);
  EXPECT_EQ(GetReason(DigestAll(builder, {std::vector<std::byte>(23)}).status), Reason::kInternal);
}

TEST(DigestText, IsHexWithItsAlgorithm) {
  Digest digest;
  for (size_t i = 0; i < digest.size(); ++i) digest[i] = static_cast<std::byte>(i * 8 + 7);
  EXPECT_EQ(DigestText(digest),
            "sha256:070f171f272f373f474f575f676f777f878f979fa7afb7bfc7cfd7dfe7eff7ff");
}

}  // namespace
}  // namespace modeld::wire
