// Columns that line up.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace modeld::modelctl {

enum class Style { kPlain, kBold, kDim, kGood, kBusy, kBad };

// The text in that style, by ANSI escapes if `colour`.
std::string Styled(const std::string& text, Style style, bool colour);

// Not explicit: a row is a list of texts.
struct Cell {
  // NOLINTNEXTLINE(google-explicit-constructor)
  Cell(std::string text, Style style = Style::kPlain) : text(std::move(text)), style(style) {}
  Cell(const char* text) : text(text) {}  // NOLINT(google-explicit-constructor)

  std::string text;  // as Printable gives it
  Style style = Style::kPlain;
};

struct Column {
  enum class Align { kLeft, kRight };

  std::string title;
  Align align = Align::kLeft;
  // Where the whole is wider than the terminal, the column may lose the middle of its texts down to
  // this many columns. 0: never.
  size_t shrink_to = 0;
  // Left out when no row has anything in it.
  bool optional = false;
};

// Externally synchronised.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns
  void AddRow(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }

  // A title line and a line for each row; no trailing blanks. `width` is the terminal's, 0 where
  // there is none: then nothing is shortened.
  std::string Render(size_t width, bool colour) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace modeld::modelctl
