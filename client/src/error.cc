#include "modeld/error.h"

#include <utility>

namespace modeld {
namespace {

std::string WithHint(std::string message, const std::string& hint) {
  if (!hint.empty()) message += "; " + hint;
  return message;
}

}  // namespace

Error::Error(ErrorCode code, std::string reason, const std::string& message,
             std::map<std::string, std::string> metadata, std::string hint)
    : std::runtime_error(WithHint(message, hint)),
      code_(code),
      reason_(std::move(reason)),
      metadata_(std::move(metadata)),
      hint_(std::move(hint)) {}

}  // namespace modeld
