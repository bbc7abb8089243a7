// Python's pickle format, read into data: which values there are, and which calls would make the
// rest of them. Nothing is ever called, imported or looked up by name at run time; what a call
// means is for the reader's owner, who knows a fixed list of globals.
//
// Opcodes are those that Python's and LibTorch's picklers write in protocols 2 to 5. Source:
// https://github.com/python/cpython/blob/main/Lib/pickletools.py

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace modeld::checkpoint {

// What a name in a pickle stands for.
struct PickleGlobal {
  enum class Kind : uint8_t {
    kDict,      // a class that is read as a dict: `collections.OrderedDict`
    kFunction,  // calling it makes a kCall
    kClass,     // making one makes a kObject, calling it a kCall
    kConstant,  // can only be named
  };
  Kind kind = Kind::kConstant;
  uint32_t id = 0;  // the owner's
};

// nullopt: not on the list, and therefore the end of the pickle.
using FindPickleGlobal = std::optional<PickleGlobal> (*)(std::string_view module,
                                                         std::string_view name);

// Bounds of what a hostile pickle can make the reader allocate: 16 bytes a value, 24 a container,
// 4 an item.
struct PickleLimits {
  size_t values = 12'000'000;
  size_t containers = 4'000'000;  // lists, dicts, sets and objects
  size_t items = 32'000'000;      // of tuples and containers
  size_t stack = 8'000'000;
};

// Externally synchronised.
class PickleReader {
 public:
  using Value = uint32_t;

  enum class Kind : uint8_t {
    kNone,
    kBool,
    kInt,
    kBigInt,  // more than 64 bits; its value is not kept
    kFloat,
    kText,
    kBytes,
    kTuple,
    kList,
    kSet,
    kDict,
    kGlobal,
    kPersistent,  // what the pickle says about something outside of it: an item
    kCall,        // of a global, with a tuple
    kObject,      // of a class, with a state
  };

  // REQUIRES: `text` is less than 4 GiB and outlives the reader.
  PickleReader(std::string_view text, FindPickleGlobal find, const PickleLimits& limits = {});

  // Reads all of it, once. false: see the error.
  bool Read();

  struct Error {
    bool unsupported = false;  // well formed as far as it was read
    uint64_t position = 0;     // in the text
    std::string what;
    std::string global;  // the name that is not on the list
  };
  const Error& error() const { return error_; }

  // What the pickle holds. All of this REQUIRES that Read has succeeded. Values can contain
  // themselves, and one value can be contained in many: whoever walks them counts.
  Value root() const { return stack_.front(); }
  Kind kind(Value value) const { return nodes_[value].kind; }
  uint64_t position(Value value) const { return nodes_[value].at; }
  bool boolean(Value value) const { return nodes_[value].a != 0; }
  int64_t integer(Value value) const;
  double real(Value value) const;
  std::string_view text(Value value) const;  // kText and kBytes
  // Of a tuple, list or set; of a dict key, value, key, value, ...; of kPersistent just one.
  std::span<const Value> items(Value value) const;
  PickleGlobal global(Value value) const { return globals_[nodes_[value].a].meaning; }
  std::string_view global_name(Value value) const { return globals_[nodes_[value].a].name; }
  // Of kCall.
  Value callee(Value value) const { return nodes_[value].a; }
  Value arguments(Value value) const { return nodes_[value].b; }
  // Of kObject. The state is that of BUILD, if there was one.
  Value object_class(Value value) const { return nodes_[value].a; }
  std::optional<Value> state(Value value) const;

 private:
  struct Node {
    Kind kind = Kind::kNone;
    uint32_t at = 0;
    uint32_t a = 0;
    uint32_t b = 0;
  };
  struct Global {
    std::string name;  // module.name
    PickleGlobal meaning;
  };
  static constexpr Value kNoValue = UINT32_MAX;

  bool Step();
  bool Frame();
  bool Text(Kind kind, uint64_t length);
  bool Long(uint64_t length);
  bool Float();
  bool GlobalFromLines();
  bool GlobalFromStack();
  bool NameGlobal(std::string_view module, std::string_view name);
  bool Put(uint64_t index);
  bool Get(uint64_t index);
  bool Tuple(size_t count);
  bool Container(Kind kind, size_t first_item);
  bool Extend(Kind kind, size_t first_item);
  bool Reduce();
  bool NewObject();
  bool Build();
  bool Persistent();

  // The stack, where a MARK hides what lies below it.
  bool Push(Value value);
  bool PushInt(int64_t value);
  bool PushNew(const Node& node);
  bool Need(size_t count);
  Value Pop();
  // Takes the last MARK off and tells where its items begin.
  bool Mark(size_t* first_item);
  bool NewNode(const Node& node, Value* value);
  bool CountItems(size_t count);

  // A number of that many bytes, little-endian.
  bool Number(size_t bytes, uint64_t* value);
  bool Bytes(uint64_t count, std::string_view* bytes);
  bool Line(std::string_view* line);

  bool Fail(std::string what);
  bool Refuse(std::string what, std::string global = {});

  const std::string_view text_;
  const FindPickleGlobal find_;
  const PickleLimits limits_;
  size_t at_ = 0;
  size_t opcode_at_ = 0;
  bool stopped_ = false;
  std::deque<Node> nodes_;
  std::vector<Value> tuples_;                   // items of all tuples
  std::vector<std::vector<Value>> containers_;  // of an object: its state
  size_t item_count_ = 0;
  std::vector<Global> globals_;
  std::vector<Value> stack_;
  std::vector<uint32_t> marks_;  // sizes of the stack
  std::vector<Value> memo_;
  Error error_;
};

}  // namespace modeld::checkpoint
