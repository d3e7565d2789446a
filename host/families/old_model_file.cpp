#include "host/families/old_model_file.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <fmt/format.h>
#include <zlib.h>

namespace idem {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as memory lies");

constexpr std::string_view kMagic("idem\r\n\x1a\n", 8);
constexpr std::uint32_t kLastVersion = 2;
constexpr std::size_t kFixedBytes = 16, kCrcBytes = 4;  // magic, version and the header's length; of all before it

std::uint32_t uint32_at(std::string_view bytes, std::size_t offset) {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

}  // namespace

bool begins_as_old_model(std::string_view bytes) {
  return !bytes.empty() && bytes.substr(0, kMagic.size()) == kMagic.substr(0, bytes.size());
}

std::pair<std::string_view, std::string_view> parse_old_model(std::string_view bytes) {
  if (bytes.size() < kFixedBytes + kCrcBytes) throw std::invalid_argument("is cut short; copy it again");
  const std::uint32_t version = uint32_at(bytes, 8);
  if (version > kLastVersion)
    throw std::invalid_argument(fmt::format(
        "has format version {}, of which no model.idem is (up to {}); copy it again", version, kLastVersion));
  const std::string_view body = bytes.substr(0, bytes.size() - kCrcBytes);
  if (crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size()) != uint32_at(bytes, body.size()))
    throw std::invalid_argument("is cut short or damaged (its checksum does not match); copy it again or train again");
  const std::size_t header_bytes = uint32_at(bytes, 12);
  if (header_bytes > body.size() - kFixedBytes)
    throw std::invalid_argument("has a header longer than the file; train again");
  return {body.substr(kFixedBytes, header_bytes), body.substr(kFixedBytes + header_bytes)};
}

}  // namespace idem
