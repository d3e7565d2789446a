// zip_directory.h - where the entries of a zip archive lie, which libzip does not tell.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace idem {

struct ZipEntry {
  std::uint64_t offset = 0, packed_bytes = 0;  // of its local header in the file; of its data, which follow that header
};

// The entries of the central directory in its order, zip64 or not; empty where the archive has no directory that can be
// followed to its end.
std::vector<ZipEntry> zip_directory(std::string_view bytes);

// Whether each entry has bytes of its own. Entries that share them let a small file unpack to any size.
bool entries_are_apart(std::vector<ZipEntry> entries, std::uint64_t file_bytes);

}  // namespace idem
