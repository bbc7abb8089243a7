// A verb of modelctl as data: what is typed, what its help says, and what it does.

#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "modelctl/environment.h"

namespace modeld::modelctl {

// An operand (`NAME`) or an option (`-n,--name`) of a verb. The functions below make these. The
// texts are literals: nothing of a verb owns any.
struct Argument {
  enum class Values {
    kNone,      // a flag
    kOne,       // an operand, or an option with its value
    kOptional,  // an option with its value or without, which gives ""
    kRepeated,  // an option that may come again, with one value each time
    kAll,       // the operands from here on, one at least
  };

  const char* name;
  const char* help;
  const char* type;  // what the help calls an option's value, or ""
  Values values = Values::kOne;
  bool required = false;
  // Is given each value, "" for a flag. Its failure is one of usage.
  std::function<absl::Status(const std::string&)> take;
  const char* excludes = nullptr;  // the name of an option before this one
};

// These write where they are told to, which has to outlive the parsing; in a verb, `run` owns it.

Argument Operand(const char* name, std::string& value, const char* help);
Argument OptionalOperand(const char* name, std::optional<std::string>& value, const char* help);
Argument Operands(const char* name, std::vector<std::string>& values, const char* help);

Argument Flag(const char* name, bool& value, const char* help);
Argument Flag(const char* name, std::function<void()> set, const char* help);

// An option with a value, which the help calls `type`; one for a number refuses what is none.
Argument Option(const char* name, const char* type, std::function<void(const std::string&)> set,
                const char* help);
Argument Option(const char* name, const char* type, std::optional<uint32_t>& value,
                const char* help);
// One that may come again; `add` is called for each.
Argument RepeatedOption(const char* name, const char* type,
                        std::function<void(const std::string&)> add, const char* help);

// All of them, in this order.
std::vector<Argument> Join(std::initializer_list<std::vector<Argument>> parts);

struct Verb {
  const char* name;
  std::vector<const char*> aliases = {};
  const char* summary;
  const char* example;  // lines, each indented by two
  std::vector<Argument> arguments = {};
  std::vector<Verb> verbs = {};  // `modelctl alias set`; without one of them `run` is meant
  // Its failure is told and turned into the exit code by the caller.
  std::function<absl::Status(Environment&)> run;
};

}  // namespace modeld::modelctl
