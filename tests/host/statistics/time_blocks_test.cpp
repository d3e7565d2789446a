#include "host/statistics/time_blocks.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace idem {
namespace {

std::vector<double> autoregressive(std::size_t n, double coefficient, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> series = {normal(random)};
  while (series.size() < n) series.push_back(coefficient * series.back() + normal(random));
  return series;
}

// Of an autoregressive series of first order with coefficient a it is (1 + a) / (1 - a).
TEST(AutocorrelationTime, OfAnAutoregressiveSeriesIsAsComputed) {
  const std::vector<std::int32_t> one(200000);
  EXPECT_NEAR(autocorrelation_time(autoregressive(one.size(), 0, 1), one), 1, 0.1);
  EXPECT_NEAR(autocorrelation_time(autoregressive(one.size(), 0.5, 2), one), 3, 0.3);
  EXPECT_NEAR(autocorrelation_time(autoregressive(one.size(), 0.9, 3), one), 19, 2);
  EXPECT_EQ(autocorrelation_time(std::vector<double>(10, 4.0), std::vector<std::int32_t>(10)), 1);
}

TEST(AutocorrelationTime, SeesNothingAcrossStretches) {
  const std::vector<double> series = autoregressive(1000, 0.95, 4);
  std::vector<std::int32_t> each(series.size());
  for (std::size_t bin = 0; bin < each.size(); ++bin) each[bin] = static_cast<std::int32_t>(bin);
  EXPECT_EQ(autocorrelation_time(series, each), 1);
}

TEST(TimeBlocks, AreOfNeighboursAndCrossNoGap) {
  const std::vector<std::int32_t> stretches = {0, 0, 0, 0, 0, 0, 0, 2, 2, 5, 5, 5};
  const ScoredTrials blocks = time_blocks(stretches, 3);
  EXPECT_EQ(blocks.trials, (std::vector<std::int32_t>{0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3}));
  EXPECT_EQ(blocks.n_trials, 4);
  EXPECT_EQ(time_blocks({}, 3).n_trials, 0);
}

}  // namespace
}  // namespace idem
