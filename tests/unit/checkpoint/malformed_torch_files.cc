#include "malformed_torch_files.h"

#include <cstring>
#include <functional>
#include <utility>

namespace modeld::test {
namespace {

std::string Repeat(std::string_view text, size_t count) {
  std::string all;
  all.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

std::string Sizes(const std::vector<int64_t>& sizes) {
  std::vector<std::string> items;
  for (const int64_t size : sizes) items.push_back(Int(size));
  return Tuple(items);
}

const std::string& GoodPickle() {
  static const std::string pickle =
      Pickle(Dict("w", Tensor(Storage("FloatStorage", "0", 16), 0, {4, 4}, {4, 1})));
  return pickle;
}

using Edit = std::function<void(std::vector<ZipEntry>&, ZipOptions&)>;

// The good archive, changed. `at` tells the byte from where things lie.
MalformedArchive Zip(std::string name, const Edit& edit, std::string words,
                     const std::function<uint64_t(const ZipFile&)>& at = nullptr,
                     bool unsupported = false) {
  std::vector<ZipEntry> entries = TorchEntries(GoodPickle());
  ZipOptions options;
  edit(entries, options);
  const ZipFile file = WriteZip(entries, options);
  return {.name = std::move(name),
          .bytes = file.bytes,
          .unsupported = unsupported,
          .byte = at ? static_cast<int64_t>(at(file)) : -1,
          .words = std::move(words)};
}

// A pickle in an archive; `position` is where in it the reader stops.
MalformedArchive InPickle(std::string name, const std::string& pickle, int64_t position,
                          std::string words, bool unsupported = false) {
  const ZipFile file = WriteZip(TorchEntries(pickle));
  return {.name = std::move(name),
          .bytes = file.bytes,
          .unsupported = unsupported,
          .byte = position < 0 ? -1 : static_cast<int64_t>(file.data_offsets[0]) + position,
          .words = std::move(words)};
}

}  // namespace

std::string Text(std::string_view text) { return "X" + Little(text.size(), 4) + std::string(text); }

std::string Global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}

std::string Int(int64_t value) { return "\x8a\x08" + Little(static_cast<uint64_t>(value), 8); }

std::string Tuple(const std::vector<std::string>& items) {
  std::string text = "(";
  for (const std::string& item : items) text += item;
  return text + "t";
}

std::string Storage(std::string_view type, std::string_view key, int64_t elements) {
  return Tuple({Text("storage"), Global("torch", type), Text(key), Text("cpu"), Int(elements)}) +
         "Q";
}

std::string Tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides) {
  return Global("torch._utils", "_rebuild_tensor_v2") +
         Tuple({storage, Int(offset), Sizes(shape), Sizes(strides), "\x89",
                Global("collections", "OrderedDict") + ")R"}) +
         "R";
}

std::string Pickle(const std::string& body) { return "\x80\x02" + body + "."; }

std::string Dict(std::string_view key, const std::string& value) {
  return "}" + Text(key) + value + "s";
}

std::vector<ZipEntry> TorchEntries(const std::string& pickle) {
  return {{.name = "a/data.pkl", .bytes = pickle},
          {.name = "a/byteorder", .bytes = "little"},
          {.name = "a/data/0", .bytes = std::string(64, '0'), .local_extra = 13},
          {.name = "a/data/1", .bytes = std::string(48, '1')},
          {.name = "a/version", .bytes = "3\n"}};
}

std::string TorchFile(const std::string& pickle) { return WriteZip(TorchEntries(pickle)).bytes; }

std::vector<MalformedArchive> MalformedZips() {
  using Entries = std::vector<ZipEntry>&;
  using Options = ZipOptions&;
  std::vector<MalformedArchive> files;
  const auto entry = [](size_t index, uint64_t plus = 0) {
    return [=](const ZipFile& file) { return file.directory_entries[index] + plus; };
  };
  const auto header = [](size_t index, uint64_t plus = 0) {
    return [=](const ZipFile& file) { return file.header_offsets[index] + plus; };
  };
  const auto data = [](size_t index) {
    return [=](const ZipFile& file) { return file.data_offsets[index]; };
  };
  const auto end = [](const ZipFile& file) { return file.end_offset; };
  const auto zip64 = [](const ZipFile& file) { return file.zip64_offset; };

  files.push_back(Zip(
      "a directory that begins elsewhere", [](Entries, Options o) { o.directory_offset_lie = 7; },
      "what follows it is at", zip64));
  files.back().byte = -1;  // the ZIP64 record's word is checked against where it is itself
  files.push_back(Zip(
      "a directory beyond the end",
      [](Entries, Options o) {
        o.zip64 = false;
        o.directory_offset_lie = 0x7fffffff;
      },
      "the archive's directory should have", end));
  files.push_back(Zip(
      "a directory of more bytes than there are",
      [](Entries, Options o) {
        o.zip64 = false;
        o.directory_bytes_lie = 0x7fffffff;
      },
      "the archive's directory should have", end));
  files.push_back(Zip(
      "more records than the directory has", [](Entries, Options o) { o.count_lie = 6; },
      "there should be an entry"));
  files.push_back(Zip(
      "fewer records than the directory has", [](Entries, Options o) { o.count_lie = 4; },
      "more than its 4 records", entry(4)));
  files.push_back(Zip(
      "sixty thousand records that are not there", [](Entries, Options o) { o.count_lie = 60000; },
      "do not fit into a directory"));
  files.push_back(Zip(
      "a ZIP64 record that is elsewhere", [](Entries, Options o) { o.zip64_offset_lie = 3; },
      "there should be a ZIP64 end record", [](const ZipFile&) { return uint64_t{3}; }));
  files.push_back(Zip(
      "a ZIP64 record beyond the end", [](Entries, Options o) { o.zip64_offset_lie = INT64_MAX; },
      "cannot be at"));
  files.push_back(Zip(
      "an archive in several parts", [](Entries, Options o) { o.disk = 1; }, "several parts",
      nullptr, true));
  files.push_back(Zip(
      "two records of one name", [](Entries e, Options) { e[3].name = "a/data/0"; },
      "a second record that is called \"a/data/0\"", entry(3, 46)));
  files.push_back(Zip(
      "a name that leaves the folder", [](Entries e, Options) { e[4].name = "a/../../etc/passwd"; },
      "names are relative paths", entry(4, 46)));
  files.push_back(Zip(
      "an absolute name", [](Entries e, Options) { e[4].name = "/etc/passwd"; },
      "names are relative paths", entry(4, 46)));
  files.push_back(Zip(
      "a name with a zero byte",
      [](Entries e, Options) { e[4].name = std::string("a/ver\0sion", 10); },
      "names are relative paths", entry(4, 46)));
  files.push_back(Zip(
      "a name that is not UTF-8", [](Entries e, Options) { e[4].name = "a/\xff"; },
      "names are relative paths", entry(4, 46)));
  files.push_back(Zip(
      "an empty name", [](Entries e, Options) { e[4].name = ""; }, "names are relative paths",
      entry(4, 46)));
  files.push_back(Zip(
      "a name of 5000 bytes", [](Entries e, Options) { e[4].name = std::string(5000, 'n'); },
      "names are relative paths", entry(4, 46)));
  files.push_back(Zip(
      "two records in one place", [](Entries e, Options) { e[3].offset_lie = 0; }, "runs into"));
  files.push_back(Zip(
      "a record within another", [](Entries e, Options) { e[3].offset_lie = 40; }, "runs into"));
  files.push_back(Zip(
      "a record beyond the end", [](Entries e, Options) { e[3].offset_lie = 0x7fffffff; },
      "runs into", entry(3)));
  files.push_back(Zip(
      "a record over the directory",
      [](Entries e, Options) { e[4].size_lie = e[4].stored_lie = 1'000'000; }, "runs into",
      entry(4)));
  files.push_back(Zip(
      "a record of 2^32 - 2 bytes",
      [](Entries e, Options) { e[0].size_lie = e[0].stored_lie = 0xfffffffe; }, "runs into"));
  files.push_back(Zip(
      "sizes in a ZIP64 field that is not there",
      [](Entries e, Options) { e[2].size_lie = e[2].stored_lie = 0xffffffff; },
      "extra fields of record \"a/data/0\"", entry(2, 54)));
  files.push_back(Zip(
      "a ZIP64 field of 2^64 - 1 bytes",
      [](Entries e, Options) {
        e[2].size_lie = e[2].stored_lie = 0xffffffff;
        e[2].extra = Little(1, 2) + Little(16, 2) + std::string(16, '\xff');
      },
      "runs into", entry(2)));
  files.push_back(Zip(
      "two ZIP64 fields",
      [](Entries e, Options) {
        e[2].extra = Little(1, 2) + Little(0, 2) + Little(1, 2) + Little(0, 2);
      },
      "extra fields of record", entry(2, 54)));
  files.push_back(Zip(
      "extra fields that do not add up",
      [](Entries e, Options) { e[2].extra = Little(9, 2) + Little(100, 2); },
      "extra fields of record", entry(2, 54)));
  files.push_back(Zip(
      "an encrypted record", [](Entries e, Options) { e[2].flags |= 1; }, "is encrypted",
      entry(2, 8), true));
  files.push_back(Zip(
      "a record of another compression", [](Entries e, Options) { e[2].method_lie = 14; },
      "compressed by method 14", entry(2, 10), true));
  files.push_back(Zip(
      "a stored record of two sizes", [](Entries e, Options) { e[2].size_lie = 65; },
      "of 65 bytes it stores 64", entry(2, 20)));
  files.push_back(Zip(
      "a compressed storage", [](Entries e, Options) { e[2].deflate = true; }, "is compressed",
      entry(2), true));
  files.push_back(Zip(
      "a header that is not there",
      [](Entries e, Options) {
        e[2].offset_lie = 0;
        e.erase(e.begin());
        e[0].name = "a/data.pkl";
        e[0].bytes = GoodPickle();
        e[1].offset_lie = 1;
      },
      ""));
  files.back().words = "runs into";
  files.push_back(Zip(
      "a header with another name", [](Entries e, Options) { e[2].local_name = "a/data/1"; },
      "another name than the directory", header(2, 26)));
  files.push_back(Zip(
      "a header with a longer name", [](Entries e, Options) { e[2].local_name = "a/data/00"; },
      "another name than the directory", header(2, 26)));
  files.push_back(Zip(
      "a header with another method", [](Entries e, Options) { e[2].local_method_lie = 8; },
      "another method than the directory", header(2, 8)));
  files.push_back(Zip(
      "a header with another size",
      [](Entries e, Options) {
        e[2].local_flags = 0;
        e[2].local_size_lie = 63;
      },
      "another size or CRC", header(2, 14)));
  files.push_back(Zip(
      "a pickle whose CRC is wrong", [](Entries e, Options) { e[0].crc_lie = 1; },
      "the CRC of record \"a/data.pkl\"", data(0)));
  files.push_back(Zip(
      "a bomb that says what it is",
      [](Entries e, Options) {
        e[0].bytes = std::string(300 << 20, '\0');
        e[0].deflate = true;
      },
      "more than the 201326592 that modeld reads", entry(0), true));
  files.push_back(Zip(
      "a bomb that says it is small",
      [](Entries e, Options) {
        e[0].bytes = std::string(50 << 20, '\0');
        e[0].deflate = true;
        e[0].size_lie = 100;
      },
      "do not make the 100 bytes", data(0)));
  files.push_back(Zip(
      "a compressed pickle that says it is 150 MB",
      [](Entries e, Options) {
        e[0].deflate = true;
        e[0].size_lie = 150'000'000;
      },
      "cannot make 150000000", data(0)));
  files.push_back(Zip(
      "two archives in one",
      [](Entries e, Options) { e.push_back({.name = "b/data.pkl", .bytes = GoodPickle()}); },
      "two archives in one", entry(5)));
  files.push_back(Zip(
      "a big-endian archive", [](Entries e, Options) { e[1].bytes = "big"; }, "\"big\"-endian",
      nullptr, true));
  files.push_back(Zip(
      "an archive without a pickle", [](Entries e, Options) { e[0].name = "a/data/pickle"; },
      "without a data.pkl", nullptr, true));
  files.push_back(Zip(
      "a package",
      [](Entries e, Options) {
        e[0].name = "a/data/x";
        e[4].name = "a/.data/version";
      },
      "torch.package", nullptr, true));
  return files;
}

std::vector<MalformedArchive> MalformedPickles() {
  std::vector<MalformedArchive> files;
  const auto add = [&files](std::string name, const std::string& pickle, int64_t position,
                            std::string words, bool unsupported = false) {
    files.push_back(InPickle(std::move(name), pickle, position, std::move(words), unsupported));
  };
  const auto tensor = [&add](std::string name, const std::string& value, std::string words,
                             bool unsupported = false) {
    add(std::move(name), Pickle(Dict("w", value)), -1, std::move(words), unsupported);
  };
  const std::string f32 = Storage("FloatStorage", "0", 16);

  add("an empty pickle", "", 0, "without its STOP");
  add("a pickle that does not stop", "\x80\x02}", 3, "without its STOP");
  add("nothing but STOP", "\x80\x02.", -1, "more or less than one value");
  add("two values", "\x80\x02NN.", -1, "more or less than one value");
  add("a MARK left over", "\x80\x02N(.", -1, "more or less than one value");
  add("something behind STOP", Pickle("}") + "x", 4, "follows the end");
  add("protocol 0", std::string("\x80\x00}.", 4), 0, "pickle protocol 0", true);
  add("protocol 200", "\x80\xc8}.", 0, "pickle protocol 200", true);
  add("a byte that is no opcode", "\x80\x02}\xff.", 3, "0xff is no pickle opcode");
  add("os.system", Pickle(Global("os", "system") + Text("ls") + "\x85R"), 2,
      "the global \"os.system\"", true);
  add("posix.system by STACK_GLOBAL",
      Pickle(Text("posix") + Text("system") + "\x93" + Text("ls") + "\x85R"), -1,
      "the global \"posix.system\"", true);
  add("eval", Pickle(Global("__builtin__", "eval") + Text("1") + "\x85R"), 2, "eval", true);
  add("getattr of torch", Pickle(Global("builtins", "getattr")), 2, "builtins.getattr", true);
  add("a dotted name that ends like a known one",
      Pickle(Global("evil.torch._utils", "_rebuild_tensor_v2")), 2, "evil.torch", true);
  add("a class of TorchScript outside of one", Pickle(Global("__torch__", "Net") + ")\x81}b"), 2,
      "a whole module", true);
  add("a call of a dtype", Pickle(Global("torch", "float32") + ")R"), -1, "which is no function");
  add("a call of a string", Pickle(Text("f") + ")R"), -1, "no global");
  add("a call without a tuple", Pickle(Global("torch", "Size") + "]R"), -1, "without a tuple");
  add("an object of a function", Pickle(Global("torch", "Size") + ")\x81"), -1, "an object of",
      true);
  add("an OrderedDict with arguments", Pickle(Global("collections", "OrderedDict") + "]\x85R"), -1,
      "with arguments", true);
  add("a state for a tensor", Pickle(Dict("w", Tensor(f32, 0, {1}, {1}) + "}b")), -1, "no object",
      true);
  for (const auto& [opcode, name] : {std::pair{"\x82", "EXT1"},
                                     {"\x83", "EXT2"},
                                     {"\x84", "EXT4"},
                                     {"\x92", "NEWOBJ_EX"},
                                     {"\x97", "NEXT_BUFFER"},
                                     {"i", "INST"},
                                     {"o", "OBJ"},
                                     {"P", "PERSID"},
                                     {"I", "INT"},
                                     {"S", "STRING"}}) {
    add(std::string("opcode ") + name, Pickle("N" + std::string(opcode) + "\x01\x01\x01\x01\n"), 3,
        "which torch.save does not write", true);
  }
  add("a string of 4 GiB", Pickle("X" + Little(0xffffffff, 4)), -1, "ends within an opcode");
  add("a string of 2^64 - 1 bytes", Pickle("\x8d" + Little(UINT64_MAX, 8)), -1,
      "ends within an opcode");
  add("a number of 2 GiB", Pickle("\x8b" + Little(0x7fffffff, 4)), -1, "ends within an opcode");
  add("a frame of 2^63 bytes", Pickle("\x95" + Little(uint64_t{1} << 63, 8)), -1, "a frame");
  add("a string that is not UTF-8", Pickle("X" + Little(2, 4) + "\xc0\xaf"), -1, "not UTF-8");
  add("a global without an end", Pickle("c" + std::string(5000, 'a')), 2, "does not end within");
  add("POP on nothing", Pickle("0"), 2, "more values than there are");
  add("TUPLE without a MARK", Pickle("Nt"), 3, "no MARK");
  files.back().words = "needs a MARK";
  add("TUPLE3 over a MARK", Pickle("NN(N\x87"), 6, "more values than there are");
  add("APPEND to a tuple", Pickle(")Na"), -1, "takes none of this kind");
  add("SETITEMS with a key alone", Pickle("}(Nu"), -1, "a key without a value");
  add("SETITEMS on nothing", Pickle("(Nu"), -1, "items without anything");
  add("BINGET of nothing", Pickle("h\x05"), 2, "was never made");
  add("LONG_BINGET of 2^32 - 1", Pickle("j" + Little(0xffffffff, 4)), 2, "was never made");
  add("LONG_BINPUT of 2^32 - 1", Pickle("Nr" + Little(0xffffffff, 4)), 3, "memo entry 4294967295");
  add("a list in itself", Pickle("]q" + std::string(1, '\0') + std::string("h\0a", 3)), -1,
      "levels deep");
  add("lists nested a million deep", Pickle(Repeat("]", 1'000'000) + Repeat("a", 999'999)), -1,
      "levels deep");
  add("ten million MARKs", "\x80\x02" + Repeat("(", 10'000'000), -1, "too many marks", true);
  add("ten million Nones", "\x80\x02" + Repeat("N", 10'000'000), -1, "grows too high", true);
  add("ten million lists", "\x80\x02" + Repeat("]0", 10'000'000), -1, "too many containers", true);
  add("fifteen million numbers",
      "\x80\x02" + Repeat("M\xff\xff"
                          "0",
                          15'000'000),
      -1, "too many values", true);
  {
    // Each list holds the one before it ten times: 10^12 ways down.
    std::string bomb = "]q" + std::string(1, '\0');
    for (char i = 0; i < 12; ++i) {
      const std::string inner = std::string("h") + i;
      bomb += "](" + Repeat(inner, 10) + "eq" + std::string(1, static_cast<char>(i + 1));
    }
    add("a thousand billion lists", "\x80\x02" + std::string("(") + bomb + "l.", -1,
        "contain each other too many times");
  }
  tensor("a tensor of no storage",
         Global("torch._utils", "_rebuild_tensor_v2") +
             Tuple({"N", Int(0), ")", ")", "\x89", "}"}) + "R",
         "without a storage");
  tensor("a tensor of three arguments",
         Global("torch._utils", "_rebuild_tensor_v2") + Tuple({f32, Int(0), ")"}) + "R",
         "made of 3 arguments");
  tensor("a storage that is not there", Tensor(Storage("FloatStorage", "7", 4), 0, {4}, {1}),
         "\"a/data/7\", which is not in the archive");
  tensor("a storage in another folder",
         Tensor(Storage("FloatStorage", "../data.pkl", 1), 0, {1}, {1}), "not in the archive");
  tensor("a storage larger than its record", Tensor(Storage("FloatStorage", "0", 17), 0, {4}, {1}),
         "17 elements");
  tensor("a storage of 2^63 - 1 elements",
         Tensor(Storage("DoubleStorage", "0", INT64_MAX), 0, {4}, {1}), "its storage of");
  tensor("a storage of -1 elements", Tensor(Storage("FloatStorage", "0", -1), 0, {4}, {1}),
         "not told as");
  tensor("a storage that is no class", Tensor(Storage("float32", "0", 4), 0, {4}, {1}),
         "whose class is none");
  tensor("a tensor beyond its storage", Tensor(f32, 0, {17}, {1}), "beyond its storage");
  tensor("a tensor that begins beyond its storage", Tensor(f32, 16, {1}, {1}),
         "beyond its storage");
  tensor("a tensor that begins before its storage", Tensor(f32, -1, {1}, {1}), "offset");
  tensor("a tensor whose offset overflows", Tensor(f32, INT64_MAX, {1}, {1}), "beyond its storage");
  tensor("a tensor whose elements overflow",
         Tensor(f32, 0, {INT64_MAX, INT64_MAX, INT64_MAX}, {0, 0, 0}), "beyond its storage");
  tensor("a stride that overflows", Tensor(f32, 0, {3, 3}, {INT64_MAX, 1}), "beyond its storage");
  tensor("a negative stride", Tensor(f32, 3, {2}, {-1}), "no count");
  tensor("a negative dimension", Tensor(f32, 0, {-2}, {1}), "no count");
  tensor("a stride too few", Tensor(f32, 0, {2, 2}, {1}), "2 dimensions and 1 strides");
  tensor("sixty-five dimensions",
         Tensor(f32, 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)), "65 dimensions");
  tensor("a quantized storage", Tensor(Storage("QInt8Storage", "0", 4), 0, {4}, {1}), "quantized",
         true);
  tensor(
      "a name a thousand parts long",
      [] {
        std::string value = Tensor(Storage("FloatStorage", "0", 1), 0, {1}, {1});
        for (int i = 0; i < 100; ++i) value = Dict(std::string(100, 'n'), value);
        return value;
      }(),
      "a name of more than");
  {
    std::string wrapped = Tensor(f32, 0, {1}, {1});
    for (int i = 0; i < 20; ++i) {
      wrapped = Global("torch._utils", "_rebuild_parameter") + Tuple({wrapped, "\x88", "}"}) + "R";
    }
    tensor("a parameter of a parameter of a parameter", wrapped, "without end");
  }
  add("one name for two tensors",
      Pickle("}(" + Text("a.b") + Tensor(f32, 0, {1}, {1}) + Text("a.b") +
             Tensor(f32, 1, {1}, {1}) + "u"),
      -1, "another tensor of the checkpoint has this name");
  add("a tensor under a tuple", Pickle("})" + Tensor(f32, 0, {1}, {1}) + "s"), -1,
      "neither text nor a number", true);
  return files;
}

}  // namespace modeld::test
