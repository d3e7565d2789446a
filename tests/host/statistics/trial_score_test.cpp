#include "host/statistics/trial_score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "host/evaluation/scores.h"

namespace idem {
namespace {

struct Bins {
  ScoredTrials of;
  std::vector<double> truth, predicted, errors;  // truth and predicted of two columns
};

Bins bins_of(std::int32_t n_trials, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  Bins bins;
  bins.of.n_trials = n_trials;
  for (std::int32_t trial = 0; trial < n_trials; ++trial)
    for (int bin = 0; bin < 5 + 3 * trial; ++bin) {
      bins.of.trials.push_back(trial);
      for (int column = 0; column < 2; ++column) {
        bins.truth.push_back(100 + normal(random) + trial);
        bins.predicted.push_back(bins.truth.back() + 0.5 * normal(random));
      }
      bins.errors.push_back(std::round(4 * std::abs(normal(random))));  // with ties
    }
  return bins;
}

// What a draw says, bin for bin.
Bins drawn(const Bins& bins, std::span<const std::int32_t> counts) {
  Bins all;
  for (std::size_t bin = 0; bin < bins.errors.size(); ++bin)
    for (std::int32_t i = 0; i < counts[static_cast<std::size_t>(bins.of.trials[bin])]; ++i) {
      all.errors.push_back(bins.errors[bin]);
      for (std::size_t column : {0, 1}) {
        all.truth.push_back(bins.truth[2 * bin + column]);
        all.predicted.push_back(bins.predicted[2 * bin + column]);
      }
    }
  return all;
}

TEST(TrialScore, OfADrawIsThatOfTheBinsThatItDraws) {
  const Bins bins = bins_of(4, 1);
  const auto middle = median_score(bins.of, bins.errors), mean = mean_score(bins.of, bins.errors),
             r2 = r2_score(bins.of, bins.truth, bins.predicted, 2);
  for (const std::vector<std::int32_t>& counts :
       {std::vector<std::int32_t>{1, 1, 1, 1}, {0, 3, 1, 0}, {4, 0, 0, 0}, {2, 0, 1, 1}, {0, 0, 0, 1}}) {
    const Bins all = drawn(bins, counts);
    EXPECT_EQ(middle->under(counts), median(all.errors));
    double sum = 0;
    for (const double error : all.errors) sum += error;
    EXPECT_NEAR(mean->under(counts), sum / static_cast<double>(all.errors.size()), 1e-12);
    EXPECT_NEAR(r2->under(counts), mean_r2(all.truth, all.predicted, 2), 1e-9);
  }
}

TEST(TrialScore, WithoutBinsOrWithoutVariationIsNone) {
  const ScoredTrials of{{0, 0, 1, 1}, 3};
  const std::vector<double> truth = {1, 2, 5, 5}, errors = {1, 2, 3, 4};
  EXPECT_TRUE(std::isnan(median_score(of, errors)->under(std::vector<std::int32_t>{0, 0, 3})));
  EXPECT_TRUE(std::isnan(mean_score(of, errors)->under(std::vector<std::int32_t>{0, 0, 3})));
  EXPECT_TRUE(std::isnan(r2_score(of, truth, truth, 1)->under(std::vector<std::int32_t>{0, 2, 0})));
  EXPECT_EQ(r2_score(of, truth, truth, 1)->under(std::vector<std::int32_t>{1, 1, 0}), 1);
}

}  // namespace
}  // namespace idem
