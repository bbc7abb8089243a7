#include "modelctl/verb.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "wire/text.h"

namespace modeld::modelctl {

Argument Operand(const char* name, std::string& value, const char* help) {
  Argument operand = Option(
      name, "", [&value](const std::string& text) { value = text; }, help);
  operand.required = true;
  return operand;
}

Argument OptionalOperand(const char* name, std::optional<std::string>& value, const char* help) {
  return Option(
      name, "", [&value](const std::string& text) { value = text; }, help);
}

Argument Operands(const char* name, std::vector<std::string>& values, const char* help) {
  Argument operands = Option(
      name, "", [&values](const std::string& text) { values.push_back(text); }, help);
  operands.values = Argument::Values::kAll;
  operands.required = true;
  return operands;
}

Argument Flag(const char* name, bool& value, const char* help) {
  return Flag(
      name, [&value] { value = true; }, help);
}

Argument Flag(const char* name, std::function<void()> set, const char* help) {
  Argument flag = Option(
      name, "", [set = std::move(set)](const std::string&) { set(); }, help);
  flag.values = Argument::Values::kNone;
  return flag;
}

Argument Option(const char* name, const char* type, std::function<void(const std::string&)> set,
                const char* help) {
  return {.name = name,
          .help = help,
          .type = type,
          .take = [set = std::move(set)](const std::string& text) {
            set(text);
            return absl::OkStatus();
          }};
}

Argument Option(const char* name, const char* type, std::optional<uint32_t>& value,
                const char* help) {
  return {.name = name, .help = help, .type = type, .take = [&value](const std::string& text) {
            uint32_t number = 0;
            if (!absl::SimpleAtoi(text, &number)) {
              return absl::InvalidArgumentError(
                  wire::StrCat("\"", text, "\" is not a number from 0 to ", UINT32_MAX));
            }
            value = number;
            return absl::OkStatus();
          }};
}

Argument RepeatedOption(const char* name, const char* type,
                        std::function<void(const std::string&)> add, const char* help) {
  Argument option = Option(name, type, std::move(add), help);
  option.values = Argument::Values::kRepeated;
  return option;
}

std::vector<Argument> Join(std::initializer_list<std::vector<Argument>> parts) {
  std::vector<Argument> all;
  for (const std::vector<Argument>& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace modeld::modelctl
