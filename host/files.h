// files.h - whole files in memory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace idem {

// The bytes of a file. Throws DataError when it is missing, a folder or unreadable.
std::string read_file_bytes(const std::filesystem::path& path);

// What a gzip or zlib stream holds; other bytes as they are. Throws DataError for a damaged stream and for other compressions, by name.
std::string unpack_if_compressed(std::string bytes, const std::string& where);

// Writes through a temporary name in the same folder, so that a reader never sees half a file. Throws DataError.
void write_file_bytes(const std::filesystem::path& path, std::string_view bytes);

}  // namespace idem
