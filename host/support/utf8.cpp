#include "host/support/utf8.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace idem {
namespace {

// Bytes 0x80 to 0x9F of Windows-1252; 0: no character. The others are Latin-1's and so Unicode's.
constexpr std::array<std::uint16_t, 32> kWindows1252 = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                                        0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                                        0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                                        0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

// The bytes of the character that begins at `at`, 0 where none does.
std::size_t character_bytes(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return 0;
  std::uint32_t code = first & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[at + i]);
    if ((next & 0xC0) != 0x80) return 0;
    code = (code << 6) | (next & 0x3Fu);
  }
  const bool is_overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  return is_overlong || !is_character(code) ? 0 : length;
}

// The byte that \xHH at `at` stands for, -1 where nothing is escaped.
int escaped_byte(std::string_view text, std::size_t at) {
  unsigned byte = 0;
  if (text.substr(at, 2) != "\\x" || at + 4 > text.size()) return -1;
  const auto result = std::from_chars(text.data() + at + 2, text.data() + at + 4, byte, 16);
  const bool is_escape =
      result.ec == std::errc() && result.ptr == text.data() + at + 4 && (byte >= 0x80 || byte == '\\');
  return is_escape ? static_cast<int>(byte) : -1;
}

}  // namespace

std::string_view beginning_of(std::string_view text, std::size_t n_bytes) {
  if (text.size() <= n_bytes) return text;
  while (n_bytes > 0 && (static_cast<unsigned char>(text[n_bytes]) & 0xC0) == 0x80) --n_bytes;
  return text.substr(0, n_bytes);
}

bool is_character(std::uint32_t code_point) {
  return code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF);
}

std::size_t find_invalid_utf8(std::string_view text, std::size_t from) {
  while (from < text.size()) {
    const std::size_t n_bytes = character_bytes(text, from);
    if (n_bytes == 0) return from;
    from += n_bytes;
  }
  return std::string_view::npos;
}

void append_utf8(std::string& text, std::uint32_t code) {
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | (code >> 6));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | (code >> 12));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | ((code >> 18) & 0x07));
    text += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::optional<std::string> utf8_of_windows_1252(std::string_view text) {
  std::string utf8;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    const std::uint32_t code = byte >= 0x80 && byte < 0xA0 ? kWindows1252[byte - 0x80] : byte;
    if (code == 0 && byte != 0) return std::nullopt;
    append_utf8(utf8, code);
  }
  return utf8;
}

std::string text_of_path(const std::filesystem::path& path) {
  const std::string bytes = path.string();
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t n_bytes = character_bytes(bytes, at);
    if (n_bytes == 0 || escaped_byte(bytes, at) >= 0) {
      text += fmt::format("\\x{:02X}", static_cast<unsigned char>(bytes[at++]));
      continue;
    }
    text += bytes.substr(at, n_bytes);
    at += n_bytes;
  }
  return text;
}

std::filesystem::path path_of_text(std::string_view text) {
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const int byte = escaped_byte(text, at);
    bytes += byte >= 0 ? static_cast<char>(byte) : text[at];
    at += byte >= 0 ? 4 : 1;
  }
  return bytes;
}

}  // namespace idem
