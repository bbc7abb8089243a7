// JSON (RFC 8259) read token by token, for headers that nobody vouches for.
//
// A tree would cost many times the text's memory, and a parser with callbacks does not tell at
// which byte it is. This one builds nothing, knows its byte at every token, does not recurse, and
// looks at each byte once or twice.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace modeld::checkpoint {

// Externally synchronised. Every method that returns bool or optional says "no" in the same way: it
// has called Fail, or it calls it itself, and the reader must not be used further except for
// `error` and `error_position`.
class JsonReader {
 public:
  // Levels of arrays and objects within a skipped value.
  static constexpr size_t kMaxDepth = 128;

  // REQUIRES: `text` is UTF-8, and outlives the reader.
  explicit JsonReader(std::string_view text) : text_(text) {}

  // The position in bytes of the next token (white space skipped).
  size_t NextPosition();
  // The next token's first character; '\0' at the end.
  char Peek();
  // Takes the next token if it is this character; no failure otherwise.
  bool TakeIf(char punctuation);
  // Takes this character, or fails with "expected ...".
  bool Take(char punctuation);
  // Is there nothing but white space left?
  bool AtEnd() { return NextPosition() == text_.size(); }

  // A string, unescaped. The view lives as long as the text and the reader.
  std::optional<std::string_view> String();
  // A whole number from 0 to 2^64 - 1, spelled as an integer. `what` names it in the message.
  std::optional<uint64_t> Unsigned(const char* what);
  // Exactly `null`.
  bool Null() { return Literal("null"); }
  // Any value, checked and passed over.
  bool SkipValue();

  // Remembers the first failure; returns false.
  bool Fail(size_t position, std::string what);
  const std::string& error() const { return error_; }
  size_t error_position() const { return error_position_; }

 private:
  bool Literal(std::string_view word);
  bool SkipNumber();
  bool SkipString();
  bool OpeningQuote();
  // From behind the opening quote to behind the closing one; `out` takes the text if it has to be
  // put together.
  bool StringBody(std::string_view* plain, std::string* unescaped);
  bool Escape(std::string* unescaped);
  bool FourHexDigits(uint32_t* unit);
  std::string DescribeNext();

  std::string_view text_;
  size_t at_ = 0;
  std::deque<std::string> unescaped_;  // what the views of escaped strings point to
  std::string error_;
  size_t error_position_ = 0;
};

}  // namespace modeld::checkpoint
