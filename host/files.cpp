#include "host/files.h"

#include <zlib.h>

#include <algorithm>
#include <fstream>
#include <limits>
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

std::string unpack_if_compressed(std::string bytes, const std::string& where) {
  const auto byte = [&](std::size_t at) { return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0u; };
  struct Magic {
    std::string_view bytes, name;
  };
  for (const auto& magic : {Magic{"BZh", "bzip2"},
                            Magic{{"\xFD"
                                   "7zXZ\0",
                                   6},
                                  "xz"},
                            Magic{{"\x5D\0\0", 3}, "lzma"}, Magic{"\x04\x22\x4D\x18", "lz4"}, Magic{"\x28\xB5\x2F\xFD", "zstd"}})
    if (bytes.starts_with(magic.bytes))
      throw DataError(where + ": is compressed with " + std::string(magic.name) +
                      ", which is not read; unpack it, or save it with joblib.dump(..., compress='zlib')");
  const bool is_gzip = byte(0) == 0x1F && byte(1) == 0x8B;
  const bool is_zlib = byte(0) == 0x78 && (byte(1) == 0x01 || byte(1) == 0x5E || byte(1) == 0x9C || byte(1) == 0xDA);
  if (!is_gzip && !is_zlib) return bytes;

  z_stream stream{};
  if (inflateInit2(&stream, 15 + 32) != Z_OK) throw DataError(where + ": cannot be unpacked: no memory");  // 15 + 32: largest window, either header
  constexpr std::size_t largest_bytes = std::size_t{8} << 30;
  std::string unpacked;
  std::string block(std::size_t{1} << 18, '\0');
  std::size_t taken = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      stream.next_in = reinterpret_cast<Bytef*>(bytes.data() + taken);
      stream.avail_in = static_cast<uInt>(std::min<std::size_t>(bytes.size() - taken, std::numeric_limits<uInt>::max()));
      taken += stream.avail_in;
    }
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    status = inflate(&stream, Z_NO_FLUSH);
    unpacked.append(block.data(), block.size() - stream.avail_out);
    if (unpacked.size() > largest_bytes) status = Z_MEM_ERROR;
  }
  inflateEnd(&stream);
  if (status == Z_MEM_ERROR) throw DataError(where + ": unpacks to more than 8 GiB; split the recording");
  if (status != Z_STREAM_END) throw DataError(where + ": its compressed data end early or are damaged; copy or save it again");
  return unpacked;
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
