#include "host/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "host/errors.h"
#include "host/one_line.h"
#include "host/utf8.h"

namespace idem {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\r')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

bool parse_number(std::string_view text, char separator, double& value) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::string with_point;
  if (separator == ';' && std::count(text.begin(), text.end(), ',') == 1 && text.find('.') == std::string_view::npos) {
    with_point = text;
    std::replace(with_point.begin(), with_point.end(), ',', '.');
    text = with_point;
  }
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

// Whether some character beyond ASCII is whole UTF-8.
bool has_utf8_letters(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const auto is_letter = [](char letter) { return static_cast<unsigned char>(letter) >= 0x80; };
    if (!is_letter(bytes[at])) continue;
    std::size_t end = at;
    while (end < bytes.size() && is_letter(bytes[end])) ++end;
    if (find_invalid_utf8(bytes.substr(at, end - at)) != 0) return true;
    at = end;
  }
  return false;
}

// Splits rows into cells of UTF-8; keeps the line number for messages.
class Reader {
 public:
  Reader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {
    const bool has_mark = bytes_.starts_with("\xEF\xBB\xBF");
    if (has_mark) bytes_.remove_prefix(3);
    is_utf8_ = find_invalid_utf8(bytes_) == std::string_view::npos;
    is_mixed_ = !is_utf8_ && (has_mark || has_utf8_letters(bytes_));
    const auto first_line = bytes_.substr(0, bytes_.find('\n'));
    for (const char candidate : {';', '\t'}) {
      bool quoted = false;
      for (const char letter : first_line) {
        if (letter == '"') quoted = !quoted;
        if (!quoted && letter == candidate) separator_ = candidate;
      }
    }
  }

  char separator() const { return separator_; }
  std::int64_t line() const { return line_; }
  const std::string& note() const { return note_; }

  // The next row that is not blank; false at the end.
  bool next(std::vector<std::string>& cells) {
    for (;;) {
      if (at_ >= bytes_.size()) return false;
      cells.assign(1, {});
      ++line_;
      bool quoted = false, was_quoted = false;
      for (; at_ < bytes_.size(); ++at_) {
        const char letter = bytes_[at_];
        if (quoted) {
          if (letter != '"') {
            cells.back() += letter;
          } else if (at_ + 1 < bytes_.size() && bytes_[at_ + 1] == '"') {
            cells.back() += bytes_[++at_];
          } else {
            quoted = false;
          }
        } else if (letter == '"' && trimmed(cells.back()).empty()) {
          quoted = was_quoted = true;
          cells.back().clear();
        } else if (letter == separator_) {
          cells.emplace_back();
        } else if (letter == '\n') {
          break;
        } else {
          cells.back() += letter;
        }
      }
      if (quoted)
        throw DataError(fmt::format("{}: the quote opened in row {} never closes; the file is truncated or damaged, save it again", where_, line_));
      ++at_;
      if (cells.size() == 1 && !was_quoted && trimmed(cells[0]).empty()) continue;
      for (auto& cell : cells) cell = std::string(trimmed(cell));
      if (!is_utf8_) decode(cells);
      return true;
    }
  }

 private:
  void decode(std::vector<std::string>& cells) {
    for (std::size_t column = 0; column < cells.size(); ++column) {
      const std::size_t at = find_invalid_utf8(cells[column]);
      if (at == std::string::npos) continue;
      const auto text = is_mixed_ ? std::nullopt : utf8_of_windows_1252(cells[column]);
      if (!text)
        throw DataError(fmt::format("{}: row {}, column {} holds text that is neither UTF-8 nor Windows-1252 (the byte 0x{:02X}){}; save the table "
                                    "as CSV UTF-8",
                                    where_, line_, column, static_cast<unsigned char>(cells[column][at]),
                                    is_mixed_ ? ", while other text of the table is UTF-8" : ""));
      if (note_.empty())
        note_ = fmt::format("is not UTF-8 and was read as Windows-1252 (row {}, column {}: \"{}\"); if that is wrong, save it as CSV UTF-8", line_,
                            column, one_line(*text));
      cells[column] = *text;
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  char separator_ = ',';
  std::size_t at_ = 0;
  std::int64_t line_ = 0;
  bool is_utf8_ = true, is_mixed_ = false;
  std::string note_;
};

}  // namespace

Table parse_csv(std::string_view bytes, const std::string& where) {
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF"))
    throw DataError(where + ": is UTF-16 text (\"Unicode text\" of spreadsheets), which is not read; save the table as CSV UTF-8");
  if (bytes.find('\0') != std::string_view::npos)
    throw DataError(where +
                    ": is neither .npz, .npy, joblib/pickle nor text; save the recording as .npz (numpy.savez), .npy, .jl (joblib.dump) or .csv");
  Reader reader(bytes, where);
  Table table;
  std::vector<std::string> cells, first;
  if (!reader.next(first)) throw DataError(where + ": is empty; save the table again");
  const bool is_comment = first[0].starts_with('#');
  if (is_comment) first[0] = std::string(trimmed(std::string_view(first[0]).substr(1)));
  const bool has_second = reader.next(cells);
  const auto n_columns = first.size();
  bool has_header = is_comment;
  if (!has_header && has_second) {
    bool all_text = true, text_over_number = false;
    for (std::size_t column = 0; column < n_columns; ++column) {
      double ignored;
      const bool is_number = parse_number(first[column], reader.separator(), ignored);
      all_text = all_text && !is_number && !first[column].empty();
      const bool over_number = column < cells.size() && parse_number(cells[column], reader.separator(), ignored);
      text_over_number = text_over_number || (!is_number && !first[column].empty() && over_number);
    }
    has_header = text_over_number || all_text;
  }
  table.n_columns = static_cast<std::int64_t>(n_columns);
  if (has_header) table.column_names = first;

  std::vector<bool> is_text(n_columns, false), is_known(n_columns, false);
  const auto add_row = [&](const std::vector<std::string>& row) {
    if (row.size() != n_columns)
      throw DataError(fmt::format("{}: row {} has {} cells where the first has {}; the file is truncated or damaged, save it again", where,
                                  reader.line(), row.size(), n_columns));
    for (std::size_t column = 0; column < n_columns; ++column) {
      double value = std::numeric_limits<double>::quiet_NaN();
      const bool is_number = row[column].empty() || parse_number(row[column], reader.separator(), value);
      if (!is_known[column] && !row[column].empty()) {
        is_known[column] = true;
        is_text[column] = !is_number;
        if (!is_number) table.text_columns[static_cast<std::int64_t>(column)].resize(static_cast<std::size_t>(table.n_rows));
      }
      if (is_text[column]) {
        table.text_columns[static_cast<std::int64_t>(column)].push_back(row[column]);
        value = std::numeric_limits<double>::quiet_NaN();
      } else if (!is_number) {
        throw DataError(fmt::format("{}: row {}, column {}{} holds \"{}\" where the rows above hold numbers; correct that cell", where, reader.line(),
                                    column, has_header ? " (" + one_line(first[column]) + ")" : "", one_line(row[column])));
      }
      table.numbers.push_back(value);
    }
    ++table.n_rows;
  };
  if (!has_header) add_row(first);
  if (has_second) {
    add_row(cells);
    while (reader.next(cells)) add_row(cells);
  }
  if (table.n_rows == 0) throw DataError(where + ": has a header but no rows; save the table again");
  table.note = reader.note();
  return table;
}

}  // namespace idem
