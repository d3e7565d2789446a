#include "host/recordings/read_sources.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/formats/csv.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Json = nlohmann::json;

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

// A column of text as one of numbers, where all that is not missing is one.
void turn_into_numbers(Column& column) {
  if (column.texts.empty()) return;
  std::vector<double> numbers(column.texts.size(), missing);
  for (std::size_t row = 0; row < numbers.size(); ++row)
    if (!is_missing_word(column.texts[row]) && !parse_number(column.texts[row], numbers[row])) return;
  column.numbers = std::move(numbers);
  column.texts.clear();
}

bool begins_like_a_number(const std::string& text) {
  const std::size_t first = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return first < text.size() && text[first] >= '0' && text[first] <= '9';
}

}  // namespace

std::string describe_words(const std::vector<std::string>& texts, const std::string& hint) {
  constexpr std::size_t most_listed = 3;
  std::vector<std::string> rows, words;
  bool is_like_numbers = false;
  std::size_t n_words = 0, n_numbers = 0;
  double ignored;
  for (std::size_t row = 0; row < texts.size(); ++row) {
    if (is_missing_word(texts[row])) continue;
    if (parse_number(texts[row], ignored)) {
      ++n_numbers;
      continue;
    }
    is_like_numbers = is_like_numbers || begins_like_a_number(texts[row]);
    if (++n_words <= most_listed) {
      rows.push_back(std::to_string(row + 1));
      words.push_back(fmt::format("\"{}\"", one_line(texts[row])));
    }
  }
  if (n_words == 0) return fmt::format("holds no value in any of its {} rows; name another column", texts.size());
  const std::string remedy =
      "correct the file (take out rows that are no values), or name a word that means a missing value in "
      "recording.missing_values";
  if (n_numbers == 0 && !is_like_numbers)
    return fmt::format("holds text (row {} is {}); {}", rows.front(), words.front(), hint);
  if (n_numbers == 0)
    return fmt::format(
        "holds text where numbers are needed (row {} is {}); write plain numbers with a decimal point, and times in "
        "seconds",
        rows.front(), words.front());
  if (n_words == 1)
    return fmt::format("row {} is {}, the other {} are numbers; {}", rows.front(), words.front(), n_numbers, remedy);
  if (n_words <= most_listed)
    return fmt::format("rows {} are {}, the other {} are numbers; {}", fmt::join(rows, ", "), fmt::join(words, ", "),
                       n_numbers, remedy);
  return fmt::format("{} rows are no numbers (row {} is {}), the other {} are; {}", n_words, rows.front(),
                     words.front(), n_numbers, remedy);
}

bool Column::is_missing(std::size_t row) const { return texts.empty() ? std::isnan(numbers[row]) : texts[row].empty(); }

bool Column::is_equal(std::size_t row, std::size_t other) const {
  if (is_missing(row) || is_missing(other)) return is_missing(row) == is_missing(other);
  return texts.empty() ? numbers[row] == numbers[other] : texts[row] == texts[other];
}

SourceReader::SourceReader(const Json& section, std::filesystem::path base)
    : section_(section), base_(std::move(base)) {
  default_file_ = option<std::string>(section_, "file", "recording").value_or("");
  for (const auto& code :
       option<std::vector<Json>>(section_, "missing_values", "recording").value_or(std::vector<Json>{})) {
    if (!code.is_number() && !code.is_string())
      throw ConfigError(fmt::format("recording.missing_values: {} must be a number or a text", one_line(code.dump())));
    // A code is meant whichever way the file holds it.
    double number = 0;
    if (code.is_number()) missing_numbers_.push_back(code.get<double>());
    if (code.is_string()) missing_texts_.push_back(code.get<std::string>());
    if (code.is_string() && parse_number(code.get<std::string>(), number)) missing_numbers_.push_back(number);
  }
}

std::vector<std::string> SourceReader::notes() const {
  std::vector<std::string> notes;
  for (const auto& [path, file] : files_) notes.insert(notes.end(), file.notes.begin(), file.notes.end());
  return notes;
}

const DataFile& SourceReader::open(const std::string& name, const std::string& path) {
  if (name.empty()) throw ConfigError(path + ": names no file; set its file, or recording.file");
  const std::string file = resolved(name).string();
  if (first_file_.empty()) first_file_ = file;
  const auto found = files_.find(file);
  return found != files_.end() ? found->second : files_.emplace(file, read_data_file(file)).first->second;
}

Source SourceReader::source_of(const Json& value, const std::string& path) const {
  Source source;
  source.path = path;
  source.file = default_file_;
  if (value.is_string()) {
    source.file = value.get<std::string>();
  } else if (value.is_object()) {
    if (const auto file = option<std::string>(value, "file", path)) source.file = *file;
    source.array = option<std::string>(value, "array", path).value_or("");
    if (value.contains("column")) source.column = value.at("column");
    source.columns = option<std::vector<Json>>(value, "columns", path).value_or(std::vector<Json>{});
    source.transpose = option<bool>(value, "transpose", path).value_or(false);
  } else {
    throw ConfigError(path + ": must be a file name or an object with file, array and column");
  }
  return source;
}

double SourceReader::bin_width_ms() const {
  const auto width = option<double>(section_, "bin_width_ms", "recording");
  if (!width) throw ConfigError("recording.bin_width_ms: is missing; give the width of a bin in ms");
  if (!(*width > 0)) throw ConfigError(fmt::format("recording.bin_width_ms: {} must be above 0", *width));
  return *width;
}

std::int64_t SourceReader::column_number(const DataFile& file, const NumpyArray& array, const Json& column,
                                         const std::string& path) {
  const std::int64_t n_columns = array.shape.size() == 2 ? array.shape[1] : 1;
  if (column.is_number_integer()) {
    const auto number = column.get<std::int64_t>();
    if (number >= 0 && number < n_columns) return number;
    throw DataError(fmt::format("{}: has no column {} ({} asks for it); columns there: 0 to {}", array.where, number,
                                path, n_columns - 1));
  }
  if (!column.is_string()) throw ConfigError(path + ": a column is a number from 0 or a header name");
  const auto name = column.get<std::string>();
  const auto found = std::find(file.column_names.begin(), file.column_names.end(), name);
  if (found != file.column_names.end()) return found - file.column_names.begin();
  throw DataError(
      fmt::format("{}: has no column \"{}\" ({} asks for it); columns there: {}", array.where, one_line(name), path,
                  file.column_names.empty() ? "unnamed, use numbers"
                                            : one_line(fmt::format("{}", fmt::join(file.column_names, ", ")))));
}

bool SourceReader::are_of_one_array(const Source& a, const Source& b) {
  const auto normal = [&](const Source& source) { return resolved(source.file).lexically_normal(); };
  return !a.file.empty() && !b.file.empty() && normal(a) == normal(b) &&
         &open(a.file, a.path).array(a.array) == &open(a.file, a.path).array(b.array);
}

Column SourceReader::read_raw_column(const Source& source) {
  const DataFile& file = open(source.file, source.path);
  const NumpyArray& array = file.array(source.array);
  if (array.shape.empty() || array.shape.size() > 2)
    throw DataError(fmt::format("{}: has shape [{}] where {} needs one value per row", array.where,
                                fmt::join(array.shape, " x "), source.path));
  Column column;
  column.where = array.where;
  if (array.shape.size() == 1) {
    if (source.column && *source.column != 0)
      throw DataError(fmt::format("{}: has one axis only; remove {}.column", array.where, source.path));
    if (array.is_text())
      column.texts = array.texts();
    else
      column.numbers = array.as<double>();
    return column;
  }
  if (!source.column && array.shape[1] != 1)
    throw ConfigError(
        fmt::format("{}: say which of the {} columns of {} with \"column\"", source.path, array.shape[1], array.where));
  const std::int64_t number = source.column ? column_number(file, array, *source.column, source.path) : 0;
  column.where += fmt::format(", column {}", number);
  const auto text = file.text_columns.find(number);
  if (text != file.text_columns.end()) {
    column.texts = text->second;
    return column;
  }
  const auto take = [&](const auto& values, auto& into) {
    for (std::int64_t row = 0; row < array.shape[0]; ++row)
      into.push_back(values[to_size(row * array.shape[1] + number)]);
  };
  if (array.is_text())
    take(array.texts(), column.texts);
  else
    take(array.as<double>(), column.numbers);
  return column;
}

bool SourceReader::is_missing_code(double value) const {
  return std::find(missing_numbers_.begin(), missing_numbers_.end(), value) != missing_numbers_.end();
}

Column SourceReader::read_column(const Source& source, const std::vector<std::string>& kept) {
  Column column = read_raw_column(source);
  for (double& number : column.numbers)
    if (is_missing_code(number)) number = missing;
  bool keeps_text = false;
  for (std::string& text : column.texts) {
    double number = 0;
    if (std::find(kept.begin(), kept.end(), text) != kept.end())
      keeps_text = true;
    else if (is_missing_word(text) ||
             std::find(missing_texts_.begin(), missing_texts_.end(), text) != missing_texts_.end() ||
             (!missing_numbers_.empty() && parse_number(text, number) && is_missing_code(number)))
      text.clear();
  }
  if (!keeps_text) turn_into_numbers(column);
  return column;
}

std::vector<double> SourceReader::read_values(const Source& source, const std::string& hint) {
  Column column = read_column(source);
  if (!column.texts.empty()) throw DataError(fmt::format("{}: {}", column.where, describe_words(column.texts, hint)));
  return std::move(column.numbers);
}

std::vector<double> SourceReader::read_numbers(const Source& source, const std::string& hint) {
  Column column = read_raw_column(source);
  turn_into_numbers(column);
  if (!column.texts.empty()) throw DataError(fmt::format("{}: {}", column.where, describe_words(column.texts, hint)));
  return std::move(column.numbers);
}

}  // namespace idem
