#include "malformed_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "wire/unique_fd.h"

namespace modeld::test {
namespace {

std::string Length(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes;
}

// `@` in the header marks where it goes wrong, and is left out of the file.
MalformedFile At(std::string name, std::string header, size_t data_bytes, std::string words,
                 std::string tensor = {}) {
  const size_t mark = header.find('@');
  if (mark == std::string::npos) std::abort();
  header.erase(mark, 1);
  std::string bytes = SafetensorsFile(header, data_bytes);
  const uint64_t size = bytes.size();
  return {.name = std::move(name),
          .bytes = std::move(bytes),
          .size_bytes = size,
          .byte = 8 + mark,
          .words = std::move(words),
          .tensor = std::move(tensor)};
}

MalformedFile Raw(std::string name, std::string bytes, uint64_t size_bytes, uint64_t byte,
                  std::string words) {
  return {.name = std::move(name),
          .bytes = std::move(bytes),
          .size_bytes = size_bytes,
          .byte = byte,
          .words = std::move(words),
          .tensor = {}};
}

// One tensor `t` of 8 data bytes whose description is `fields`.
std::string T(std::string_view fields) { return "{\"t\":{" + std::string(fields) + "}}"; }

std::string Repeat(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

void AddLengths(std::vector<MalformedFile>& files) {
  const std::string good = R"({"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})";
  files.push_back(Raw("an empty file", "", 0, 0, "ends within the header's length"));
  files.push_back(Raw("length 0", Length(0) + good, 100, 0, "too short"));
  files.push_back(Raw("length 1", Length(1) + "{", 9, 0, "too short"));
  files.push_back(Raw("length past the end", Length(101) + good, 100, 100, "goes on to byte 109"));
  files.push_back(Raw("length 2^64 - 1", Length(UINT64_MAX) + good, 100, 0, "more than the"));
  files.push_back(Raw("length 2^63", Length(uint64_t{1} << 63) + good, 100, 0, "more than the"));
  files.push_back(Raw("a header over 100 MB that is there", Length(100'000'001) + "{", 200'000'000,
                      0, "more than the 100000000 that the format allows"));
  files.push_back(Raw("a header of 100 MB of zeros", Length(100'000'000) + "{", 100'000'008, 9,
                      "expected a string but found byte 0x00"));
  files.push_back(
      Raw("no header but data", Length(16) + std::string(16, 'x'), 24, 8, "must start with '{'"));
  files.push_back(
      Raw("white space before the header", Length(3) + " {}", 11, 8, "must start with '{'"));
}

void AddSyntax(std::vector<MalformedFile>& files) {
  const std::string fields = R"("dtype":"U8","shape":[8],"data_offsets":[0,8])";
  files.push_back(At("an array instead of an object", "@[]", 0, "must start with '{'"));
  files.push_back(At("an object that does not end", "{ @", 0, "the end of the header"));
  files.push_back(At("a tensor that does not end", R"({"t":{"dtype":"U8"@)", 0,
                     "expected '}' but found the end of the header", "t"));
  files.push_back(At("a comma too many", R"({"t":{)" + fields + "},@}", 8, "expected a string"));
  files.push_back(At("no comma", R"({"t":{)" + fields + R"(}@"u":1})", 8, "expected '}'"));
  files.push_back(At("no colon", R"({"t"@,1})", 0, "expected ':'"));
  files.push_back(At("a number for a name", "{@1:2}", 0, "expected a string but found '1'"));
  files.push_back(At("a number for a tensor", R"({"t":@1})", 0, "expected '{' but found '1'", "t"));
  files.push_back(At("text behind the header", T(fields) + " @x", 8, "behind the header"));
  files.push_back(At("zeros behind the header", T(fields) + " @" + std::string(3, '\0'), 8,
                     "behind the header"));
  files.push_back(At("invalid UTF-8 in a name", "{\"a@\xff\":{" + fields + "}}", 8, "not UTF-8"));
  files.push_back(At("overlong UTF-8", "{\"@\xc0\xaf\":{" + fields + "}}", 8, "not UTF-8"));
  files.push_back(
      At("a surrogate in UTF-8", "{\"@\xed\xa0\x80\":{" + fields + "}}", 8, "not UTF-8"));
  files.push_back(At("UTF-8 cut off", T(fields) + "@\xe2\x82", 8, "not UTF-8"));
  files.push_back(At("half a surrogate pair", R"({"@\ud800":{)" + fields + "}}", 8, "surrogate"));
  files.push_back(At("the other half", R"({"@\udc00x":{)" + fields + "}}", 8, "surrogate"));
  files.push_back(At("an unknown escape", R"({"@\x41":{)" + fields + "}}", 8, "escape"));
  files.push_back(At("a short \\u escape", R"({"@\u12)", 0, "escape"));
  files.push_back(
      At("a line break in a name", "{\"a@\n\":{" + fields + "}}", 8, "control character"));
  files.push_back(At("a name that does not end", R"({@"abc)", 0, "does not end"));
  files.push_back(At("a backslash at the end", R"({"abc@\)", 0, "does not end"));
  files.push_back(At("an array nested 1000 deep",
                     R"({"t":{"x":)" + std::string(128, '[') + "@" + std::string(872, '[') +
                         std::string(1000, ']') + "," + fields + "}}",
                     8, "nested more than 128 levels deep", "t"));
  files.push_back(At("an object nested a million deep",
                     R"({"t":{"x":)" + Repeat(R"({"a":)", 128) + "@" + Repeat(R"({"a":)", 999'872),
                     0, "nested more than 128 levels deep", "t"));
  files.push_back(
      At("a number that is none", T(R"("x":@01,)" + fields), 8, "JSON does not allow", "t"));
  files.push_back(At("a word that is none", T(R"("x":@nul,)" + fields), 8, "expected null", "t"));
  files.push_back(At("NaN", T(R"("x":@NaN,)" + fields), 8, "expected a value", "t"));
  files.push_back(
      At("brackets that do not match", T(R"("x":[1@},)" + fields), 8, "expected ','", "t"));
}

void AddNames(std::vector<MalformedFile>& files) {
  const std::string a = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const std::string b = R"({"dtype":"U8","shape":[4],"data_offsets":[4,8]})";
  files.push_back(At("two tensors of one name", R"({"t":)" + a + R"(,@"t":)" + b + "}", 8,
                     "a second tensor of this name", "t"));
  files.push_back(At("one name, spelled in two ways", R"({"t":)" + a + R"(,@"\u0074":)" + b + "}",
                     8, "a second tensor of this name", "t"));
  files.push_back(At("two __metadata__", R"({"__metadata__":{},@"__metadata__":{}})", 0,
                     "a second __metadata__"));
  files.push_back(
      At("one metadata key twice", R"({"__metadata__":{"k":"1",@"k":"2"}})", 0, "a second \"k\""));
  files.push_back(At("metadata that is a string", R"({"__metadata__":@"x"})", 0, "expected '{'"));
  files.push_back(At("metadata with a number", R"({"__metadata__":{"k":@1}})", 0,
                     "expected a string but found '1'"));
  files.push_back(At("metadata with an object", R"({"__metadata__":{"k":@{"a":"b"}}})", 0,
                     "expected a string"));
}

void AddFields(std::vector<MalformedFile>& files) {
  const auto add = [&files](std::string name, std::string_view fields, std::string words) {
    files.push_back(At(std::move(name), T(fields), 8, std::move(words), "t"));
  };
  files.push_back(
      At("no dtype", R"({@"t":{"shape":[8],"data_offsets":[0,8]}})", 8, "no dtype", "t"));
  files.push_back(
      At("no shape", R"({@"t":{"dtype":"U8","data_offsets":[0,8]}})", 8, "no shape", "t"));
  files.push_back(
      At("no offsets", R"({@"t":{"dtype":"U8","shape":[8]}})", 8, "no data_offsets", "t"));
  files.push_back(At("nothing at all", R"({@"t":{}})", 0, "no dtype", "t"));
  add("two dtypes", R"("dtype":"U8",@"dtype":"U8","shape":[8],"data_offsets":[0,8])",
      "a second \"dtype\"");
  add("two shapes", R"("dtype":"U8","shape":[8],@"shape":[8],"data_offsets":[0,8])",
      "a second \"shape\"");
  add("an unknown dtype", R"("dtype":@"F33","shape":[2],"data_offsets":[0,8])",
      "unknown dtype \"F33\"");
  add("a dtype in lower case", R"("dtype":@"f32","shape":[2],"data_offsets":[0,8])",
      "unknown dtype");
  add("a dtype that is a number", R"("dtype":@32,"shape":[2],"data_offsets":[0,8])",
      "expected a string");
  add("a negative dimension", R"("dtype":"U8","shape":[@-8],"data_offsets":[0,8])",
      "must not be negative");
  add("minus zero", R"("dtype":"U8","shape":[@-0],"data_offsets":[0,0])", "must not be negative");
  add("a fractional dimension", R"("dtype":"U8","shape":[@8.0],"data_offsets":[0,8])",
      "whole number");
  add("a dimension with exponent", R"("dtype":"U8","shape":[@8e0],"data_offsets":[0,8])",
      "whole number");
  add("a dimension with leading zero", R"("dtype":"U8","shape":[@08],"data_offsets":[0,8])",
      "start with 0");
  add("a dimension that is a string", R"("dtype":"U8","shape":[@"8"],"data_offsets":[0,8])",
      "whole number");
  add("a dimension over 64 bits",
      R"("dtype":"U8","shape":[@18446744073709551616],"data_offsets":[0,8])",
      "does not fit 64 bits");
  add("a dimension over 63 bits",
      R"("dtype":"U8","shape":[@9223372036854775808],"data_offsets":[0,8])",
      "does not fit 63 bits");
  add("a shape that overflows",
      R"("dtype":"U8","shape":@[4294967296,4294967296],"data_offsets":[0,8])",
      "too large for 64 bits");
  add("bytes that overflow", R"("dtype":"F64","shape":@[4611686018427387904],"data_offsets":[0,8])",
      "too large for 64 bits");
  add("a shape that is a number", R"("dtype":"U8","shape":@8,"data_offsets":[0,8])",
      "expected '['");
  add("more than 64 dimensions",
      R"("dtype":"U8","shape":[)" + Repeat("1,", 64) + R"(@1],"data_offsets":[0,1])",
      "more than 64 dimensions");
  add("half a byte", R"("dtype":"F4","shape":@[3],"data_offsets":[0,8])",
      "does not fill whole bytes");
  add("an offset that is negative", R"("dtype":"U8","shape":[8],"data_offsets":[@-1,7])",
      "must not be negative");
  add("an offset over 64 bits",
      R"("dtype":"U8","shape":[8],"data_offsets":[0,@99999999999999999999])",
      "does not fit 64 bits");
  add("one offset", R"("dtype":"U8","shape":[8],"data_offsets":[0@])", "expected ','");
  add("three offsets", R"("dtype":"U8","shape":[8],"data_offsets":[0,8@,9])", "expected ']'");
  add("offsets in reverse", R"("dtype":"U8","shape":[8],"data_offsets":@[8,0])",
      "end before they begin");
  add("offsets past the end", R"("dtype":"U8","shape":[9],"data_offsets":@[0,9])",
      "past the end of the file");
  add("offsets far past the end",
      R"("dtype":"U8","shape":[9223372036854775807],"data_offsets":@[0,9223372036854775807])",
      "past the end of the file");
  add("a byte too few", R"("dtype":"F32","shape":[2],"data_offsets":@[0,7])",
      "hold 7 bytes, but F32 [2] takes 8");
  add("a byte too many", R"("dtype":"BF16","shape":[3],"data_offsets":@[0,8])",
      "hold 8 bytes, but BF16 [3] takes 6");
  add("an empty tensor with bytes", R"("dtype":"U8","shape":[0,8],"data_offsets":@[0,8])",
      "takes 0");
}

void AddCoverage(std::vector<MalformedFile>& files) {
  const auto two = [](std::string_view a, std::string_view b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(a) +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(b) + "}}";
  };
  files.push_back(At("tensors that overlap", two("[0,4]", "@[3,7]"), 8, "overlap", "b"));
  files.push_back(At("tensors that share all bytes", two("[0,4]", "@[0,4]"), 4, "overlap", "b"));
  files.push_back(
      At("tensors that overlap, out of order", two("@[3,7]", "[0,4]"), 8, "overlap", "a"));
  files.push_back(At("a hole", two("[0,4]", "@[5,9]"), 9, "leave a hole", "b"));
  files.push_back(At("a hole at the start", two("@[1,5]", "[5,9]"), 9, "leave a hole", "a"));
  files.push_back(At("an empty tensor within another",
                     R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                     R"("e":{"dtype":"U8","shape":[0],"data_offsets":@[2,2]}})",
                     4, "overlap", "e"));
  const std::string good = two("[0,4]", "[4,8]");
  const std::string trailing = SafetensorsFile(good, 9);
  files.push_back(Raw("a byte behind the data", trailing, trailing.size(), 8 + good.size() + 8,
                      "goes on for 1 bytes"));
  files.push_back(
      Raw("data but no tensors", SafetensorsFile("{}", 5), 15, 10, "goes on for 5 bytes"));
}

}  // namespace

std::string SafetensorsFile(std::string_view header, size_t data_bytes) {
  std::string bytes = Length(header.size());
  bytes += header;
  for (size_t i = 0; i < data_bytes; ++i) bytes.push_back(static_cast<char>(i * 37 + 11));
  return bytes;
}

std::vector<MalformedFile> MalformedFiles() {
  std::vector<MalformedFile> files;
  AddLengths(files);
  AddSyntax(files);
  AddNames(files);
  AddFields(files);
  AddCoverage(files);
  return files;
}

std::vector<MalformedFile> TruncatedFiles() {
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
  const std::string good = SafetensorsFile(header, 19);
  const size_t data_at = 8 + header.size();
  std::vector<MalformedFile> files;
  for (size_t size = 0; size < good.size(); ++size) {
    MalformedFile file = Raw("cut off at " + std::to_string(size), good.substr(0, size), size, size,
                             size < 8         ? "within the header's length"
                             : size < data_at ? "the file ends here"
                                              : "past the end of the file");
    if (size >= data_at) {
      file.tensor = size - data_at < 16 ? "a" : "b";
      file.byte = 8 + header.find(file.tensor == "a" ? "[0,16]" : "[16,19]");
    }
    files.push_back(std::move(file));
  }
  return files;
}

std::string WriteFile(const std::string& path, const MalformedFile& file) {
  const wire::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const std::string_view bytes = std::string_view(file.bytes).substr(0, file.size_bytes);
  if (write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      ftruncate(fd.get(), static_cast<off_t>(file.size_bytes)) != 0) {
    std::abort();
  }
  return path;
}

}  // namespace modeld::test
