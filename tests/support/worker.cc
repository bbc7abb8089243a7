// A worker for tests: does what its standard input says, one line at a time, and answers each line
// with one.
//
//   acquire REF [SCOPE]   ok RESIDENCY_ID BYTES | error REASON
//   await REF [SCOPE]     as acquire, but waits for room
//   attach REF            as acquire, but in a connection of its own
//   checksum              checksum SHA256...       of every tensor of what is held, in file order
//   release               released
//   cycle REF COUNT       cycled COUNT             acquires and releases
//   store                 never answers: writes to the mapping
//   state                 state HELD|...
//   fork                  forked PID               a child that keeps the mapping and sleeps
//
// It connects when the first line wants it. End of input ends it. $MODELD_TEST_DEVICE is the device
// of all that it acquires.

#include <openssl/evp.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "modeld/client.h"
#include "modeld/cuda.h"

namespace {

std::string Checksum(const modeld::Model& model) {
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  std::vector<char> bytes;
  for (std::size_t i = 0; i < model.size(); ++i) {
    const modeld::TensorView tensor = model[i];
    bytes.resize(tensor.size_bytes);
    modeld::cuda::CopyToHost(model, tensor, bytes.data());
    EVP_DigestUpdate(context, bytes.data(), bytes.size());
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context, digest, &size);
  EVP_MD_CTX_free(context);
  std::string text;
  char hex[3];
  for (unsigned int i = 0; i < size; ++i) {
    std::snprintf(hex, sizeof hex, "%02x", digest[i]);
    text += hex;
  }
  return text;
}

const char* StateText(modeld::Model::State state) {
  switch (state) {
    case modeld::Model::State::kHeld:
      return "HELD";
    case modeld::Model::State::kReconnecting:
      return "RECONNECTING";
    case modeld::Model::State::kSuperseded:
      return "SUPERSEDED";
    case modeld::Model::State::kDraining:
      return "DRAINING";
    case modeld::Model::State::kLost:
      return "LOST";
    case modeld::Model::State::kForked:
      return "FORKED";
  }
  return "?";
}

class Worker {
 public:
  explicit Worker(std::string endpoint) : endpoint_(std::move(endpoint)) {}

  std::string Do(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    std::string reference;
    words >> command;
    try {
      if (command == "acquire" || command == "await" || command == "attach") {
        std::string scope;
        words >> reference >> scope;
        if (command == "attach") client_ = modeld::Client::Connect(endpoint_);
        models_.push_back(client().Acquire(Spec(reference),
                                           {.scope = scope, .wait_for_room = command == "await"}));
        return "ok " + models_.back()->residency_id() + " " +
               std::to_string(models_.back()->size_bytes());
      }
      if (command == "checksum") return "checksum " + Checksum(*models_.back());
      if (command == "release") {
        models_.clear();
        return "released";
      }
      if (command == "cycle") {
        int count = 0;
        words >> reference >> count;
        for (int i = 0; i < count; ++i) client().Acquire(Spec(reference));
        return "cycled " + std::to_string(count);
      }
      if (command == "store") {
        *static_cast<volatile char*>(const_cast<void*>((*models_.back())[0].data)) = 1;
        return "stored";
      }
      if (command == "state") return std::string("state ") + StateText(models_.back()->state());
      if (command == "fork") return Fork();
      return "error UNKNOWN_COMMAND";
    } catch (const modeld::Error& error) {
      std::cerr << error.what() << std::endl;
      return "error " + error.reason();
    }
  }

 private:
  modeld::Client& client() {
    if (client_ == nullptr) client_ = modeld::Client::Connect(endpoint_);
    return *client_;
  }

  static modeld::ModelSpec Spec(const std::string& reference) {
    const char* device = std::getenv("MODELD_TEST_DEVICE");
    return {.reference = reference, .device = device == nullptr ? "" : device};
  }

  std::string Fork() {
    const pid_t child = fork();
    if (child == 0) {
      // Lives on after its parent, as a DataLoader's child may, until it is killed.
      while (true) pause();
    }
    return "forked " + std::to_string(child);
  }

  const std::string endpoint_;
  std::shared_ptr<modeld::Client> client_;
  std::vector<std::shared_ptr<const modeld::Model>> models_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: modeld-test-worker ENDPOINT\n";
    return 2;
  }
  Worker worker(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << worker.Do(line) << std::endl;
  }
  return 0;
}
