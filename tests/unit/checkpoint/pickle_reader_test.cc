#include "checkpoint/pickle_reader.h"

#include <gtest/gtest.h>

#include "malformed_torch_files.h"

namespace modeld::checkpoint {
namespace {

using namespace std::string_literals;  // with zero bytes in them

using Kind = PickleReader::Kind;

std::optional<PickleGlobal> Find(std::string_view module, std::string_view name) {
  if (module != "known") return std::nullopt;
  if (name == "dict") return PickleGlobal{PickleGlobal::Kind::kDict, 1};
  if (name == "function") return PickleGlobal{PickleGlobal::Kind::kFunction, 2};
  if (name == "Class") return PickleGlobal{PickleGlobal::Kind::kClass, 3};
  return PickleGlobal{PickleGlobal::Kind::kConstant, 4};
}

TEST(PickleReader, NumbersHaveTheirValues) {
  const std::string text = test::Pickle(
      "(K\x07M\x34\x12J\xff\xff\xff\xff\x8a\x00\x8a\x02\x00\x80\x8a\x01\xff"s +
      "G\x3f\xf8\x00\x00\x00\x00\x00\x00"s + "\x8a\x09" + std::string(9, '\x11') + "\x88\x89Nt");
  PickleReader reader(text, Find);
  ASSERT_TRUE(reader.Read()) << reader.error().what;
  const auto items = reader.items(reader.root());
  ASSERT_EQ(items.size(), 11u);
  const int64_t expected[] = {7, 0x1234, -1, 0, -32768, -1};
  for (size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(reader.kind(items[i]), Kind::kInt);
    EXPECT_EQ(reader.integer(items[i]), expected[i]) << i;
  }
  EXPECT_EQ(reader.real(items[6]), 1.5);
  EXPECT_EQ(reader.kind(items[7]), Kind::kBigInt);
  EXPECT_TRUE(reader.boolean(items[8]));
  EXPECT_FALSE(reader.boolean(items[9]));
  EXPECT_EQ(reader.kind(items[10]), Kind::kNone);
}

TEST(PickleReader, ContainersGrowInPlaceAlsoThroughTheMemo) {
  // A list that is memoized, put into a tuple, taken from the memo and extended.
  const std::string text = test::Pickle(
      "]q\x00\x85h\x00(K\x01K\x02"
      "e\x86"s);
  PickleReader reader(text, Find);
  ASSERT_TRUE(reader.Read()) << reader.error().what;
  const auto outer = reader.items(reader.root());
  ASSERT_EQ(outer.size(), 2u);
  EXPECT_EQ(reader.items(reader.items(outer[0])[0]).size(), 2u);
}

TEST(PickleReader, ACallIsSaidAndNotDone) {
  const std::string text =
      test::Pickle(test::Global("known", "function") + test::Text("argument") + "\x85R");
  PickleReader reader(text, Find);
  ASSERT_TRUE(reader.Read());
  EXPECT_EQ(reader.kind(reader.root()), Kind::kCall);
  EXPECT_EQ(reader.global(reader.callee(reader.root())).id, 2u);
  EXPECT_EQ(reader.global_name(reader.callee(reader.root())), "known.function");
  EXPECT_EQ(reader.text(reader.items(reader.arguments(reader.root()))[0]), "argument");
}

TEST(PickleReader, AnObjectHasItsStateAndADictKeepsItsItems) {
  const std::string text =
      test::Pickle(test::Global("known", "Class") + ")\x81" + test::Dict("k", "N") + "b");
  PickleReader reader(text, Find);
  ASSERT_TRUE(reader.Read());
  EXPECT_EQ(reader.kind(reader.root()), Kind::kObject);
  EXPECT_EQ(reader.items(*reader.state(reader.root())).size(), 2u);

  const std::string dict =
      test::Pickle(test::Global("known", "dict") + ")R" + test::Text("k") + "Ns" + "}" + "b");
  PickleReader second(dict, Find);
  ASSERT_TRUE(second.Read());
  EXPECT_EQ(second.kind(second.root()), Kind::kDict);
  EXPECT_EQ(second.items(second.root()).size(), 2u);
}

TEST(PickleReader, WhatIsNotOnTheListEndsThePickle) {
  const std::string text = test::Pickle("N" + test::Global("unknown", "thing"));
  PickleReader reader(text, Find);
  EXPECT_FALSE(reader.Read());
  EXPECT_TRUE(reader.error().unsupported);
  EXPECT_EQ(reader.error().position, 3u);
  EXPECT_EQ(reader.error().global, "unknown.thing");
}

TEST(PickleReader, NewerProtocolsAreReadToo) {
  const std::string body =
      "]\x94(\x8c\x01"s
      "aC\x02xy\x8f\x94(K\x01\x90(K\x02\x91"
      "e"s;
  const std::string text = "\x80\x04\x95" + test::Little(body.size() + 1, 8) + body + ".";
  PickleReader reader(text, Find);
  ASSERT_TRUE(reader.Read()) << reader.error().what << reader.error().position;
  const auto items = reader.items(reader.root());
  ASSERT_EQ(items.size(), 4u);
  EXPECT_EQ(reader.kind(items[0]), Kind::kText);
  EXPECT_EQ(reader.kind(items[1]), Kind::kBytes);
  EXPECT_EQ(reader.kind(items[2]), Kind::kSet);
  EXPECT_EQ(reader.items(items[2]).size(), 1u);
}

}  // namespace
}  // namespace modeld::checkpoint
