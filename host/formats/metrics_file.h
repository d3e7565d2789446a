// metrics_file.h - metrics.json, whose keys run.h lists, and the checksum that tells damage.
//
// Its first key, "crc32", is the CRC-32 (zlib's, eight hexadecimal digits) of the file's bytes without the line that holds this key. In Python:
//   text = open("metrics.json", "rb").read()
//   line = re.search(rb'  "crc32": "(.{8})",\n', text)
//   zlib.crc32(text.replace(line[0], b"", 1)) == int(line[1], 16)
// A file without the key is taken as it is.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

namespace idem {

// Throws DataError.
void write_metrics_file(const std::filesystem::path& path, const nlohmann::json& metrics);

// Without the key "crc32". Throws DataError where the file is missing, no JSON object or damaged.
nlohmann::ordered_json read_metrics_file(const std::filesystem::path& path);

}  // namespace idem
