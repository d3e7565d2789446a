// data_file.h - any file that numbers come in, told apart by content and not by name: .npz, .npy, joblib or pickle,
// CSV; each also under gzip.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "host/formats/npz.h"

namespace idem {

struct DataFile {
  std::string where;                                              // the path, for messages
  std::map<std::string, NumpyArray> arrays;                       // .npy, CSV and a pickled array: one, named ""
  std::vector<std::string> column_names;                          // CSV with a header
  std::map<std::int64_t, std::vector<std::string>> text_columns;  // CSV: columns of text as written, NaN in the array
  std::vector<std::string> notes;                                 // CSV: what was read otherwise than it is written

  // The array of that name; "" is the only array there is. Throws DataError listing what the file holds.
  const NumpyArray& array(const std::string& name) const;
  std::string contents() const;  // "spikes [6577 x 48], position [6577 x 3]"
};

DataFile read_data_file(const std::filesystem::path& path);

}  // namespace idem
