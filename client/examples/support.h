// What the example workers need around the few lines that they are about.

#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "modeld/model.h"

namespace example {

struct Arguments {
  std::string
      checkpoint;  // what a config says: a path, or a path relative to one of modeld's roots
  bool private_copy = false;  // --private: read the file into this process instead of asking modeld
  bool hold = false;          // --hold: keep the model until standard input ends
};

// Prints usage and exits with 2 when they make no sense.
Arguments ParseArguments(int argc, char** argv, const char* what_it_does);

// The same Model interface over a copy that this process alone has, each tensor in an allocation of
// its own: what every process does where there is no modeld. Throws std::runtime_error.
std::shared_ptr<const modeld::Model> ReadPrivateCopy(const std::string& safetensors_file);

// `sha256:` and 64 hex digits, over all Add()ed bytes.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(const void* data, std::size_t size_bytes);
  std::string Finish();

 private:
  void* context_;
};

void WaitForEndOfInput();

}  // namespace example
