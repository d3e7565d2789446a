#include "host/formats/data_file.h"

#include <fmt/format.h>

#include "host/formats/csv.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/support/one_line.h"
#include "host/formats/pickle.h"

namespace idem {

DataFile read_data_file(const std::filesystem::path& path) {
  DataFile file;
  file.where = path.string();
  std::string packed = read_file_bytes(path);
  const std::size_t file_bytes = packed.size();
  const std::string bytes = unpack_if_compressed(std::move(packed), file.where);
  const auto begins = [&](std::string_view magic) { return bytes.starts_with(magic); };
  if (bytes.empty()) throw DataError(file.where + ": is empty; copy or save it again");
  if (begins("\x89HDF") || begins("MATLAB 5.0"))
    throw DataError(file.where +
                    ": is an HDF5 or MATLAB file, which is not read; save its arrays with "
                    "numpy.savez(\"recording.npz\", spikes=..., position=...)");
  if (begins("PK\x03\x04") && bytes.find("[Content_Types].xml") != std::string::npos)
    throw DataError(file.where + ": is a workbook of Excel, which is not read; save its sheet as CSV UTF-8");
  if (begins("PK\x03\x04") || begins("PK\x05\x06")) {
    file.arrays = parse_npz(bytes, file.where, file_bytes);
  } else if (begins("\x93NUMPY")) {
    file.arrays[""] = parse_npy(bytes, file.where);
  } else if (begins("\x80") || begins("(dp") || begins("(lp") || begins("}") || begins("](") || begins("cnumpy") ||
             begins("cjoblib")) {
    file.arrays = parse_pickle(bytes, file.where, file_bytes);
  } else {
    Table table = parse_csv(bytes, file.where);
    file.arrays[""] = NumpyArray::of({table.n_rows, table.n_columns}, table.numbers);
    file.arrays[""].where = file.where;
    file.column_names = std::move(table.column_names);
    file.text_columns = std::move(table.text_columns);
    file.notes = std::move(table.notes);
  }
  return file;
}

std::string DataFile::contents() const {
  std::string text;
  for (const auto& [name, array] : arrays)
    text += fmt::format("{}{}[{}]", text.empty() ? "" : ", ", name.empty() ? "an array " : one_line(name) + " ",
                        fmt::join(array.shape, " x "));
  return text.empty() ? "no arrays" : text;
}

const NumpyArray& DataFile::array(const std::string& name) const {
  if (name.empty() && arrays.size() == 1) return arrays.begin()->second;
  const auto found = arrays.find(name);
  if (found != arrays.end()) return found->second;
  if (name.empty()) throw DataError(fmt::format("{}: holds {}; say which one with \"array\"", where, contents()));
  throw DataError(fmt::format("{}: has no array {}; it holds {}", where, one_line(name), contents()));
}

}  // namespace idem
