#include "modelctl/table.h"

#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "modelctl/text.h"

namespace modeld::modelctl {
namespace {

using Align = Column::Align;

Table MakeTable() {
  Table table({{.title = "ID"},
               {.title = "REFERENCE", .shrink_to = 10},
               {.title = "REASON", .optional = true},
               {.title = "SIZE", .align = Align::kRight}});
  table.AddRow({"3f2a", "models/très-long/backbone.safetensors", "", "86.7 MiB"});
  table.AddRow({"77", "模型", "", "2 B"});
  return table;
}

TEST(Table, AlignsByColumnsAndLeavesEmptyOnesOut) {
  EXPECT_EQ(MakeTable().Render(0, false),
            "ID    REFERENCE                                  SIZE\n"
            "3f2a  models/très-long/backbone.safetensors  86.7 MiB\n"
            "77    模型                                        2 B\n");
}

TEST(Table, ShortensTheMiddleOfWhatMayShrinkOnATerminal) {
  EXPECT_EQ(MakeTable().Render(40, false),
            "ID    REFERENCE                     SIZE\n"
            "3f2a  models/très….safetensors  86.7 MiB\n"
            "77    模型                           2 B\n");
}

TEST(Table, StopsShrinkingAtTheLimitOfTheColumn) {
  const std::string text = MakeTable().Render(5, false);
  EXPECT_NE(text.find("mode…nsors"), std::string::npos) << text;
}

TEST(Table, ColoursDoNotChangeTheColumns) {
  Table table({{.title = "STATE"}, {.title = "N"}});
  table.AddRow({Cell("READY", Style::kGood), "1"});
  table.AddRow({"LOADING 43%", "2"});
  EXPECT_EQ(table.Render(0, true),
            "\033[1mSTATE\033[0m        \033[1mN\033[0m\n"
            "\033[32mREADY\033[0m        1\n"
            "LOADING 43%  2\n");
}

TEST(Table, WithoutRowsIsItsTitles) {
  EXPECT_EQ(
      Table({{.title = "A"}, {.title = "B", .optional = true}, {.title = "C"}}).Render(0, false),
      "A  C\n");
}

}  // namespace
}  // namespace modeld::modelctl
