// metrics_file.h - metrics.json, whose keys host/FORMATS.md lists, and the checksum that tells damage: its first key,
// "crc32", the CRC-32 (zlib's, eight hexadecimal digits) of the file's bytes without the line that holds this key. A
// file without the key is taken as it is.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace idem {

// Throws DataError.
void write_metrics_file(const std::filesystem::path& path, const nlohmann::json& metrics);

// Without the key "crc32". Throws DataError where the file is missing, no JSON object or damaged.
nlohmann::ordered_json read_metrics_file(const std::filesystem::path& path);

}  // namespace idem
