// one_line.h - text out of a file, fit for a one-line message.
#pragma once

#include <string>
#include <string_view>

#include "host/support/utf8.h"

namespace idem {

// At most 60 bytes, with control characters replaced.
inline std::string one_line(std::string_view text) {
  std::string shown(beginning_of(text, 60));
  for (char& letter : shown)
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = '?';
  return text.size() > 60 ? shown + "..." : shown;
}

}  // namespace idem
