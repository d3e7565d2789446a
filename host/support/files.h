// files.h - whole files in memory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace idem {

// The bytes of a file. Throws DataError when it is missing, a folder or unreadable.
std::string read_file_bytes(const std::filesystem::path& path);

// Throws DataError where a file that was named on the command line does not exist. option: "--floors ", or "" of an
// argument.
void check_named_file(const std::string& option, const std::string& path);

// What a gzip or zlib stream holds; other bytes as they are. Throws DataError for a damaged stream and for other
// compressions, by name.
std::string unpack_if_compressed(std::string bytes, const std::string& where);

// Ends the name under which a file is written before it is whole.
inline constexpr const char* kPartialEnding = ".partial";

// Writes under a temporary name in the same folder and to the disk, then gives it its name: neither a reader nor a
// power cut sees half a file. Throws DataError, and then leaves nothing of the temporary file.
void write_file_bytes(const std::filesystem::path& path, std::string_view bytes);

}  // namespace idem
