// A worker without LibTorch: maps a checkpoint, reads every byte of it and prints a checksum.

#include <modeld/client.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "support.h"

int main(int argc, char** argv) {
  const example::Arguments arguments =
      example::ParseArguments(argc, argv, "Prints a checksum over every tensor of CHECKPOINT.");
  try {
    const std::shared_ptr<const modeld::Model> model =
        arguments.private_copy
            ? example::ReadPrivateCopy(arguments.checkpoint)
            : modeld::Client::Connect()->Acquire({.reference = arguments.checkpoint});

    std::vector<modeld::TensorView> tensors;
    for (std::size_t i = 0; i < model->size(); ++i) {
      tensors.push_back((*model)[i]);
    }
    std::sort(tensors.begin(), tensors.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });

    example::Sha256 digest;
    for (const modeld::TensorView& tensor : tensors) {
      digest.Add(tensor.name.data(), tensor.name.size());
      digest.Add(tensor.data, tensor.size_bytes);
    }
    std::cout << digest.Finish() << "  tensors: " << model->size()
              << ", bytes: " << model->size_bytes() << std::endl;

    if (arguments.hold) {
      example::WaitForEndOfInput();
    }
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << "\n";
    return 1;
  }
}
