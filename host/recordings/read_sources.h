// read_sources.h - the arrays and columns that a "recording" section names (SOURCE of read_recording.h).
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/formats/data_file.h"
#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "host/support/utf8.h"

namespace idem {

// The value of a key, none where it is absent or null. Throws ConfigError for another type.
template <class T>
std::optional<T> option(const nlohmann::json& section, const char* key, const std::string& path) {
  const auto found = section.find(key);
  if (found == section.end() || found->is_null()) return std::nullopt;
  try {
    return found->get<T>();
  } catch (const nlohmann::json::exception&) {
    throw ConfigError(fmt::format("{}.{}: has a value of the wrong type, {}", path, key, one_line(found->dump())));
  }
}

// Where one array or column comes from.
struct Source {
  std::string path;  // key in the configuration, for messages
  std::string file, array;
  std::optional<nlohmann::json> column;  // number or name
  std::vector<nlohmann::json> columns;
  bool transpose = false;
};

struct Column {
  std::vector<double> numbers;     // NaN: missing
  std::vector<std::string> texts;  // a column of text; numbers is empty then. "": missing
  std::string where;               // "x.npz: array position, column 0"
  std::size_t size() const { return texts.empty() ? numbers.size() : texts.size(); }
  bool is_missing(std::size_t row) const;
  bool is_equal(std::size_t row, std::size_t other) const;  // two missing values are equal
};

// Reads each file once.
class SourceReader {
 public:
  SourceReader(const nlohmann::json& section, std::filesystem::path base);

  const nlohmann::json& section() const { return section_; }
  const std::string& default_file() const { return default_file_; }
  const std::string& first_file() const { return first_file_; }  // the first that was opened
  std::vector<std::string> notes() const;                        // of all files opened

  const DataFile& open(const std::string& name, const std::string& path);
  Source source_of(const nlohmann::json& value, const std::string& path) const;
  double bin_width_ms() const;  // recording.bin_width_ms; throws ConfigError without one

  // Values, among them missing ones: words of csv.h and the codes of recording.missing_values, but for texts in `kept`,
  // which mean themselves. A column of text whose other values are all numbers is one of numbers.
  Column read_column(const Source& source, const std::vector<std::string>& kept = {});
  // The same of values that must be numbers. `hint` ends the message about a column of words.
  std::vector<double> read_values(const Source& source, const std::string& hint);
  // Times and ids: numbers as they are, in which no code means a missing value.
  std::vector<double> read_numbers(const Source& source, const std::string& hint);

  bool is_missing_code(double value) const;
  bool are_of_one_array(const Source& a, const Source& b);
  static std::int64_t column_number(const DataFile& file, const NumpyArray& array, const nlohmann::json& column,
                                    const std::string& path);

 private:
  Column read_raw_column(const Source& source);
  std::filesystem::path resolved(const std::string& name) const { return base_ / path_of_text(name); }

  const nlohmann::json& section_;
  std::filesystem::path base_;
  std::string default_file_, first_file_;
  std::map<std::string, DataFile> files_;
  std::vector<double> missing_numbers_;
  std::vector<std::string> missing_texts_;
};

// What is wrong with a column of text where numbers are needed, and how to mend it: 'row 1 is "mm", the other 1197 are
// numbers; ...'. Rows are counted from 1 below the header. `hint` is what to do where all are words.
std::string describe_words(const std::vector<std::string>& texts, const std::string& hint);

}  // namespace idem
