#include "host/formats/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <memory>
#include <stdexcept>

#include "host/support/files.h"
#include "host/support/memory_budget.h"
#include "host/support/one_line.h"
#include "host/support/utf8.h"
#include "host/formats/zip_directory.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

static_assert(std::endian::native == std::endian::little,
              "NumPy files are written as the memory of a little-endian machine");

// Reads the dictionary literal of an .npy header: {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }
class NpyHeaderReader {
 public:
  NpyHeaderReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  void read(std::string& descr, bool& fortran_order, std::vector<std::int64_t>& shape) {
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        if (peek() == '[')
          throw DataError(where_ +
                          ": is a structured array (records with named fields); save each field as its own array");
        descr = quoted();
        has_descr = true;
      } else if (key == "fortran_order") {
        fortran_order = word() == "True";
        has_order = true;
      } else if (key == "shape") {
        expect('(');
        while (!accept(')')) {
          shape.push_back(number());
          if (!accept(',')) {
            expect(')');
            break;
          }
        }
        has_shape = true;
      } else {
        fail();
      }
      accept(',');
    }
    if (!has_descr || !has_order || !has_shape) fail();
  }

 private:
  [[noreturn]] void fail() const { throw DataError(where_ + ": the .npy header is damaged; save the array again"); }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail();
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail();
    const auto end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail();
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  std::string word() {
    peek();
    const auto begin = at_;
    while (at_ < text_.size() && std::isalpha(static_cast<unsigned char>(text_[at_]))) ++at_;
    const std::string value(text_.substr(begin, at_ - begin));
    if (value != "True" && value != "False") fail();
    return value;
  }
  std::int64_t number() {
    peek();
    std::int64_t value = -1;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (result.ec != std::errc() || value < 0) fail();
    at_ = to_size(result.ptr - text_.data());
    accept('L');  // Python 2 wrote long integers so
    return value;
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? " x " : "") + std::to_string(shape[axis]);
  return text + "]";
}

// Elements of a shape; -1 when that does not fit.
std::int64_t count_elements(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const auto extent : shape)
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return -1;
  return count;
}

// A byte that is not UTF-8 becomes U+DC80 to U+DCFF, as Python's surrogateescape has it: texts() refuses it when it is
// asked for.
std::u32string decode_utf8(std::string_view text) {
  std::u32string codes;
  std::size_t invalid = find_invalid_utf8(text);
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    if (at == invalid) {
      codes.push_back(static_cast<char32_t>(0xDC00 + first));
      invalid = find_invalid_utf8(text, ++at);
      continue;
    }
    const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    std::uint32_t code = length == 1 ? first : first & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) code = (code << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
    codes.push_back(static_cast<char32_t>(code));
    at += length;
  }
  return codes;
}

using Archive = std::unique_ptr<zip_t, decltype(&zip_discard)>;

// Deflate cannot shrink by more than this; a larger claim is a lie, and would be believed with an allocation.
constexpr std::uint64_t kMostDeflated = 1032;

// What an array is when its values are looked at: numbers as double, texts one by one.
std::size_t unfolded_bytes(const NumpyArray& array) {
  const auto n = to_size(array.size()), item = to_size(array.type.item_bytes);
  return MemoryBudget::product(n, array.is_text() ? sizeof(std::string) + item
                                  : item <= 2     ? sizeof(float)
                                                  : std::max(item, sizeof(double)));  // small numbers are counts
}

}  // namespace

NumpyType parse_numpy_type(std::string_view code, const std::string& where) {
  const auto refuse = [&](const std::string& why) {
    throw DataError(where + ": has element type '" + one_line(code) + "', " + why);
  };
  NumpyType type;
  std::size_t at = 0;
  if (!code.empty() && std::string_view("<>|=").find(code[0]) != std::string_view::npos) {
    type.swapped = code[0] == '>';
    at = 1;
  }
  if (at >= code.size()) refuse("which is no NumPy type");
  type.kind = code[at];
  if (type.kind == 'O')
    refuse("Python objects, which are never loaded; save plain numbers (array.astype(float)), all rows of one length");
  if (type.kind == '?') return {'b', 1, false};
  const auto result = std::from_chars(code.data() + at + 1, code.data() + code.size(), type.item_bytes);
  if (result.ec != std::errc() || result.ptr != code.data() + code.size())
    refuse("which is not read; convert it with astype('float64')");
  bool known = false;
  switch (type.kind) {
    case 'b': known = type.item_bytes == 1; break;
    case 'i':
    case 'u':
      known = type.item_bytes == 1 || type.item_bytes == 2 || type.item_bytes == 4 || type.item_bytes == 8;
      break;
    case 'f': known = type.item_bytes == 4 || type.item_bytes == 8; break;
    case 'U':  // counted in characters of 4 bytes
      known = type.item_bytes >= 0 && type.item_bytes < (std::int64_t{1} << 40);
      if (known) type.item_bytes *= 4;
      break;
    case 'S': known = type.item_bytes >= 0; break;
    default: break;
  }
  if (!known) refuse("which is not read; convert it with astype('float64')");
  return type;
}

std::int64_t NumpyArray::size() const { return count_elements(shape); }

NumpyArray make_numpy_array(std::vector<std::int64_t> shape, NumpyType type, bool fortran_order, std::string_view data,
                            const std::string& where) {
  const std::int64_t n_elements = count_elements(shape);
  std::int64_t n_bytes = 0;
  // Elements of no bytes (empty strings) would let a few bytes claim any number of them.
  if (n_elements < 0 || __builtin_mul_overflow(n_elements, type.item_bytes, &n_bytes) ||
      (type.item_bytes == 0 && n_elements > 1000))
    throw DataError(where + ": declares the impossible shape " + shape_text(shape) +
                    "; the file is damaged, save it again");
  if (static_cast<std::uint64_t>(n_bytes) != data.size())
    throw DataError(where + ": holds " + std::to_string(data.size()) + " bytes where its shape " + shape_text(shape) +
                    " needs " + std::to_string(n_bytes) + "; the file is truncated or damaged, copy or save it again");
  NumpyArray array;
  array.where = where;
  array.type = type;
  array.type.swapped = false;
  const auto item = to_size(type.item_bytes);
  if (fortran_order && shape.size() > 1 && n_elements > 0) {
    array.bytes.resize(data.size());
    // Walk the destination in C order; `source` is the element's place with the first axis fastest.
    std::vector<std::int64_t> index(shape.size(), 0), stride(shape.size(), 1);
    for (std::size_t axis = 1; axis < shape.size(); ++axis) stride[axis] = stride[axis - 1] * shape[axis - 1];
    std::int64_t source = 0;
    for (std::int64_t element = 0; element < n_elements; ++element) {
      std::memcpy(array.bytes.data() + to_size(element) * item, data.data() + to_size(source) * item, item);
      for (std::size_t axis = shape.size(); axis-- > 0;) {
        source += stride[axis];
        if (++index[axis] < shape[axis]) break;
        source -= stride[axis] * shape[axis];
        index[axis] = 0;
      }
    }
  } else {
    array.bytes.assign(data);
  }
  const std::size_t word = type.kind == 'U' ? 4 : type.kind == 'S' ? 1 : item;
  if (type.swapped && word > 1)
    for (std::size_t at = 0; at + word <= array.bytes.size(); at += word)
      std::reverse(array.bytes.begin() + static_cast<std::ptrdiff_t>(at),
                   array.bytes.begin() + static_cast<std::ptrdiff_t>(at + word));
  array.shape = std::move(shape);
  return array;
}

NumpyArray parse_npy(std::string_view bytes, const std::string& where) {
  const auto truncated = [&]() {
    return DataError(where + ": ends inside its .npy header; the file is truncated, copy or save it again");
  };
  if (bytes.substr(0, 6) != std::string_view("\x93NUMPY", 6))
    throw DataError(where + ": is not an .npy array; save it with numpy.save or numpy.savez");
  if (bytes.size() < 10) throw truncated();
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw DataError(where + ": .npy version " + std::to_string(version) +
                    " is unknown (1 to 3 are read); save it with a released NumPy");
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) throw truncated();
  std::size_t header_bytes = 0;
  for (std::size_t i = 0; i < length_bytes; ++i)
    header_bytes |= to_size(static_cast<unsigned char>(bytes[8 + i])) << (8 * i);
  const std::size_t begin = 8 + length_bytes;
  if (bytes.size() - begin < header_bytes) throw truncated();
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
  NpyHeaderReader(bytes.substr(begin, header_bytes), where).read(descr, fortran_order, shape);
  return make_numpy_array(std::move(shape), parse_numpy_type(descr, where), fortran_order,
                          bytes.substr(begin + header_bytes), where);
}

NumpyArray read_npy(const std::filesystem::path& path) { return parse_npy(read_file_bytes(path), path.string()); }

std::map<std::string, NumpyArray> read_npz(const std::filesystem::path& path) {
  return parse_npz(read_file_bytes(path), path.string());
}

std::map<std::string, NumpyArray> parse_npz(std::string_view bytes, const std::string& where, std::size_t file_bytes) {
  const auto damaged = [&](const std::string& what) {
    return DataError(where + ": " + what + "; the archive is truncated or damaged, copy or save it again");
  };
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* opened = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  if (!opened) {
    const std::string why = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (source) zip_source_free(source);
    throw damaged("is not a readable .npz archive (" + why + ")");
  }
  zip_error_fini(&error);
  const Archive archive(opened, &zip_discard);
  std::map<std::string, NumpyArray> arrays;
  const zip_int64_t n_entries = zip_get_num_entries(archive.get(), 0);
  if (n_entries <= 0) throw damaged("holds no arrays");
  const auto directory = zip_directory(bytes);
  if (directory.size() != to_size(n_entries)) throw damaged("has an unreadable directory");
  if (!entries_are_apart(directory, bytes.size())) throw damaged("has arrays that share their bytes");
  MemoryBudget budget(bytes.size(), kMostDeflated * sizeof(double), std::min(file_bytes, bytes.size()));
  for (zip_int64_t entry = 0; entry < n_entries; ++entry) {
    zip_stat_t stat;
    if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(entry), 0, &stat) != 0)
      throw damaged("has an unreadable directory");
    if (!(stat.valid & ZIP_STAT_NAME) || !(stat.valid & ZIP_STAT_SIZE) || !(stat.valid & ZIP_STAT_COMP_SIZE))
      throw damaged("has an incomplete directory");
    const std::string name = stat.name;
    if (stat.comp_size != directory[to_size(entry)].packed_bytes) throw damaged("has an unreadable directory");
    if (stat.comp_size > bytes.size() || stat.size > kMostDeflated * stat.comp_size + 1024)
      throw damaged("array " + one_line(name) + " claims an impossible size");
    std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
        zip_fopen_index(archive.get(), static_cast<zip_uint64_t>(entry), 0), &zip_fclose);
    if (!file) throw damaged("array " + one_line(name) + " cannot be opened (" + zip_strerror(archive.get()) + ")");
    budget.spend(stat.size, where + ": array " + one_line(name));
    std::string content(stat.size, '\0');
    const zip_int64_t n_read = zip_fread(file.get(), content.data(), content.size());
    char beyond = 0;  // the check sum is only compared when the end is reached
    if (n_read != static_cast<zip_int64_t>(content.size()) || zip_fread(file.get(), &beyond, 1) != 0)
      throw damaged("array " + one_line(name) + " cannot be unpacked");
    const std::string key = name.ends_with(".npy") ? name.substr(0, name.size() - 4) : name;
    NumpyArray array = parse_npy(content, where + ": array " + one_line(key));
    budget.spend(unfolded_bytes(array) - std::min<std::size_t>(unfolded_bytes(array), content.size()), array.where);
    arrays.insert_or_assign(key, std::move(array));
  }
  return arrays;
}

std::string npy_bytes(const NumpyArray& array) {
  std::string descr = array.type.item_bytes == 1 || array.type.kind == 'S' ? "|" : "<";
  descr += array.type.kind;
  descr += std::to_string(array.type.kind == 'U' ? array.type.item_bytes / 4 : array.type.item_bytes);
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (";
  for (const auto extent : array.shape) header += std::to_string(extent) + ", ";
  if (array.shape.size() > 1) header.resize(header.size() - 2);
  if (array.shape.size() == 1) header.resize(header.size() - 1);
  header += "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');  // the data start at a multiple of 64, as numpy pads it
  header += '\n';
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header + array.bytes;
}

void write_npy(const std::filesystem::path& path, const NumpyArray& array) { write_file_bytes(path, npy_bytes(array)); }

void write_npz(const std::filesystem::path& path, const std::map<std::string, NumpyArray>& arrays) {
  if (arrays.empty()) throw std::invalid_argument("write_npz: no arrays");
  const auto failed = [&](const std::string& why) {
    return DataError(path.string() + ": cannot be written (" + why + ")");
  };
  // In memory: libzip would write under a random name, which a program that is killed leaves behind.
  zip_error_t error;
  zip_error_init(&error);
  const std::unique_ptr<zip_source_t, decltype(&zip_source_free)> memory(
      zip_source_buffer_create(nullptr, 0, 0, &error), &zip_source_free);
  zip_t* opened = memory ? zip_open_from_source(memory.get(), ZIP_TRUNCATE, &error) : nullptr;
  const std::string why = opened ? "" : zip_error_strerror(&error);
  zip_error_fini(&error);
  if (!opened) throw failed(why);
  zip_source_keep(memory.get());  // or the archive would take it along
  Archive archive(opened, &zip_discard);
  std::vector<std::string> contents;  // must outlive zip_close, which does the reading
  contents.reserve(arrays.size());
  for (const auto& [name, array] : arrays) {
    contents.push_back(npy_bytes(array));
    zip_source_t* source = zip_source_buffer(opened, contents.back().data(), contents.back().size(), 0);
    const zip_int64_t entry = source ? zip_file_add(opened, (name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
    if (entry < 0) {
      if (source) zip_source_free(source);
      throw failed(zip_strerror(opened));
    }
    const auto index = static_cast<zip_uint64_t>(entry);
    constexpr zip_uint16_t first_day = (1 << 5) | 1;  // 1980-01-01, the earliest date of a zip archive
    if (zip_set_file_compression(opened, index, ZIP_CM_DEFLATE, 6) != 0 ||
        zip_file_set_dostime(opened, index, 0, first_day, 0) != 0)
      throw failed(zip_strerror(opened));
  }
  if (zip_close(opened) != 0) throw failed(zip_strerror(opened));
  archive.release();
  zip_stat_t stat;
  if (zip_source_stat(memory.get(), &stat) != 0 || zip_source_open(memory.get()) != 0) throw failed("no memory");
  std::string bytes(stat.size, '\0');
  const bool is_read =
      zip_source_read(memory.get(), bytes.data(), bytes.size()) == static_cast<zip_int64_t>(bytes.size());
  zip_source_close(memory.get());
  if (!is_read) throw failed("no memory");
  write_file_bytes(path, bytes);
}

std::vector<std::string> NumpyArray::texts() const {
  if (!is_text()) throw DataError(where + ": holds numbers where text is needed");
  const auto refuse = [&](std::int64_t element, std::uint32_t code_point) {
    if (code_point >= 0xDC80 && code_point <= 0xDCFF)  // a byte, also where Python left it so
      throw DataError(
          fmt::format("{}: element {} holds the byte 0x{:02X}, which is not UTF-8; save the array as text: "
                      "numpy.char.decode(array, 'cp1252'), "
                      "or the encoding it has",
                      where, element, code_point - 0xDC00));
    throw DataError(
        fmt::format("{}: element {} holds U+{:04X}, which is no character; correct that text and save the array again",
                    where, element, code_point));
  };
  std::vector<std::string> result;
  const auto item = to_size(type.item_bytes);
  for (std::int64_t element = 0; element < size(); ++element) {
    const char* begin = bytes.data() + to_size(element) * item;
    std::string value;
    if (type.kind == 'S') {
      value.assign(begin, item);
      if (const std::size_t at = find_invalid_utf8(value); at != std::string::npos)
        refuse(element, 0xDC00u + static_cast<unsigned char>(value[at]));
    } else {
      for (std::size_t at = 0; at < item; at += 4) {
        std::uint32_t code_point;
        std::memcpy(&code_point, begin + at, 4);
        if (!is_character(code_point)) refuse(element, code_point);
        append_utf8(value, code_point);
      }
    }
    while (!value.empty() && value.back() == '\0') value.pop_back();  // shorter strings are padded
    result.push_back(std::move(value));
  }
  return result;
}

std::string NumpyArray::text() const {
  numpy_detail::require_single(*this);
  return texts().front();
}

NumpyArray NumpyArray::of_text(const std::string& utf8) {
  NumpyArray array = of_texts({utf8});
  array.shape.clear();
  return array;
}

NumpyArray NumpyArray::of_texts(const std::vector<std::string>& utf8) {
  std::vector<std::u32string> codes;
  std::size_t longest = 1;
  for (const auto& value : utf8) {
    codes.push_back(decode_utf8(value));
    longest = std::max(longest, codes.back().size());
  }
  NumpyArray array;
  array.shape = {static_cast<std::int64_t>(utf8.size())};
  array.type = {'U', static_cast<std::int64_t>(longest) * 4, false};
  for (auto& value : codes) {
    value.resize(longest, U'\0');
    array.bytes.append(reinterpret_cast<const char*>(value.data()), longest * 4);
  }
  return array;
}

namespace numpy_detail {
void throw_inexact(const NumpyArray& array, std::int64_t element, const std::string& value) {
  throw DataError(array.where + ": element " + std::to_string(element) + " is " + value +
                  " where a whole number that fits is needed; round or rescale the array before saving it");
}
void throw_not_numbers(const NumpyArray& array) {
  throw DataError(array.where + ": holds text where numbers are needed; save it as numbers");
}
void require_single(const NumpyArray& array) {
  if (array.size() != 1)
    throw DataError(array.where + ": has shape " + shape_text(array.shape) + " where a single value is needed");
}
}  // namespace numpy_detail

}  // namespace idem
