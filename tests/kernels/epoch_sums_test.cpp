#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/kernels/one_thread.h"

namespace idem {
namespace {

TEST(EpochSums, RowsOfWeightZeroAreLeftOutAndSumsRunOn) {
  const std::vector<std::uint8_t> active = {1, 0};
  const std::vector<float> weight = {.5f, .5f, 0, 0, 1, 1, 1, 1}, loss = {1, 2, kNan<float>, 4, 5, 6, 7, 8},
                           kl = {10, 20, 30, 40, 50, 60, 70, 80};
  std::vector<float> sums = {100, 200, 300, 1, 2, 3};
  EpochSums<float> p;
  p.fleet = {2, active.data()};
  p.batch = 4, p.n_columns = 3, p.row_scalar_stride = 4;
  p.row_weight = weight.data();
  p.columns[0].values = loss.data(), p.columns[2].values = kl.data();
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_EQ(sums, (std::vector<float>{103, 200, 330, 1, 2, 3}));
}

// As of a grid of alphas: how many rows are at one of its ends, whether the grid reaches it or not.
TEST(EpochSums, CountsTheRowsThatHaveAValue) {
  const std::vector<float> weight = {1, 1, 1, 0, 1}, alpha = {0, 1, 1, 1, .5f};
  std::vector<float> sums = {0, 0, 0, 0};
  EpochSums<float> p;
  p.batch = 5, p.n_columns = 4, p.row_scalar_stride = 5;
  p.row_weight = weight.data();
  p.columns[0] = {alpha.data(), false, 0};
  for (const int counted : {0, 1, 2}) p.columns[1 + counted] = {alpha.data(), true, static_cast<float>(counted)};
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_EQ(sums, (std::vector<float>{2.5f, 1, 2, 0}));
}

TEST(EpochSums, ANanStaysInItsColumn) {
  const std::vector<double> weight = {1, 1}, loss = {kNan<double>, 1}, kl = {2, 3};
  std::vector<double> sums = {0, 0, 0};
  EpochSums<double> p;
  p.batch = 2, p.n_columns = 3, p.row_scalar_stride = 2;
  p.row_weight = weight.data();
  p.columns[0].values = loss.data(), p.columns[1].values = kl.data(), p.columns[2] = {loss.data(), true, 1};
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_TRUE(std::isnan(sums[0]));
  EXPECT_EQ(sums[1], 5);
  EXPECT_EQ(sums[2], 1);  // a NaN is no value that is counted
}

}  // namespace
}  // namespace idem
