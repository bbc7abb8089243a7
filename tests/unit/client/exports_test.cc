// libmodeld.so exports its public API and nothing else: what it is made of (gRPC messages,
// proto/wire) may be in the program too, in another version.

#include <elf.h>

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Demangled(const char* symbol) {
  int status = 0;
  char* text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : symbol;
  std::free(text);
  return result;
}

std::vector<std::string> ExportedSymbols(const std::string& file) {
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(file.data());
  const std::span sections(reinterpret_cast<const Elf64_Shdr*>(file.data() + header->e_shoff),
                           header->e_shnum);
  std::vector<std::string> names;
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_DYNSYM) continue;
    const char* strings = file.data() + sections[section.sh_link].sh_offset;
    const std::span symbols(reinterpret_cast<const Elf64_Sym*>(file.data() + section.sh_offset),
                            section.sh_size / sizeof(Elf64_Sym));
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_shndx != SHN_UNDEF) names.push_back(Demangled(strings + symbol.st_name));
    }
  }
  return names;
}

TEST(Exports, AreThePublicApiOnly) {
  const std::vector<std::string> symbols = ExportedSymbols(ReadFile(LIBMODELD));
  bool connect = false;
  for (const std::string& symbol : symbols) {
    connect = connect || symbol.starts_with("modeld::Client::Connect(");
    bool is_public = false;
    for (const std::string what : {"", "vtable for ", "typeinfo for ", "typeinfo name for "}) {
      for (const std::string name : {"modeld::Client", "modeld::Error", "modeld::Model",
                                     "modeld::DTypeName", "modeld::BlockOf", "modeld::cuda::"}) {
        is_public = is_public || symbol.starts_with(what + name);
      }
    }
    EXPECT_TRUE(is_public) << symbol;
  }
  EXPECT_TRUE(connect);
}

}  // namespace
