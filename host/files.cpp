#include "host/files.h"

#include <fstream>
#include <system_error>

#include "host/errors.h"

namespace idem {

std::string read_file_bytes(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    throw DataError(path.string() + ": no such file; check the path (a relative one starts at the folder of the configuration)");
  if (std::filesystem::is_directory(status)) throw DataError(path.string() + ": is a folder; name the file inside it");
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  if (file) {
    const auto size = std::filesystem::file_size(path, error);
    if (!error) bytes.reserve(static_cast<std::size_t>(size));
    bytes.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (!file || file.bad()) throw DataError(path.string() + ": cannot be read; check its permissions");
  return bytes;
}

void write_file_bytes(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path partial = path.string() + ".partial";
  {
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.flush();
    if (!file) throw DataError(partial.string() + ": cannot be written; check that the folder exists, is writable and has room");
  }
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  if (error) throw DataError(path.string() + ": cannot be written (" + error.message() + "); choose another name");
}

}  // namespace idem
