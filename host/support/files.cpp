#include "host/support/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <system_error>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

std::string read_file_bytes(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (error && status.type() == std::filesystem::file_type::none)
    throw DataError(path.string() + ": cannot be read (" + error.message() + "); check the path");
  if (!std::filesystem::exists(status))
    throw DataError(path.string() +
                    ": no such file; check the path (one that a configuration names starts at its folder)");
  if (std::filesystem::is_directory(status)) throw DataError(path.string() + ": is a folder; name the file inside it");
  std::ifstream file(path, std::ios::binary);
  std::string bytes;
  if (file) {
    const auto size = std::filesystem::file_size(path, error);
    if (!error) bytes.reserve(to_size(size));
    bytes.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (!file || file.bad()) throw DataError(path.string() + ": cannot be read; check its permissions");
  return bytes;
}

void check_named_file(const std::string& option, const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found)
    throw DataError(option + path + ": no such file; check the path (a relative one starts at the current folder)");
}

std::string unpack_if_compressed(std::string bytes, const std::string& where) {
  const auto byte = [&](std::size_t at) { return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0u; };
  struct Magic {
    std::string_view bytes, name;
  };
  for (const auto& magic :
       {Magic{"BZh", "bzip2"},
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
  if (inflateInit2(&stream, 15 + 32) != Z_OK)
    throw DataError(where + ": cannot be unpacked: no memory");  // 15 + 32: largest window, either header
  constexpr std::size_t largest_bytes = std::size_t{8} << 30;
  std::string unpacked;
  std::string block(std::size_t{1} << 18, '\0');
  std::size_t taken = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      stream.next_in = reinterpret_cast<Bytef*>(bytes.data() + taken);
      stream.avail_in =
          static_cast<uInt>(std::min<std::size_t>(bytes.size() - taken, std::numeric_limits<uInt>::max()));
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
  if (status != Z_STREAM_END)
    throw DataError(where + ": its compressed data end early or are damaged; copy or save it again");
  return unpacked;
}

void write_file_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::error_code ignored;
  // A link keeps pointing where it does; what is no file (a device, a pipe) is written to and not replaced.
  const std::filesystem::path target = !std::filesystem::is_symlink(path, ignored) ? path
                                       : std::filesystem::exists(path, ignored)
                                           ? std::filesystem::canonical(path, ignored)
                                           : path.parent_path() / std::filesystem::read_symlink(path, ignored);
  const auto status = std::filesystem::status(target, ignored);
  const bool in_place = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) &&
                        !std::filesystem::is_directory(status);
  const std::string partial = in_place ? target.string() : target.string() + kPartialEnding;
  const auto fail = [&](const std::string& name) {
    throw DataError(fmt::format("{}: cannot be written ({}); check that the folder exists, is writable and has room",
                                name, std::strerror(errno)));
  };
  const int file = open(partial.c_str(), O_WRONLY | O_CLOEXEC | (in_place ? 0 : O_CREAT | O_TRUNC), 0666);
  if (file < 0) fail(partial);
  bool is_written = true;
  for (std::size_t done = 0; done < bytes.size() && is_written;) {
    const ssize_t n = write(file, bytes.data() + done, bytes.size() - done);
    if (n > 0) done += to_size(n);
    is_written = n > 0 || (n < 0 && errno == EINTR);
  }
  // Some file systems cannot be asked to write to the disk.
  is_written = is_written && (fsync(file) == 0 || errno == EINVAL || errno == ENOSYS);
  int fault = errno;
  if (close(file) != 0 && is_written) {
    is_written = false;
    fault = errno;
  }
  const bool is_named = is_written && (in_place || std::rename(partial.c_str(), target.c_str()) == 0);
  if (is_named) return;
  if (is_written) fault = errno;
  if (!in_place) unlink(partial.c_str());
  errno = fault;
  fail(is_written ? path.string() : partial);
}

}  // namespace idem
