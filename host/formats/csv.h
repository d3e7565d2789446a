// csv.h - tables in text files.
//
// The separator is what cuts most of the first lines into the same number of cells, of equals a tab before a semicolon
// before a comma. Lines that begin with # before the table are left out, but for the last: where it has as many cells
// as the table it is the header (numpy.savetxt's "# a,b"). The first row is a header when it holds text where the
// second holds numbers, or text alone. "..." quotes a cell, "" inside it is a quote. Blank lines are left out; in a
// table of one column they are missing values, but for those after the last value where no other line is blank. A cell
// that is empty or one of NA, N/A, None, null, nan and NaN is missing. A column is numeric when all its other cells are
// numbers, else text. Decimal commas ("0,5") are numbers where the separator is no comma, no cell of the column holds a
// decimal point, and the file tells them from grouped thousands ("1,234"): by a semicolon as separator, or by any cell
// that cannot be grouped. Table::notes says so. Text is UTF-8, with or without a byte-order mark. A table that is not
// is read as Windows-1252 (Latin-1, as spreadsheets of Western Europe write it), and Table::notes says so; one that is
// partly UTF-8, or has bytes that neither knows, is refused with row and column, as is UTF-16.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace idem {

struct Table {
  std::vector<std::string> column_names;  // one per column, or empty without a header
  std::int64_t n_rows = 0, n_columns = 0;
  std::vector<double> numbers;  // [n_rows x n_columns]; NaN where a cell is missing or its column is text
  std::map<std::int64_t, std::vector<std::string>> text_columns;  // by column, n_rows cells each, as written
  std::vector<std::string> notes;                                 // what was read otherwise than it is written
};

// Throws DataError for rows of unequal length, naming the row, and for what is no text.
Table parse_csv(std::string_view bytes, const std::string& where);

// Without blanks around it. is_missing_word: "" and the words above, in that case.
bool is_missing_word(std::string_view text);
bool parse_number(std::string_view text, double& value);
bool parse_decimal_comma(std::string_view text, double& value);  // "12,5"

}  // namespace idem
