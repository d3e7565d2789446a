#include "engine/device/kernel_name.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>

namespace idem {
namespace {

std::string demangled(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && readable ? readable.get() : symbol;
}

}  // namespace

std::string short_kernel_name(const std::string& symbol) {
  std::string name = demangled(symbol);
  for (const std::string left_out : {"(anonymous namespace)::", "<unnamed>::", "idem::"})
    for (std::size_t at = name.find(left_out); at != std::string::npos; at = name.find(left_out))
      name.erase(at, left_out.size());
  // The arguments begin at the first bracket that is in no template, the name behind the last space before them.
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (depth > 0) continue;
    if (name[i] == ' ') begin = i + 1;
    if (name[i] == '(') name.resize(i);
  }
  return begin < name.size() ? name.substr(begin) : name;
}

}  // namespace idem
