#include "host/report/closing_table.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/host/report/report_fixture.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TEST(ClosingTable, HasARowForEachModelAndBaselineInEightyColumns) {
  TemporaryFolder folder;
  ReportFixture fixture;
  fixture.write(folder.path());
  const std::string table = closing_table(read_study(folder.path()));
  std::vector<std::string> lines;
  std::stringstream stream(table);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  EXPECT_EQ(lines[0], "buddy: position error (median, cm) of the test bins");
  for (const auto& line : lines)
    EXPECT_LE(std::count_if(line.begin(), line.end(),
                            [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }),
              80)
        << line;

  // The cells of a row, two blanks apart.
  const auto row_of = [&](const std::string& name) {
    std::vector<std::string> cells;
    for (const auto& line : lines)
      if (line.starts_with(name))
        for (std::size_t from = 0; from < line.size();) {
          const std::size_t to = std::min(line.find("  ", from), line.size());
          if (to > from) cells.push_back(line.substr(from, to - from));
          from = to + 2;
          while (from < line.size() && line[from] == ' ') ++from;
        }
    return cells;
  };
  const auto mean_of = [&](const std::string& model, const char* latents, const char* metric) {
    double sum = 0;
    int n = 0;
    for (const auto& run : fixture.metrics["runs"])
      if (run["model"] == model) sum += run["metrics"][latents]["euclidean"]["test"][metric].get<double>(), ++n;
    return sum / n;
  };
  for (const std::string model : {"encoder-elbo", "ivae"}) {
    const auto cells = row_of(model);
    ASSERT_GE(cells.size(), 5u) << table;
    EXPECT_EQ(cells[1], "4") << "runs";
    EXPECT_NEAR(std::stod(cells[2]), mean_of(model, "encoder", "position_error_cm"), 0.0501) << table;
    EXPECT_NEAR(std::stod(cells[3]), mean_of(model, "posterior", "position_error_cm"), 0.0501) << table;
    EXPECT_NEAR(std::stod(cells[4]), 100 * mean_of(model, "encoder", "direction_accuracy"), 0.0501) << table;
  }
  EXPECT_EQ(row_of("encoder-elbo")[0], "encoder-elbo *") << "has the smaller error on the validation bins";
  EXPECT_FALSE(row_of("window sums").empty()) << table;
  EXPECT_FALSE(row_of("chance").empty()) << table;
  EXPECT_EQ(table.find("likelihood"), std::string::npos) << "a column that nobody fills is left out\n" << table;
}

TEST(ClosingTable, IsEmptyWithoutScores) { EXPECT_EQ(closing_table({}), ""); }

}  // namespace
}  // namespace idem
