#include "support.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>

namespace example {

Arguments ParseArguments(int argc, char** argv, const char* what_it_does) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--private") == 0) {
      arguments.private_copy = true;
    } else if (std::strcmp(argv[i], "--hold") == 0) {
      arguments.hold = true;
    } else if (argv[i][0] != '-' && arguments.checkpoint.empty()) {
      arguments.checkpoint = argv[i];
    } else {
      arguments.checkpoint.clear();
      break;
    }
  }
  if (arguments.checkpoint.empty()) {
    std::cerr
        << "usage: " << argv[0] << " [--private] [--hold] CHECKPOINT\n"
        << what_it_does << "\n"
        << "  --private  read the file CHECKPOINT into this process instead of asking modeld\n"
        << "  --hold     keep the model until standard input ends\n"
        << "MODELD_ENDPOINT says where modeld is, MODELD_SCOPE who asks.\n";
    std::exit(2);
  }
  return arguments;
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr ||
      EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256::Add(const void* data, std::size_t size_bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, size_bytes);
}

std::string Sha256::Finish() {
  std::array<unsigned char, 32> digest;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest.data(), nullptr);
  std::string text = "sha256:";
  for (const unsigned char byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

void WaitForEndOfInput() {
  std::array<char, 256> ignored;
  while (read(STDIN_FILENO, ignored.data(), ignored.size()) > 0) {
  }
}

}  // namespace example
