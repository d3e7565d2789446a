// sha256.h - SHA-256 (FIPS 180-4), by which a page's policy names the scripts that may run.
#pragma once

#include <string>
#include <string_view>

namespace idem {

std::string sha256(std::string_view bytes);  // 32 bytes

}  // namespace idem
