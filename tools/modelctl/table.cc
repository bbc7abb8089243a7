#include "modelctl/table.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

constexpr size_t kGap = 2;

const char* Escape(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\033[1m";
    case Style::kDim:
      return "\033[2m";
    case Style::kGood:
      return "\033[32m";
    case Style::kBusy:
      return "\033[33m";
    case Style::kBad:
      return "\033[31m";
  }
  return "";
}

// Takes from the widest column that may give, one column of text at a time, until the row fits.
void Shrink(const std::vector<Column>& columns, const std::vector<size_t>& shown, size_t limit,
            std::vector<size_t>& widths) {
  const auto total = [&] {
    size_t sum = kGap * (shown.size() - 1);
    for (const size_t i : shown) sum += widths[i];
    return sum;
  };
  for (size_t now = total(); now > limit; --now) {
    size_t* widest = nullptr;
    for (const size_t i : shown) {
      if (columns[i].shrink_to == 0 || widths[i] <= columns[i].shrink_to) continue;
      if (widest == nullptr || widths[i] > *widest) widest = &widths[i];
    }
    if (widest == nullptr) return;
    --*widest;
  }
}

}  // namespace

std::string Styled(const std::string& text, Style style, bool colour) {
  if (!colour || style == Style::kPlain || text.empty()) return text;
  return absl::StrCat(Escape(style), text, "\033[0m");
}

std::string Table::Render(size_t width, bool colour) const {
  std::vector<size_t> widths;
  std::vector<size_t> shown;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t widest = 0;
    for (const auto& row : rows_) widest = std::max(widest, DisplayWidth(row[i].text));
    if (!columns_[i].optional || widest > 0) shown.push_back(i);
    widths.push_back(std::max(widest, DisplayWidth(columns_[i].title)));
  }
  if (shown.empty()) return "";
  if (width > 0) Shrink(columns_, shown, width, widths);

  std::string out;
  const auto line = [&](const auto& cell_of) {
    for (const size_t i : shown) {
      const Cell& cell = cell_of(i);
      const std::string text = TruncateMiddle(cell.text, widths[i]);
      const std::string padding(widths[i] - DisplayWidth(text), ' ');
      const bool right = columns_[i].align == Column::Align::kRight;
      if (right) out += padding;
      out += Styled(text, cell.style, colour);
      if (i == shown.back()) break;
      if (!right) out += padding;
      out.append(kGap, ' ');
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };

  std::vector<Cell> titles;
  for (const Column& column : columns_) titles.emplace_back(column.title, Style::kBold);
  line([&](size_t i) -> const Cell& { return titles[i]; });
  for (const auto& row : rows_) line([&](size_t i) -> const Cell& { return row[i]; });
  return out;
}

}  // namespace modeld::modelctl
