// One layout for what every benchmark prints, so that `bench` shows one table.

#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace modeld::bench {

// REQUIRES: not empty
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// What `fraction` of the values are not above. REQUIRES: not empty
inline double Percentile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(fraction * static_cast<double>(values.size()));
  return values[std::min(rank, values.size() - 1)];
}

// A measurement, what it is held against, and the bound for their ratio.
struct Row {
  std::string name;
  std::string measured;  // with its unit
  std::string baseline;  // with its unit; empty: none
  double ratio = 0;      // 0: none
  // `>= 0.90`; empty: printed only. `holds` then says nothing.
  std::string bound;
  bool holds = true;
};

// `measured` must be at least `bound` times `baseline`; bound 0: printed only.
inline Row AtLeast(std::string name, double measured, double baseline, const char* unit,
                   double bound) {
  char text[3][32] = {};
  std::snprintf(text[0], sizeof(text[0]), "%.2f %s", measured, unit);
  std::snprintf(text[1], sizeof(text[1]), "%.2f %s", baseline, unit);
  if (bound > 0) std::snprintf(text[2], sizeof(text[2]), ">= %.2f", bound);
  const double ratio = measured / baseline;
  return {std::move(name), text[0], text[1], ratio, text[2], bound == 0 || ratio >= bound};
}

// `measured` may be at most `bound` times `baseline`; bound 0: printed only.
inline Row AtMost(std::string name, double measured, double baseline, const char* unit,
                  double bound) {
  Row row = AtLeast(std::move(name), measured, baseline, unit, 0);
  if (bound > 0) {
    char text[32];
    std::snprintf(text, sizeof(text), "<= %.2f", bound);
    row.bound = text;
    row.holds = row.ratio <= bound;
  }
  return row;
}

// `measured` may be at most `limit`, in its own unit; `baseline` 0: there is none.
inline Row Within(std::string name, double measured, double baseline, const char* unit,
                  double limit) {
  char text[3][32] = {};
  std::snprintf(text[0], sizeof(text[0]), "%.2f %s", measured, unit);
  if (baseline > 0) std::snprintf(text[1], sizeof(text[1]), "%.2f %s", baseline, unit);
  std::snprintf(text[2], sizeof(text[2]), "<= %g %s", limit, unit);
  const double ratio = baseline > 0 ? measured / baseline : 0;
  return {std::move(name), text[0], text[1], ratio, text[2], measured <= limit};
}

// `measured` alone.
inline Row Only(std::string name, double measured, const char* unit) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f %s", measured, unit);
  return {.name = std::move(name), .measured = text};
}

// tests/bench/run prints the heading of these columns.
inline void Print(const Row& row) {
  char ratio[32] = "";
  if (row.ratio > 0) std::snprintf(ratio, sizeof(ratio), "%.2f", row.ratio);
  std::printf("| %-66s | %14s | %14s | %6s | %12s | %-6s |\n", row.name.c_str(),
              row.measured.c_str(), row.baseline.c_str(), ratio, row.bound.c_str(),
              row.bound.empty() ? "" : (row.holds ? "ok" : "MISSED"));
  std::fflush(stdout);
}

}  // namespace modeld::bench
