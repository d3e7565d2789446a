#include "host/formats/csv.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>

#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\r')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// "-12,5" or "1,5e3": digits, one comma, digits. `may_be_grouped`: as "1,234", which is 1234 where commas group
// thousands.
bool has_decimal_comma(std::string_view text, bool& may_be_grouped) {
  const auto digits_end = [&](std::size_t from) {
    while (from < text.size() && text[from] >= '0' && text[from] <= '9') ++from;
    return from;
  };
  const std::size_t first = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0, comma = digits_end(first);
  if (comma == first || comma == text.size() || text[comma] != ',') return false;
  const std::size_t end = digits_end(comma + 1);
  if (end == comma + 1 || (end < text.size() && text[end] != 'e' && text[end] != 'E')) return false;
  may_be_grouped = end == text.size() && end - comma == 4 && comma - first <= 3 && text[first] != '0';
  return true;
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
    // Excel's own first line.
    if (bytes_.starts_with("sep=") && bytes_.find('\n') != std::string_view::npos && bytes_.size() > 5) {
      separator_ = bytes_[4];
      at_ = bytes_.find('\n') + 1;
      line_ = 1;
    } else {
      find_separator();
    }
  }

  char separator() const { return separator_; }
  std::int64_t line() const { return line_; }
  const std::string& note() const { return note_; }

  // So that the row just read is the next one.
  void step_back() {
    at_ = row_begin_;
    --line_;
  }

  // A table of one column has blank lines for missing values.
  void keep_blank_lines() { keeps_blank_lines_ = true; }

  // The next row that is not blank; false at the end.
  bool next(std::vector<std::string>& cells) {
    for (;;) {
      if (at_ >= bytes_.size()) return false;
      row_begin_ = at_;
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
        throw DataError(
            fmt::format("{}: the quote opened in row {} never closes; the file is truncated or damaged, save it again",
                        where_, line_));
      ++at_;
      if (cells.size() == 1 && !was_quoted && !keeps_blank_lines_ && trimmed(cells[0]).empty()) continue;
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
        throw DataError(
            fmt::format("{}: row {}, column {} holds text that is neither UTF-8 nor Windows-1252 (the byte "
                        "0x{:02X}){}; save the table "
                        "as CSV UTF-8",
                        where_, line_, column, static_cast<unsigned char>(cells[column][at]),
                        is_mixed_ ? ", while other text of the table is UTF-8" : ""));
      if (note_.empty())
        note_ = fmt::format(
            "{} is not UTF-8 and was read as Windows-1252 (row {}, column {}: \"{}\"); if that is wrong, save it as "
            "CSV UTF-8",
            where_, line_, column, one_line(*text));
      cells[column] = *text;
    }
  }

  // The one that cuts most of the first lines into the same number of cells; of equals a tab before a semicolon before
  // a comma. Comments before the table count only where no other line has several cells.
  void find_separator() {
    for (const bool in_comments : {false, true}) {
      const auto lines = first_lines(in_comments);
      std::size_t most_alike = 0;
      for (const char candidate : {'\t', ';', ','}) {
        std::map<std::size_t, std::size_t> n_lines;  // by how often the candidate occurs
        for (const auto line : lines)
          if (const std::size_t n = occurrences(candidate, line); n > 0) ++n_lines[n];
        for (const auto& [n, alike] : n_lines)
          if (alike > most_alike) {
            most_alike = alike;
            separator_ = candidate;
          }
      }
      if (most_alike > 0) return;
    }
  }
  std::vector<std::string_view> first_lines(bool of_comments) const {
    constexpr std::size_t most = 50;
    std::vector<std::string_view> lines;
    for (std::size_t begin = 0; begin < bytes_.size() && lines.size() < most;) {
      const std::size_t end = std::min(bytes_.find('\n', begin), bytes_.size());
      const auto line = bytes_.substr(begin, end - begin);
      begin = end + 1;
      if (line.starts_with('#') == of_comments) lines.push_back(line);
    }
    return lines;
  }
  static std::size_t occurrences(char wanted, std::string_view line) {  // outside quotes
    bool quoted = false;
    std::size_t n = 0;
    for (const char letter : line) {
      if (letter == '"') quoted = !quoted;
      n += !quoted && letter == wanted;
    }
    return n;
  }

  std::string_view bytes_;
  const std::string& where_;
  char separator_ = ',';
  bool keeps_blank_lines_ = false;
  std::size_t at_ = 0, row_begin_ = 0;
  std::int64_t line_ = 0;
  bool is_utf8_ = true, is_mixed_ = false;
  std::string note_;
};

// What the cells of a column are; words are neither numbers nor missing.
struct ColumnKind {
  std::int64_t n_words = 0, n_commas = 0;
  bool has_point = false;
  bool reads_commas = false;
  bool is_text() const { return n_words > 0 || (n_commas > 0 && !reads_commas); }
};

// Where the table begins: after the comments, and after the header if there is one.
struct Beginning {
  std::vector<std::string> header;
  std::size_t n_columns = 0;
};

bool is_header(const std::vector<std::string>& first, const std::vector<std::string>& second) {
  bool all_text = true, text_over_number = false;
  for (std::size_t column = 0; column < first.size(); ++column) {
    double ignored;
    const auto is_number = [&](const std::string& cell) {
      return parse_number(cell, ignored) || parse_decimal_comma(cell, ignored);
    };
    const bool is_text = !is_missing_word(first[column]) && !is_number(first[column]);
    all_text = all_text && is_text;
    text_over_number = text_over_number || (is_text && column < second.size() && is_number(second[column]));
  }
  return text_over_number || all_text;
}

// Moves `reader` to the first row of numbers.
Beginning find_beginning(Reader& reader, const std::string& where) {
  Beginning beginning;
  std::vector<std::string> first, comment, second;
  bool has_row = reader.next(first);
  if (!has_row) throw DataError(where + ": is empty; save the table again");
  while (has_row && first[0].starts_with('#')) {
    comment = first;
    has_row = reader.next(first);
  }
  if (!has_row) throw DataError(where + ": has a header but no rows; save the table again");
  beginning.n_columns = first.size();
  Reader ahead = reader;
  const bool has_second = ahead.next(second);
  if (comment.size() == first.size()) {
    comment[0] = std::string(trimmed(std::string_view(comment[0]).substr(1)));
    beginning.header = std::move(comment);
  } else if (has_second && is_header(first, second)) {
    beginning.header = std::move(first);
    return beginning;
  }
  reader.step_back();
  return beginning;
}

// A row of another length than the first: lines before the table, or a damaged file.
[[noreturn]] void refuse_row(const Reader& reader, const std::string& where, const std::vector<std::string>& first,
                             std::int64_t first_line, std::int64_t line_before, const std::vector<std::string>& row) {
  constexpr std::int64_t longest_preamble = 50;
  std::vector<std::string> next;
  Reader ahead = reader;
  if (line_before <= longest_preamble && row.size() > first.size() && ahead.next(next) && next.size() == row.size())
    throw DataError(fmt::format(
        "{}: {} no part of the table: row {} is \"{}\" and has {} cell{}, where from row {} on there are {}; remove "
        "what stands before the table, or "
        "begin those lines with #",
        where,
        first_line == line_before ? fmt::format("row {} is", first_line)
                                  : fmt::format("rows {} to {} are", first_line, line_before),
        first_line, one_line(first[0]), first.size(), first.size() == 1 ? "" : "s", reader.line(), row.size()));
  throw DataError(
      fmt::format("{}: row {} has {} cells where the first has {}; the file is truncated or damaged, save it again",
                  where, reader.line(), row.size(), first.size()));
}

// Looks at every cell once, so that what a column is does not hang on which of its cells comes first.
std::vector<ColumnKind> column_kinds(Reader reader, const Beginning& beginning, const std::string& where,
                                     std::int64_t& n_rows) {
  std::vector<ColumnKind> kinds(beginning.n_columns);
  std::vector<std::string> first = beginning.header, row;
  std::int64_t first_line = reader.line(), line_before = first_line;
  bool cannot_be_grouped = reader.separator() == ';', has_blank_inside = false;
  std::int64_t n_blank_at_end = 0;
  for (n_rows = 0; reader.next(row); ++n_rows) {
    if (first.empty()) {
      first = row;
      first_line = reader.line();
    }
    if (row.size() != beginning.n_columns) refuse_row(reader, where, first, first_line, line_before, row);
    line_before = reader.line();
    const bool is_blank = row.size() == 1 && row[0].empty();
    has_blank_inside = has_blank_inside || (!is_blank && n_blank_at_end > 0);
    n_blank_at_end = is_blank ? n_blank_at_end + 1 : 0;
    for (std::size_t column = 0; column < row.size(); ++column) {
      const std::string& cell = row[column];
      double ignored;
      bool may_be_grouped = false;
      if (is_missing_word(cell)) continue;
      if (parse_number(cell, ignored))
        kinds[column].has_point = kinds[column].has_point || cell.find('.') != std::string::npos;
      else if (reader.separator() != ',' && has_decimal_comma(cell, may_be_grouped)) {
        ++kinds[column].n_commas;
        cannot_be_grouped = cannot_be_grouped || !may_be_grouped;
      } else {
        ++kinds[column].n_words;
      }
    }
  }
  if (!has_blank_inside) n_rows -= n_blank_at_end;  // a blank line or two at the end of a file mean nothing
  for (auto& kind : kinds) kind.reads_commas = kind.n_commas > 0 && cannot_be_grouped && !kind.has_point;
  return kinds;
}

}  // namespace

bool is_missing_word(std::string_view text) {
  constexpr std::array<std::string_view, 7> words = {"", "nan", "NaN", "NA", "N/A", "None", "null"};
  return std::find(words.begin(), words.end(), trimmed(text)) != words.end();
}

bool parse_number(std::string_view text, double& value) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

bool parse_decimal_comma(std::string_view text, double& value) {
  bool ignored;
  if (!has_decimal_comma(text, ignored)) return false;
  std::string with_point(text);
  with_point[with_point.find(',')] = '.';
  return parse_number(with_point, value);
}

Table parse_csv(std::string_view bytes, const std::string& where) {
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF"))
    throw DataError(
        where + ": is UTF-16 text (\"Unicode text\" of spreadsheets), which is not read; save the table as CSV UTF-8");
  if (bytes.find('\0') != std::string_view::npos)
    throw DataError(where +
                    ": is neither .npz, .npy, joblib/pickle nor text; save the recording as .npz (numpy.savez), .npy, "
                    ".jl (joblib.dump) or .csv");
  std::string lines;  // old Macs end lines by carriage returns alone
  if (bytes.find('\n') == std::string_view::npos && bytes.find('\r') != std::string_view::npos) {
    lines = bytes;
    std::replace(lines.begin(), lines.end(), '\r', '\n');
    bytes = lines;
  }
  Reader reader(bytes, where);
  Beginning beginning = find_beginning(reader, where);
  if (beginning.n_columns == 1) reader.keep_blank_lines();
  Table table;
  table.n_columns = static_cast<std::int64_t>(beginning.n_columns);
  const auto kinds = column_kinds(reader, beginning, where, table.n_rows);
  if (table.n_rows == 0) throw DataError(where + ": has a header but no rows; save the table again");
  std::vector<std::string> row;
  for (std::int64_t i = 0; i < table.n_rows && reader.next(row); ++i)
    for (std::size_t column = 0; column < row.size(); ++column) {
      double value = std::numeric_limits<double>::quiet_NaN();
      if (kinds[column].is_text())
        table.text_columns[static_cast<std::int64_t>(column)].push_back(row[column]);
      else if (!is_missing_word(row[column]) && !parse_number(row[column], value))
        parse_decimal_comma(row[column], value);
      table.numbers.push_back(value);
    }
  if (!reader.note().empty()) table.notes.push_back(reader.note());
  std::vector<std::string> with_commas;
  for (std::size_t column = 0; column < kinds.size(); ++column)
    if (kinds[column].reads_commas && !kinds[column].is_text())
      with_commas.push_back(beginning.header.empty() ? std::to_string(column) : one_line(beginning.header[column]));
  if (!with_commas.empty())
    table.notes.push_back(
        fmt::format("{}: decimal commas read as points in column{} {}", where, with_commas.size() == 1 ? "" : "s",
                    with_commas.size() > 8 ? fmt::format("{} and {} more", with_commas.front(), with_commas.size() - 1)
                                           : fmt::format("{}", fmt::join(with_commas, ", "))));
  table.column_names = std::move(beginning.header);
  return table;
}

}  // namespace idem
