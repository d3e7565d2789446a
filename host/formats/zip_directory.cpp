#include "host/formats/zip_directory.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace idem {
namespace {

// The layout is that of PKWARE's APPNOTE.TXT, sections 4.3.7 to 4.3.16; all numbers are little endian.
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr std::uint32_t kInZip64 = 0xFFFFFFFF;  // a number of 32 bits that did not fit
constexpr std::uint16_t kZip64Field = 1;

template <class T>
T number_at(std::string_view bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

bool has(std::string_view bytes, std::uint64_t at, std::uint64_t size, std::string_view magic) {
  return at <= bytes.size() && size <= bytes.size() - at && bytes.substr(at, magic.size()) == magic;
}

struct Directory {
  std::uint64_t n_entries = 0, offset = 0;
};

std::optional<Directory> find_directory(std::string_view bytes) {
  // At the end, before a comment of at most 65535 bytes.
  const std::size_t end = bytes.rfind("PK\x05\x06");
  if (end == std::string_view::npos || !has(bytes, end, kEndBytes, "PK\x05\x06")) return std::nullopt;
  Directory directory{number_at<std::uint16_t>(bytes, end + 10), number_at<std::uint32_t>(bytes, end + 16)};
  if (end < kLocatorBytes || !has(bytes, end - kLocatorBytes, kLocatorBytes, "PK\x06\x07")) return directory;
  const auto end64 = number_at<std::uint64_t>(bytes, end - kLocatorBytes + 8);
  if (!has(bytes, end64, kEnd64Bytes, "PK\x06\x06")) return std::nullopt;
  return Directory{number_at<std::uint64_t>(bytes, end64 + 32), number_at<std::uint64_t>(bytes, end64 + 48)};
}

// Reads the numbers of 64 bits that the entry's field of that kind holds, in the order of the format: unpacked size,
// packed size, offset.
bool read_zip64(std::string_view extra, bool has_size, ZipEntry& entry) {
  const bool wants_packed = entry.packed_bytes == kInZip64, wants_offset = entry.offset == kInZip64;
  if (!wants_packed && !wants_offset) return true;
  while (extra.size() >= 4) {
    const auto kind = number_at<std::uint16_t>(extra, 0), size = number_at<std::uint16_t>(extra, 2);
    if (size > extra.size() - 4) return false;
    if (kind == kZip64Field) {
      std::uint64_t at = has_size ? 8 : 0;
      for (auto [wanted, to] : {std::pair{wants_packed, &entry.packed_bytes}, std::pair{wants_offset, &entry.offset}}) {
        if (!wanted) continue;
        if (at + 8 > size) return false;
        *to = number_at<std::uint64_t>(extra, 4 + at);
        at += 8;
      }
      return true;
    }
    extra.remove_prefix(4u + size);
  }
  return false;
}

}  // namespace

std::vector<ZipEntry> zip_directory(std::string_view bytes) {
  const auto directory = find_directory(bytes);
  std::vector<ZipEntry> entries;
  if (!directory) return entries;
  std::uint64_t at = directory->offset;
  for (std::uint64_t i = 0; i < directory->n_entries; ++i) {
    if (!has(bytes, at, kCentralBytes, "PK\x01\x02")) return {};
    ZipEntry entry{number_at<std::uint32_t>(bytes, at + 42), number_at<std::uint32_t>(bytes, at + 20)};
    const std::uint64_t name = number_at<std::uint16_t>(bytes, at + 28),
                        extra = number_at<std::uint16_t>(bytes, at + 30),
                        comment = number_at<std::uint16_t>(bytes, at + 32);
    const bool has_size = number_at<std::uint32_t>(bytes, at + 24) == kInZip64;
    at += kCentralBytes + name;
    if (at > bytes.size() || extra + comment > bytes.size() - at ||
        !read_zip64(bytes.substr(at, extra), has_size, entry))
      return {};
    entries.push_back(entry);
    at += extra + comment;
  }
  return entries;
}

bool entries_are_apart(std::vector<ZipEntry> entries, std::uint64_t file_bytes) {
  std::sort(entries.begin(), entries.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.offset < b.offset; });
  std::uint64_t end = 0;
  for (const auto& entry : entries) {
    // At least the fixed part of its header; the name and more that follow only take it farther from the next one.
    if (entry.offset < end || entry.offset > file_bytes || entry.packed_bytes > file_bytes - entry.offset) return false;
    end = entry.offset + kLocalBytes + entry.packed_bytes;
  }
  return end <= file_bytes;
}

}  // namespace idem
