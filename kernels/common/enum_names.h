// enum_names.h - one name for each value of an enum, in a table beside the enum: configurations, model files, options
// and messages all read it there.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace idem {

template <class Enum>
struct EnumName {
  Enum value;
  const char* name;
};

// To be specialised: `what` it is, in a word or two, and `all` names, of every value one.
template <class Enum>
struct EnumNames;

template <class Enum>
concept NamedEnum = requires { EnumNames<Enum>::all; };

template <NamedEnum Enum>
std::string to_string(Enum value) {
  for (const auto& entry : EnumNames<Enum>::all)
    if (entry.value == value) return entry.name;
  throw std::invalid_argument(std::string("unknown ") + EnumNames<Enum>::what);
}

// Throws std::invalid_argument listing the names.
template <NamedEnum Enum>
Enum enum_from(const std::string& name) {
  std::string known;
  for (const auto& entry : EnumNames<Enum>::all) {
    if (name == entry.name) return entry.value;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw std::invalid_argument(std::string("unknown ") + EnumNames<Enum>::what + " \"" + name + "\"; known: " + known);
}

}  // namespace idem
