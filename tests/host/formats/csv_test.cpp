#include "host/formats/csv.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/formats/data_file.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "tests/support/error_message.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TEST(Csv, SeparatorsHeadersQuotesAndLineEndsAreFoundOut) {
  const std::vector<double> numbers = {0.5, 1, -2, 3e2};
  for (const std::string bytes :
       {"0.5,1\n-2,3e2\n", "0.5\t1\r\n-2\t3e2", "0,5;1\n-2;3e2\n", "\xEF\xBB\xBF x,y\n0.5, 1\n\n-2 ,+3e2\n",
        "# x y,z\n0.5,1\n-2,3e2\n", "\"a, b\",\"say \"\"c\"\"\"\n\"0.5\",1\n-2,3e2\n"}) {
    const Table table = parse_csv(bytes, "x.csv");
    EXPECT_EQ(table.n_rows, 2) << bytes;
    EXPECT_EQ(table.n_columns, 2) << bytes;
    EXPECT_EQ(table.numbers, numbers) << bytes;
  }
  EXPECT_TRUE(parse_csv("0.5,1\n-2,3\n", "x").column_names.empty());
  EXPECT_EQ(parse_csv("\"a, b\",\"say \"\"c\"\"\"\n1,2\n", "x").column_names,
            (std::vector<std::string>{"a, b", "say \"c\""}));
  EXPECT_EQ(parse_csv("# x,y\n1,2\n", "x").column_names, (std::vector<std::string>{"x", "y"}));
}

TEST(Csv, ColumnsOfTextAreKeptApart) {
  const Table table = parse_csv("time,side,x\n0,left,1\n1,right,\n", "x.csv");
  EXPECT_EQ(table.text_columns.at(1), (std::vector<std::string>{"left", "right"}));
  EXPECT_EQ(table.text_columns.size(), 1u);
  EXPECT_EQ(table.numbers[3], 1);
  EXPECT_TRUE(std::isnan(table.numbers[5]));  // an empty cell is a missing number
  EXPECT_EQ(parse_csv("x,side\n0,\n1,right\n2,\n", "x.csv").text_columns.at(1),
            (std::vector<std::string>{"", "right", ""}));
  EXPECT_TRUE(
      parse_csv("0,left\n1,right\n", "x.csv").column_names.empty());  // a first row like the others is no header
}

TEST(Csv, TextThatIsNotUtf8IsReadAsWindows1252WithANoteOrRefused) {
  const Table utf8 = parse_csv(
      "Stra\xC3\x9F"
      "e,x\nK\xC3\xA4"
      "fig,1\n",
      "x.csv");
  EXPECT_TRUE(utf8.notes.empty());
  const Table latin = parse_csv(
      "Stra\xDF"
      "e,x\nK\xE4"
      "fig,1\n\x80,2\n",
      "x.csv");
  EXPECT_EQ(latin.column_names, (std::vector<std::string>{"Stra\xC3\x9F"
                                                          "e",
                                                          "x"}));
  EXPECT_EQ(latin.text_columns.at(0), (std::vector<std::string>{"K\xC3\xA4"
                                                                "fig",
                                                                "\xE2\x82\xAC"}));
  EXPECT_EQ(latin.notes.at(0),
            "x.csv is not UTF-8 and was read as Windows-1252 (row 1, column 0: \"Stra\xC3\x9F"
            "e\"); if that is wrong, save it as CSV UTF-8");
  EXPECT_EQ(parse_csv("\"a\nK\xE4\",2\n\"b\",1\n", "x.csv").text_columns.at(0)[0], "a\nK\xC3\xA4");
  EXPECT_EQ(parse_csv("\xEF\xBB\xBFK\xC3\xA4,x\nb,1\n", "x.csv").column_names[0], "K\xC3\xA4");
  EXPECT_MESSAGE(DataError, parse_csv("a,b\n1,K\x8D\n", "x.csv"),
                 "x.csv: row 2, column 1 holds text that is neither UTF-8 nor Windows-1252 (the byte 0x8D); save");
  EXPECT_MESSAGE(DataError, parse_csv("a,K\xC3\xA4\n1,K\xE4\n", "x.csv"),
                 "row 2, column 1 holds text that is neither UTF-8 nor Windows-1252 (the byte 0xE4), while");
  EXPECT_MESSAGE(DataError,
                 parse_csv("\xEF\xBB\xBF"
                           "a\nK\xE4\n",
                           "x.csv"),
                 "(the byte 0xE4), while other text of the table is UTF-8; save the table as CSV UTF-8");
  for (const std::string& mark : {std::string("\xFF\xFE"
                                              "a\0",
                                              4),
                                  std::string("\xFE\xFF\0a", 4)})
    EXPECT_MESSAGE(DataError, parse_csv(mark, "x.csv"), "x.csv: is UTF-16 text");
}

TEST(Csv, WordsForAMissingValueAreNoText) {
  for (const std::string word : {"", "nan", "NaN", "NA", "N/A", "None", "null", " NA "}) {
    EXPECT_TRUE(is_missing_word(word)) << word;
    for (const std::string& bytes :
         {"t,x\n0," + word + "\n1,2\n2,3\n", "t,x\n0,1\n1,2\n2," + word + "\n", "0," + word + "\n1,2\n2,5\n"}) {
      const Table table = parse_csv(bytes, "x.csv");
      EXPECT_EQ(table.n_rows, 3) << bytes;
      EXPECT_TRUE(table.text_columns.empty()) << bytes;
      EXPECT_TRUE(std::isnan(table.numbers[1]) || std::isnan(table.numbers[5])) << bytes;
    }
  }
  EXPECT_FALSE(is_missing_word("na"));
  // Whatever the first cell is, one word makes a column of text, as written.
  EXPECT_EQ(parse_csv("t,x\n0,NA\n1,2\n2,lost\n", "x.csv").text_columns.at(1),
            (std::vector<std::string>{"NA", "2", "lost"}));
}

TEST(Csv, BlankLinesOfOneColumnAreMissingValues) {
  EXPECT_EQ(parse_csv("trial\n\n\nT0\n\nT1\n\n\n", "x.csv").text_columns.at(0),
            (std::vector<std::string>{"", "", "T0", "", "T1", "", ""}));
  EXPECT_EQ(parse_csv("x\n1\n2\n\n\n", "x.csv").numbers, (std::vector<double>{1, 2}));
  EXPECT_EQ(parse_csv("x,y\n1,2\n\n3,4\n\n", "x.csv").n_rows, 2);
}

TEST(Csv, DecimalCommasAreReadWhereNothingElseCanBeMeant) {
  const auto numbers = [](const std::string& bytes) { return parse_csv(bytes, "x.tsv").numbers; };
  const Table table = parse_csv("t\tx\n0,000\t-1,333\n0,025\t2\n", "x.tsv");
  EXPECT_EQ(table.numbers, (std::vector<double>{0, -1.333, 0.025, 2}));
  EXPECT_EQ(table.notes, (std::vector<std::string>{"x.tsv: decimal commas read as points in columns t, x"}));
  EXPECT_EQ(numbers("1,5e1;2\n3,25;4\n"), (std::vector<double>{15, 2, 3.25, 4}));
  EXPECT_EQ(numbers("1,234;2\n"), (std::vector<double>{1.234, 2}));  // Excel writes semicolons where commas are decimal
  // Grouped thousands cannot be told from decimals, and commas beside points are not decimal.
  EXPECT_EQ(parse_csv("x\ty\n1,234\t1\n2,345\t2\n", "x.tsv").text_columns.at(0),
            (std::vector<std::string>{"1,234", "2,345"}));
  EXPECT_EQ(parse_csv("x\ty\n1,5\t1\n2.5\t2\n", "x.tsv").text_columns.at(0), (std::vector<std::string>{"1,5", "2.5"}));
  EXPECT_EQ(parse_csv("x,y\n\"1,5\",1\n\"2,5\",2\n", "x.csv").text_columns.at(0),
            (std::vector<std::string>{"1,5", "2,5"}));
  EXPECT_TRUE(parse_csv("x\ty\n1\t2\n", "x.tsv").notes.empty());
}

TEST(Csv, LinesBeforeTheTableAreNamedOrLeftOutAsComments) {
  EXPECT_MESSAGE(DataError, parse_csv("Experiment: rat7\nDate: 2024\n\nt,x\n0,1\n1,2\n", "x.csv"),
                 "x.csv: rows 1 to 3 are no part of the table: row 1 is \"Experiment: rat7\" and has 1 cell, where "
                 "from row 4 on there are 2");
  EXPECT_MESSAGE(DataError, parse_csv("tracking\nt\tx\n0\t1\n1\t2\n", "x.tsv"), "row 1 is no part of the table");
  const Table table = parse_csv("# rat 7\n#\n# by hand; in cm\nt\tx\n0\t1\n1\t2\n", "x.tsv");
  EXPECT_EQ(table.column_names, (std::vector<std::string>{"t", "x"}));
  EXPECT_EQ(table.numbers, (std::vector<double>{0, 1, 1, 2}));
  EXPECT_EQ(parse_csv("# rat 7\n# t,x\n0,1\n1,2\n", "x.csv").column_names, (std::vector<std::string>{"t", "x"}));
}

TEST(Csv, BrokenTablesAreRefusedWithRowAndColumn) {
  EXPECT_MESSAGE(DataError, parse_csv("a,b\n1,2\n3\n", "x.csv"), "x.csv: row 3 has 1 cells where the first has 2");
  EXPECT_MESSAGE(DataError, parse_csv("1,2\n3,\"4\n5,6\n", "x.csv"), "the quote opened in row 2 never closes");
  EXPECT_MESSAGE(DataError, parse_csv("", "x.csv"), "is empty");
  EXPECT_MESSAGE(DataError, parse_csv("# a,b\n", "x.csv"), "no rows");
  EXPECT_MESSAGE(DataError, parse_csv(std::string("\0\1\2", 3), "x.csv"),
                 "is neither .npz, .npy, joblib/pickle nor text");
}

TEST(DataFile, ContentDecidesAndNotTheName) {
  TemporaryFolder folder;
  const auto array = NumpyArray::of({2, 2}, std::vector<double>{1, 2, 3, 4});
  write_npz(folder / "a.csv", {{"x", array}});
  write_npy(folder / "b.npz", array);
  write_file_bytes(folder / "c.npy", "1,2\n3,4\n");
  write_file_bytes(folder / "d.txt",
                   "\x80\x02}U\x01x](K\x01K\x02K\x03K\x04"
                   "es.");
  EXPECT_EQ(read_data_file(folder / "a.csv").array("x").as<int>(), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(read_data_file(folder / "b.npz").array("").as<int>(), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(read_data_file(folder / "c.npy").array("").as<int>(), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(read_data_file(folder / "d.txt").array("").as<int>(), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_MESSAGE(DataError, read_data_file(folder / "a.csv").array("y"), "has no array y; it holds x [2 x 2]");
  write_file_bytes(folder / "e.npz", "\x89HDF\r\n");
  EXPECT_MESSAGE(DataError, read_data_file(folder / "e.npz"), "HDF5");
  EXPECT_MESSAGE(DataError, read_data_file(folder / "none"), "no such file");
  EXPECT_MESSAGE(DataError, read_data_file(folder.path()), "is a folder");
}

TEST(Csv, TheSeparatorIsThatOfMostLines) {
  EXPECT_MESSAGE(DataError, parse_csv("Recorded 3 May, 2024\nt\tx\n0\t1\n1\t2\n", "x.tsv"),
                 "row 1 is no part of the table");
  EXPECT_EQ(parse_csv("t;x\n0;1,5\n1;2,5\n", "x.csv").numbers, (std::vector<double>{0, 1.5, 1, 2.5}));
}

TEST(Csv, WhatSpreadsheetsWriteIsRead) {
  const Table excel = parse_csv("sep=;\r\nt;x\r\n0;1,5\r\n1;2\r\n", "x.csv");
  EXPECT_EQ(excel.column_names, (std::vector<std::string>{"t", "x"}));
  EXPECT_EQ(excel.numbers, (std::vector<double>{0, 1.5, 1, 2}));
  EXPECT_EQ(parse_csv("t,x\r0,1\r1,2\r", "x.csv").numbers, (std::vector<double>{0, 1, 1, 2}));
}

}  // namespace
}  // namespace idem
