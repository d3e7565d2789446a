// utf8.h - UTF-8, which all text inside this program and all that it writes is, and the names of files, which are
// bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace idem {

// Where the first byte lies that belongs to no character (overlong forms, surrogates and what is above U+10FFFF are
// none); npos: all is UTF-8.
std::size_t find_invalid_utf8(std::string_view text, std::size_t from = 0);

// The longest beginning of at most n_bytes that ends with a whole character.
std::string_view beginning_of(std::string_view text, std::size_t n_bytes);

bool is_character(std::uint32_t code_point);  // at most U+10FFFF, no surrogate
void append_utf8(std::string& text, std::uint32_t code_point);

// Text of Windows-1252, which holds all of Latin-1's letters; nothing where it has one of the five bytes that mean
// none.
std::optional<std::string> utf8_of_windows_1252(std::string_view text);

// A path as text, and back to the same bytes. Names of files need not be UTF-8: a byte that is not is written \xE4, and
// where a name itself holds such a backslash that is written \x5C. So every path can stand in a JSON file and be read
// from it.
std::string text_of_path(const std::filesystem::path& path);
std::filesystem::path path_of_text(std::string_view text);

}  // namespace idem
