// npz.h - NumPy's .npy and .npz files.
//
// Text is UTF-8 in this program: bytes that are not, and code points that are no character, are refused when the text
// is asked for. Read: booleans, integers and floats of 1 to 8 bytes, byte and unicode strings; C or Fortran order; any
// byte order; format versions 1 to 3; archives stored or deflated. Object and structured arrays are refused: they would
// need Python's pickle; so are archives whose arrays share bytes or are, all together, far more than a file of that
// size holds (memory_budget.h). Written: C order, little endian, deflated, members in name order with one fixed time
// stamp, so that the same arrays give the same bytes. Every fault of a file is a DataError of one line that begins with
// the file (and the array inside it).
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

// The element type, as numpy's array-interface code: 'b' boolean, 'i' signed, 'u' unsigned, 'f' float, 'U' unicode (4
// bytes a character), 'S' bytes. swapped: stored with the other byte order than this machine's.
struct NumpyType {
  char kind = 'f';
  std::int64_t item_bytes = 8;
  bool swapped = false;
};

// As "<f8", "|b1", ">i4", "<U12". Throws DataError(where + ...) for what is not read here.
NumpyType parse_numpy_type(std::string_view code, const std::string& where);

struct NumpyArray {
  std::vector<std::int64_t> shape;  // empty: 0-d
  NumpyType type;
  std::string bytes;  // C order, this machine's byte order (little endian)
  std::string where;  // file and name, for messages

  std::int64_t size() const;  // number of elements, 1 for 0-d
  bool is_text() const { return type.kind == 'U' || type.kind == 'S'; }
  // Element-wise conversion in C order. To an integer type only when exact, else DataError naming the element.
  template <class T>
  std::vector<T> as() const;
  template <class T>
  T scalar() const;                        // of a 0-d or one-element array
  std::string text() const;                // of a 0-d or one-element text array, as UTF-8
  std::vector<std::string> texts() const;  // of any text array

  template <class T>
  static NumpyArray of(std::vector<std::int64_t> shape, const std::vector<T>& values);
  template <class T>
  static NumpyArray of_scalar(T value) {
    return of<T>({}, std::vector<T>{value});
  }
  static NumpyArray of_text(const std::string& utf8);                // 0-d
  static NumpyArray of_texts(const std::vector<std::string>& utf8);  // 1-d
};

// Makes a C-ordered array of `data`, which holds exactly shape's elements in the given type and order. Throws
// DataError.
NumpyArray make_numpy_array(std::vector<std::int64_t> shape, NumpyType type, bool fortran_order, std::string_view data,
                            const std::string& where);

NumpyArray parse_npy(std::string_view bytes, const std::string& where);
NumpyArray read_npy(const std::filesystem::path& path);
// file_bytes: of the file on disk, where the archive itself was compressed.
std::map<std::string, NumpyArray> parse_npz(std::string_view bytes, const std::string& where,
                                            std::size_t file_bytes = std::numeric_limits<std::size_t>::max());
std::map<std::string, NumpyArray> read_npz(const std::filesystem::path& path);  // keys without ".npy"

std::string npy_bytes(const NumpyArray& array);
void write_npy(const std::filesystem::path& path, const NumpyArray& array);
void write_npz(const std::filesystem::path& path,
               const std::map<std::string, NumpyArray>& arrays);  // at least one array

// ---- templates ----

namespace numpy_detail {
template <class T>
constexpr NumpyType type_of() {
  static_assert(std::is_arithmetic_v<T>);
  const char kind = std::is_same_v<T, bool> ? 'b' : std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
  return {kind, static_cast<std::int64_t>(sizeof(T)), false};
}
[[noreturn]] void throw_inexact(const NumpyArray& array, std::int64_t element, const std::string& value);
[[noreturn]] void throw_not_numbers(const NumpyArray& array);
void require_single(const NumpyArray& array);

template <class From, class To>
std::vector<To> convert(const NumpyArray& array) {
  std::vector<To> values(to_size(array.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    From from;
    if constexpr (std::is_same_v<From, bool>)
      from = array.bytes[i] != 0;
    else
      std::memcpy(&from, array.bytes.data() + i * sizeof(From), sizeof(From));
    if constexpr (std::is_integral_v<To> && !std::is_same_v<To, bool> && std::is_floating_point_v<From>) {
      // 2^digits is exact in every floating type, max() is not.
      const From limit = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
      const bool inside = from >= static_cast<From>(std::numeric_limits<To>::min()) && from < limit;
      if (!inside || static_cast<From>(static_cast<To>(from)) != from)
        throw_inexact(array, static_cast<std::int64_t>(i), std::to_string(from));
    } else if constexpr (std::is_integral_v<To> && std::is_integral_v<From> && !std::is_same_v<From, bool> &&
                         !std::is_same_v<To, bool>) {
      if (!std::in_range<To>(from)) throw_inexact(array, static_cast<std::int64_t>(i), std::to_string(from));
    }
    values[i] = static_cast<To>(from);
  }
  return values;
}
}  // namespace numpy_detail

template <class T>
std::vector<T> NumpyArray::as() const {
  using namespace numpy_detail;
  switch (type.kind) {
    case 'b': return convert<bool, T>(*this);
    case 'f': return type.item_bytes == 4 ? convert<float, T>(*this) : convert<double, T>(*this);
    case 'i':
      switch (type.item_bytes) {
        case 1: return convert<std::int8_t, T>(*this);
        case 2: return convert<std::int16_t, T>(*this);
        case 4: return convert<std::int32_t, T>(*this);
        default: return convert<std::int64_t, T>(*this);
      }
    case 'u':
      switch (type.item_bytes) {
        case 1: return convert<std::uint8_t, T>(*this);
        case 2: return convert<std::uint16_t, T>(*this);
        case 4: return convert<std::uint32_t, T>(*this);
        default: return convert<std::uint64_t, T>(*this);
      }
    default: throw_not_numbers(*this);
  }
}

template <class T>
T NumpyArray::scalar() const {
  numpy_detail::require_single(*this);
  return as<T>().front();
}

template <class T>
NumpyArray NumpyArray::of(std::vector<std::int64_t> shape, const std::vector<T>& values) {
  NumpyArray array;
  array.shape = std::move(shape);
  array.type = numpy_detail::type_of<T>();
  if (array.size() != static_cast<std::int64_t>(values.size()))
    throw std::invalid_argument("NumpyArray::of: the shape holds another number of elements than values");
  if constexpr (std::is_same_v<T, bool>) {
    for (const bool value : values) array.bytes.push_back(value ? 1 : 0);
  } else if (!values.empty()) {
    array.bytes.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  return array;
}

}  // namespace idem
