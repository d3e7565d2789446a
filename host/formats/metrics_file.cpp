#include "host/formats/metrics_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include "host/support/errors.h"
#include "host/support/files.h"

namespace idem {
namespace {

std::string checksum_line(std::string_view text) {
  return fmt::format("  \"crc32\": \"{:08x}\",\n",
                     crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

bool is_whole(std::string text) {
  const auto begin = text.find("  \"crc32\": \"");
  const auto end = text.find('\n', begin);
  if (begin == std::string::npos || end == std::string::npos) return false;
  const std::string line = text.substr(begin, end + 1 - begin);
  text.erase(begin, line.size());
  return line == checksum_line(text);
}

}  // namespace

void write_metrics_file(const std::filesystem::path& path, const nlohmann::json& metrics) {
  std::string text = metrics.dump(2) + "\n";
  text.insert(text.find('\n') + 1, checksum_line(text));
  write_file_bytes(path, text);
}

nlohmann::ordered_json read_metrics_file(const std::filesystem::path& path) {
  constexpr const char* kRemedy =
      "put a whole copy back, or remove the file and train all of its runs again with idem run CONFIG --out FOLDER "
      "--resume";
  const std::string text = read_file_bytes(path);
  auto metrics = nlohmann::ordered_json::parse(text, nullptr, false);
  if (metrics.is_discarded() || !metrics.is_object())
    throw DataError(fmt::format("{}: is not JSON or damaged; {}", path.string(), kRemedy));
  if (!metrics.contains("crc32")) return metrics;
  if (!is_whole(text))
    throw DataError(
        fmt::format("{}: was damaged or changed (its crc32 does not match); {}; or, if it is right as it is, remove "
                    "its line \"crc32\"",
                    path.string(), kRemedy));
  metrics.erase("crc32");
  return metrics;
}

}  // namespace idem
