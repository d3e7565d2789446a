// named.h - values by their names in configurations and files, whose text may be anything.
#pragma once

#include <stdexcept>
#include <string>

#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "kernels/common/enum_names.h"

namespace idem {

// Throws Error listing the names.
template <NamedEnum Enum, class Error = ConfigError>
Enum named(const std::string& text) {
  try {
    return enum_from<Enum>(one_line(text));
  } catch (const std::invalid_argument& unknown) {
    throw Error(unknown.what());
  }
}

}  // namespace idem
