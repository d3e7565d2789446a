// csv.h - tables in text files.
//
// The separator is a tab where the first line holds one, else a semicolon, else a comma. The first row is a header when it holds text where the
// second holds numbers; numpy.savetxt's "# a,b" counts as one. "..." quotes a cell, "" inside it is a quote. With semicolons "0,5" is a number.
// A column whose first cell that is not empty is no number is a text column; everywhere else a cell that is no number is a DataError naming row and
// column.
// Text is UTF-8, with or without a byte-order mark. A table that is not is read as Windows-1252 (Latin-1, as spreadsheets of Western Europe write it),
// and `note` says so; one that is partly UTF-8, or has bytes that neither knows, is refused with row and column, as is UTF-16.
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
  std::vector<double> numbers;                                    // [n_rows x n_columns]; NaN where a cell is empty or its column is text
  std::map<std::int64_t, std::vector<std::string>> text_columns;  // by column, n_rows cells each; UTF-8
  std::string note;                                               // what had to be guessed, for the user; or empty
};

Table parse_csv(std::string_view bytes, const std::string& where);

}  // namespace idem
