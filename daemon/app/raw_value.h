// What somebody wrote into modeld.toml, a flag or the environment, before anybody knows what it
// should be.

#pragma once

#include <map>
#include <string>
#include <vector>

namespace modeld::app {

struct RawValue {
  struct Item {
    std::string text;
    bool is_number = false;  // a TOML integer
    std::string place = {};  // in a file: `modeld.toml:3:11`
    bool is_truth = false;   // a TOML boolean
  };
  std::vector<Item> items;
  bool is_list = false;
  std::string origin;
  std::string place = {};  // as an item's
};

// Name of a setting -> what was written.
using RawValues = std::map<std::string, RawValue>;

// A table of a file.
struct RawTable {
  RawValues values;
  std::string place;
};

}  // namespace modeld::app
