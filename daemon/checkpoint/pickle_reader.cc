#include "checkpoint/pickle_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "checkpoint/malformed.h"
#include "wire/utf8.h"

namespace modeld::checkpoint {
namespace {

// Made beforehand, because a pickle names them at every turn: none, false, true, the empty tuple,
// and what one byte can count.
constexpr uint32_t kNone = 0;
constexpr uint32_t kFalse = 1;
constexpr uint32_t kTrue = 2;
constexpr uint32_t kEmptyTuple = 3;
constexpr uint32_t kFirstSmallInt = 4;
constexpr int64_t kSmallInts = 256;

constexpr size_t kMaxNameBytes = 1024;  // of a module, or of a name in it
constexpr size_t kMaxGlobals = 100'000;
// Python numbers the memo without gaps; other writers leave out an entry or begin at one.
constexpr size_t kMaxMemoGap = 64;

}  // namespace

PickleReader::PickleReader(std::string_view text, FindPickleGlobal find, const PickleLimits& limits)
    : text_(text), find_(find), limits_(limits) {
  nodes_.push_back({.kind = Kind::kNone});
  nodes_.push_back({.kind = Kind::kBool, .a = 0});
  nodes_.push_back({.kind = Kind::kBool, .a = 1});
  nodes_.push_back({.kind = Kind::kTuple});
  for (uint32_t i = 0; i < kSmallInts; ++i) nodes_.push_back({.kind = Kind::kInt, .a = i});
}

int64_t PickleReader::integer(Value value) const {
  return static_cast<int64_t>((uint64_t{nodes_[value].b} << 32) | nodes_[value].a);
}

double PickleReader::real(Value value) const {
  const int64_t bits = integer(value);
  double number = 0;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}

std::string_view PickleReader::text(Value value) const {
  return text_.substr(nodes_[value].a, nodes_[value].b);
}

std::span<const PickleReader::Value> PickleReader::items(Value value) const {
  const Node& node = nodes_[value];
  switch (node.kind) {
    case Kind::kTuple:
    case Kind::kPersistent:
      return std::span(tuples_).subspan(node.a, node.b);
    case Kind::kList:
    case Kind::kSet:
    case Kind::kDict:
      return containers_[node.a];
    default:
      return {};
  }
}

std::optional<PickleReader::Value> PickleReader::state(Value value) const {
  const std::vector<Value>& state = containers_[nodes_[value].b];
  return state.empty() ? std::nullopt : std::optional(state.front());
}

bool PickleReader::Read() {
  while (!stopped_) {
    if (!Step()) return false;
  }
  if (!marks_.empty() || stack_.size() != 1) {
    return Fail("the pickle ends with more or less than one value");
  }
  opcode_at_ = at_;
  if (at_ != text_.size()) return Fail("something follows the end of the pickle");
  return true;
}

// NOLINTNEXTLINE(readability-function-size): one line for each opcode.
bool PickleReader::Step() {
  opcode_at_ = at_;
  if (at_ >= text_.size()) return Fail("the pickle ends without its STOP");
  const char opcode = text_[at_++];
  uint64_t number = 0;
  size_t first = 0;
  switch (opcode) {
    case '\x80':  // PROTO
      if (!Number(1, &number)) return false;
      return number >= 2 && number <= 5 ? true : Refuse(absl::StrCat("pickle protocol ", number));
    case '\x95':  // FRAME
      return Frame();
    case '.':
      stopped_ = true;
      return true;
    case '(':  // MARK
      if (marks_.size() >= limits_.stack) return Refuse("a pickle with too many marks");
      marks_.push_back(static_cast<uint32_t>(stack_.size()));
      return true;
    case '0':  // POP
      if (!Need(1)) return false;
      Pop();
      return true;
    case '1':  // POP_MARK
      if (!Mark(&first)) return false;
      stack_.resize(first);
      return true;
    case '2':  // DUP
      return Need(1) && Push(stack_.back());

    case 'N':
      return Push(kNone);
    case '\x88':  // NEWTRUE
      return Push(kTrue);
    case '\x89':  // NEWFALSE
      return Push(kFalse);
    case 'J':  // BININT
      return Number(4, &number) && PushInt(static_cast<int32_t>(static_cast<uint32_t>(number)));
    case 'K':  // BININT1
      return Number(1, &number) && PushInt(static_cast<int64_t>(number));
    case 'M':  // BININT2
      return Number(2, &number) && PushInt(static_cast<int64_t>(number));
    case '\x8a':  // LONG1
      return Number(1, &number) && Long(number);
    case '\x8b':  // LONG4
      return Number(4, &number) && Long(number);
    case 'G':  // BINFLOAT
      return Float();

    case 'X':  // BINUNICODE
      return Number(4, &number) && Text(Kind::kText, number);
    case '\x8c':  // SHORT_BINUNICODE
      return Number(1, &number) && Text(Kind::kText, number);
    case '\x8d':  // BINUNICODE8
      return Number(8, &number) && Text(Kind::kText, number);
    case 'T':  // BINSTRING
    case 'B':  // BINBYTES
      return Number(4, &number) && Text(Kind::kBytes, number);
    case 'U':  // SHORT_BINSTRING
    case 'C':  // SHORT_BINBYTES
      return Number(1, &number) && Text(Kind::kBytes, number);
    case '\x8e':  // BINBYTES8
    case '\x96':  // BYTEARRAY8
      return Number(8, &number) && Text(Kind::kBytes, number);

    case ')':
      return Push(kEmptyTuple);
    case 't':  // TUPLE
      if (!Mark(&first)) return false;
      return Tuple(stack_.size() - first);
    case '\x85':  // TUPLE1
      return Need(1) && Tuple(1);
    case '\x86':  // TUPLE2
      return Need(2) && Tuple(2);
    case '\x87':  // TUPLE3
      return Need(3) && Tuple(3);
    case ']':
      return Container(Kind::kList, stack_.size());
    case '}':
      return Container(Kind::kDict, stack_.size());
    case '\x8f':  // EMPTY_SET
      return Container(Kind::kSet, stack_.size());
    case 'l':  // LIST
      return Mark(&first) && Container(Kind::kList, first);
    case 'd':  // DICT
      return Mark(&first) && Container(Kind::kDict, first);
    case '\x91':  // FROZENSET
      return Mark(&first) && Container(Kind::kSet, first);
    case 'a':  // APPEND
      return Need(2) && Extend(Kind::kList, stack_.size() - 1);
    case 'e':  // APPENDS
      return Mark(&first) && Extend(Kind::kList, first);
    case 's':  // SETITEM
      return Need(3) && Extend(Kind::kDict, stack_.size() - 2);
    case 'u':  // SETITEMS
      return Mark(&first) && Extend(Kind::kDict, first);
    case '\x90':  // ADDITEMS
      return Mark(&first) && Extend(Kind::kSet, first);

    case 'h':  // BINGET
      return Number(1, &number) && Get(number);
    case 'j':  // LONG_BINGET
      return Number(4, &number) && Get(number);
    case 'q':  // BINPUT
      return Number(1, &number) && Put(number);
    case 'r':  // LONG_BINPUT
      return Number(4, &number) && Put(number);
    case '\x94':  // MEMOIZE
      return Put(memo_.size());

    case 'c':  // GLOBAL
      return GlobalFromLines();
    case '\x93':  // STACK_GLOBAL
      return GlobalFromStack();
    case 'R':  // REDUCE
      return Reduce();
    case '\x81':  // NEWOBJ
      return NewObject();
    case 'b':  // BUILD
      return Build();
    case 'Q':  // BINPERSID
      return Persistent();

    // What these would do needs an import or a call; the others are protocols 0 and 1, which
    // torch.save has never written.
    case '\x82':  // EXT1
    case '\x83':  // EXT2
    case '\x84':  // EXT4
    case '\x92':  // NEWOBJ_EX
    case '\x97':  // NEXT_BUFFER
    case '\x98':  // READONLY_BUFFER
    case 'i':     // INST
    case 'o':     // OBJ
    case 'P':     // PERSID
    case 'I':     // INT
    case 'L':     // LONG
    case 'F':     // FLOAT
    case 'S':     // STRING
    case 'V':     // UNICODE
    case 'g':     // GET
    case 'p':     // PUT
      return Refuse(absl::StrCat("pickle opcode 0x",
                                 absl::Hex(static_cast<unsigned char>(opcode), absl::kZeroPad2),
                                 ", which torch.save does not write"));
    default:
      return Fail(absl::StrCat("0x", absl::Hex(static_cast<unsigned char>(opcode), absl::kZeroPad2),
                               " is no pickle opcode"));
  }
}

// Says how much may be read at once; whatever is in it is read all the same.
bool PickleReader::Frame() {
  uint64_t length = 0;
  if (!Number(8, &length)) return false;
  return length <= text_.size() - at_ || Fail("a frame that goes on behind the pickle");
}

bool PickleReader::Text(Kind kind, uint64_t length) {
  const size_t begin = at_;
  std::string_view bytes;
  if (!Bytes(length, &bytes)) return false;
  if (kind == Kind::kText && !wire::IsUtf8(bytes)) return Fail("a string that is not UTF-8");
  return PushNew({.kind = kind,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(begin),
                  .b = static_cast<uint32_t>(length)});
}

// Two's complement, as many bytes as it takes.
bool PickleReader::Long(uint64_t length) {
  std::string_view bytes;
  if (!Bytes(length, &bytes)) return false;
  if (length > sizeof(int64_t)) {
    return PushNew({.kind = Kind::kBigInt, .at = static_cast<uint32_t>(opcode_at_)});
  }
  const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0;
  uint64_t value = negative ? ~uint64_t{0} : 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  return PushInt(static_cast<int64_t>(value));
}

bool PickleReader::Float() {
  uint64_t bits = 0;
  if (!Number(8, &bits)) return false;
  bits = __builtin_bswap64(bits);  // the one big-endian number of the format
  return PushNew({.kind = Kind::kFloat,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(bits),
                  .b = static_cast<uint32_t>(bits >> 32)});
}

bool PickleReader::GlobalFromLines() {
  std::string_view module;
  std::string_view name;
  return Line(&module) && Line(&name) && NameGlobal(module, name);
}

bool PickleReader::GlobalFromStack() {
  if (!Need(2)) return false;
  const Value name = Pop();
  const Value module = Pop();
  if (kind(name) != Kind::kText || kind(module) != Kind::kText) {
    return Fail("a global whose name is no string");
  }
  if (text(name).size() > kMaxNameBytes || text(module).size() > kMaxNameBytes) {
    return Fail(absl::StrCat("a global of more than ", kMaxNameBytes, " bytes"));
  }
  return NameGlobal(text(module), text(name));
}

bool PickleReader::NameGlobal(std::string_view module, std::string_view name) {
  std::string full = absl::StrCat(std::string(module), ".", std::string(name));
  const auto meaning = find_(module, name);
  if (!meaning) {
    return Refuse(absl::StrCat("the global ", Quoted(full)), wire::ToUtf8(full));
  }
  if (globals_.size() >= kMaxGlobals) return Refuse("a pickle that names too many globals");
  globals_.push_back({.name = std::move(full), .meaning = *meaning});
  return PushNew({.kind = Kind::kGlobal,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(globals_.size() - 1)});
}

bool PickleReader::Put(uint64_t index) {
  if (!Need(1)) return false;
  if (index > memo_.size() + kMaxMemoGap || index > limits_.values) {
    return Fail(absl::StrCat("memo entry ", index, " after ", memo_.size()));
  }
  if (index >= memo_.size()) memo_.resize(index + 1, kNoValue);
  memo_[index] = stack_.back();
  return true;
}

bool PickleReader::Get(uint64_t index) {
  if (index >= memo_.size() || memo_[index] == kNoValue) {
    return Fail(absl::StrCat("memo entry ", index, ", which was never made"));
  }
  return Push(memo_[index]);
}

bool PickleReader::Tuple(size_t count) {
  if (count == 0) return Push(kEmptyTuple);
  if (!CountItems(count)) return false;
  const size_t first = stack_.size() - count;
  const Node node = {.kind = Kind::kTuple,
                     .at = static_cast<uint32_t>(opcode_at_),
                     .a = static_cast<uint32_t>(tuples_.size()),
                     .b = static_cast<uint32_t>(count)};
  tuples_.insert(tuples_.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
  stack_.resize(first);
  return PushNew(node);
}

bool PickleReader::Container(Kind kind, size_t first_item) {
  if (containers_.size() >= limits_.containers) return Refuse("a pickle with too many containers");
  if (kind == Kind::kDict && (stack_.size() - first_item) % 2 != 0) {
    return Fail("a dict with a key and no value");
  }
  if (!CountItems(stack_.size() - first_item)) return false;
  containers_.emplace_back(stack_.begin() + static_cast<std::ptrdiff_t>(first_item), stack_.end());
  stack_.resize(first_item);
  return PushNew({.kind = kind,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(containers_.size() - 1)});
}

bool PickleReader::Extend(Kind kind, size_t first_item) {
  const size_t floor = marks_.empty() ? 0 : marks_.back();
  if (first_item <= floor) return Fail("items without anything to put them into");
  const Node& target = nodes_[stack_[first_item - 1]];
  if (target.kind != kind) return Fail("items for something that takes none of this kind");
  const size_t count = stack_.size() - first_item;
  if (kind == Kind::kDict && count % 2 != 0) return Fail("a key without a value");
  if (!CountItems(count)) return false;
  std::vector<Value>& items = containers_[target.a];
  items.insert(items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first_item), stack_.end());
  stack_.resize(first_item);
  return true;
}

bool PickleReader::Reduce() {
  if (!Need(2)) return false;
  const Value arguments = Pop();
  const Value callee = Pop();
  if (kind(callee) != Kind::kGlobal || kind(arguments) != Kind::kTuple) {
    return Fail("a call of something that is no global, or without a tuple");
  }
  switch (global(callee).kind) {
    case PickleGlobal::Kind::kDict:
      if (!items(arguments).empty()) {
        return Refuse(absl::StrCat("a call of ", Quoted(global_name(callee)), " with arguments"));
      }
      return Container(Kind::kDict, stack_.size());
    case PickleGlobal::Kind::kFunction:
    case PickleGlobal::Kind::kClass:
      return PushNew({.kind = Kind::kCall,
                      .at = static_cast<uint32_t>(opcode_at_),
                      .a = callee,
                      .b = arguments});
    case PickleGlobal::Kind::kConstant:
      break;
  }
  return Fail(absl::StrCat("a call of ", Quoted(global_name(callee)), ", which is no function"));
}

bool PickleReader::NewObject() {
  if (!Need(2)) return false;
  const Value arguments = Pop();
  const Value cls = Pop();
  if (kind(cls) != Kind::kGlobal || kind(arguments) != Kind::kTuple) {
    return Fail("an object of something that is no class, or without a tuple");
  }
  const PickleGlobal::Kind meaning = global(cls).kind;
  if (meaning == PickleGlobal::Kind::kDict && items(arguments).empty()) {
    return Container(Kind::kDict, stack_.size());
  }
  if (meaning != PickleGlobal::Kind::kClass || !items(arguments).empty()) {
    return Refuse(absl::StrCat("an object of ", Quoted(global_name(cls))),
                  wire::ToUtf8(global_name(cls)));
  }
  if (containers_.size() >= limits_.containers) return Refuse("a pickle with too many containers");
  containers_.emplace_back();
  return PushNew({.kind = Kind::kObject,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = cls,
                  .b = static_cast<uint32_t>(containers_.size() - 1)});
}

bool PickleReader::Build() {
  if (!Need(2)) return false;
  const Value state = Pop();
  const Node& target = nodes_[stack_.back()];
  // What a dict has besides its items (the `_metadata` of a state dict) holds no weights.
  if (target.kind == Kind::kDict) return true;
  if (target.kind != Kind::kObject) return Refuse("a state for something that is no object");
  std::vector<Value>& states = containers_[target.b];
  if (!states.empty()) return Fail("a second state for one object");
  if (!CountItems(1)) return false;
  states.push_back(state);
  return true;
}

bool PickleReader::Persistent() {
  if (!Need(1) || !CountItems(1)) return false;
  tuples_.push_back(Pop());
  return PushNew({.kind = Kind::kPersistent,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(tuples_.size() - 1),
                  .b = 1});
}

bool PickleReader::Push(Value value) {
  if (stack_.size() >= limits_.stack) return Refuse("a pickle whose stack grows too high");
  stack_.push_back(value);
  return true;
}

bool PickleReader::PushInt(int64_t value) {
  if (value >= 0 && value < kSmallInts) return Push(kFirstSmallInt + static_cast<Value>(value));
  return PushNew({.kind = Kind::kInt,
                  .at = static_cast<uint32_t>(opcode_at_),
                  .a = static_cast<uint32_t>(value),
                  .b = static_cast<uint32_t>(static_cast<uint64_t>(value) >> 32)});
}

bool PickleReader::PushNew(const Node& node) {
  Value value = 0;
  return NewNode(node, &value) && Push(value);
}

bool PickleReader::NewNode(const Node& node, Value* value) {
  if (nodes_.size() >= limits_.values) return Refuse("a pickle with too many values");
  *value = static_cast<Value>(nodes_.size());
  nodes_.push_back(node);
  return true;
}

bool PickleReader::Need(size_t count) {
  const size_t floor = marks_.empty() ? 0 : marks_.back();
  return stack_.size() >= floor + count || Fail("an opcode that needs more values than there are");
}

PickleReader::Value PickleReader::Pop() {
  const Value value = stack_.back();
  stack_.pop_back();
  return value;
}

bool PickleReader::Mark(size_t* first_item) {
  if (marks_.empty()) return Fail("an opcode that needs a MARK where there is none");
  *first_item = marks_.back();
  marks_.pop_back();
  return true;
}

bool PickleReader::CountItems(size_t count) {
  item_count_ += count;
  return item_count_ <= limits_.items || Refuse("a pickle with too many items");
}

bool PickleReader::Number(size_t bytes, uint64_t* value) {
  std::string_view text;
  if (!Bytes(bytes, &text)) return false;
  *value = 0;
  std::memcpy(value, text.data(), text.size());
  return true;
}

bool PickleReader::Bytes(uint64_t count, std::string_view* bytes) {
  if (count > text_.size() - at_) return Fail("the pickle ends within an opcode");
  *bytes = text_.substr(at_, count);
  at_ += count;
  return true;
}

bool PickleReader::Line(std::string_view* line) {
  const std::string_view ahead = text_.substr(at_, kMaxNameBytes + 1);
  const size_t end = ahead.find('\n');
  if (end == std::string_view::npos) {
    return Fail(absl::StrCat("a global that does not end within ", kMaxNameBytes, " bytes"));
  }
  *line = ahead.substr(0, end);
  if (!wire::IsUtf8(*line)) return Fail("a global whose name is not UTF-8");
  at_ += end + 1;
  return true;
}

bool PickleReader::Fail(std::string what) {
  if (error_.what.empty()) error_ = {.position = opcode_at_, .what = std::move(what)};
  return false;
}

bool PickleReader::Refuse(std::string what, std::string global) {
  if (error_.what.empty()) {
    error_ = {.unsupported = true,
              .position = opcode_at_,
              .what = std::move(what),
              .global = std::move(global)};
  }
  return false;
}

}  // namespace modeld::checkpoint
