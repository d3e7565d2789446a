#include "host/evaluation/scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/reproducible_values.h"

namespace idem {
namespace {

TEST(Scores, R2EqualsScikitLearn) {
  std::vector<double> truth, predicted;
  for (int row = 0; row < 20; ++row)
    for (int column = 0; column < 3; ++column) {
      truth.push_back(reproducible_value(row, column));
      predicted.push_back(truth.back() + 0.2 * reproducible_value(row + 100, column));
    }
  EXPECT_NEAR(mean_r2(truth, predicted, 3), 0.9495127291484763, 1e-14);
  std::vector<double> first_truth, first_predicted;
  for (std::size_t row = 0; row < 20; ++row) {
    first_truth.push_back(truth[3 * row]);
    first_predicted.push_back(predicted[3 * row]);
  }
  EXPECT_NEAR(r2(first_truth, first_predicted), 0.9507703530021652, 1e-14);
}

TEST(Scores, AColumnThatDoesNotVaryCountsOneIfExactElseZero) {
  // 0.1 three times has a mean that is not 0.1: the rule must not hang on rounding.
  const std::vector<double> constant = {0.1, 0.1, 0.1}, off = {0.1, 0.1, 0.2};
  EXPECT_EQ(r2(constant, constant), 1);
  EXPECT_EQ(r2(constant, off), 0);
}

TEST(Scores, NotANumberNeverLooksLikeAScore) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(r2(std::vector<double>{1, 2}, std::vector<double>{1, nan})));
  EXPECT_TRUE(std::isnan(r2(std::vector<double>{1, 1}, std::vector<double>{1, nan})));
  EXPECT_TRUE(std::isnan(median({1, nan, 2})));
  EXPECT_TRUE(std::isnan(median({})));
}

TEST(Scores, MedianOfAnEvenCountIsTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({5, 1, 3}), 3);
}

TEST(Scores, CircularDifferenceTakesTheShorterWay) {
  EXPECT_NEAR(circular_difference(350, 10, 360), -20, 1e-12);
  EXPECT_NEAR(circular_difference(10, 350, 360), 20, 1e-12);
  EXPECT_NEAR(circular_difference(100, 10, 360), 90, 1e-12);
}

TEST(Scores, CorrelationOfAColumnThatDoesNotVaryIsZero) {
  EXPECT_NEAR(correlation(std::vector<double>{1, 2, 3, 5}, std::vector<double>{-2, -4, -6, -10}), -1, 1e-15);
  EXPECT_EQ(correlation(std::vector<double>{0.1, 0.1, 0.1}, std::vector<double>{1, 2, 3}), 0);
}

}  // namespace
}  // namespace idem
