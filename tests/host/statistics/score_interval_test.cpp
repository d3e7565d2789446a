#include "host/statistics/score_interval.h"

#include <gtest/gtest.h>

#include "tests/host/statistics/simulated_scores.h"

namespace idem {
namespace {

TEST(TrialDraws, AreTheSameAgainAndDrawAsManyTrialsAsThereAre) {
  const TrialDraws draws(6, 1000, 5), again(6, 1000, 5), other(6, 1000, 6);
  std::vector<double> sums(6);
  bool differs = false;
  for (int draw = 0; draw < draws.n_draws(); ++draw) {
    std::int32_t n = 0;
    for (std::size_t trial = 0; trial < 6; ++trial) {
      n += draws.counts(draw)[trial];
      sums[trial] += draws.counts(draw)[trial];
      EXPECT_EQ(draws.counts(draw)[trial], again.counts(draw)[trial]);
      differs |= draws.counts(draw)[trial] != other.counts(draw)[trial];
    }
    EXPECT_EQ(n, 6);
  }
  for (const double sum : sums) EXPECT_NEAR(sum, 1000, 100);
  EXPECT_TRUE(differs);
}

// Of means over trials of equal length the bootstrap's variance is known: that of the trials' means by their number.
TEST(ScoreInterval, OfMeansIsStudentsT) {
  const std::vector<double> first = {3, 5, 4, 8, 6, 7}, second = {2, 5, 2, 5, 5, 5};
  const ScoredTrials of{{0, 1, 2, 3, 4, 5}, 6};
  const TrialDraws draws(6, 40000, 1);
  const ResampledScore a = resampled(*mean_score(of, first), draws), b = resampled(*mean_score(of, second), draws);
  const ModelRuns one{.has_seeds = false, .splits = {{6, {&a}}}}, other{.has_seeds = false, .splits = {{6, {&b}}}};
  // scipy.stats.ttest_1samp and ttest_rel (scipy 1.17): of the first alone, and paired.
  const auto alone = interval_of_score(one), paired = interval_of_difference(one, other);
  EXPECT_NEAR(alone.interval.low, 3.5366856930196766, 0.02);
  EXPECT_NEAR(alone.interval.high, 7.463314306980323, 0.02);
  EXPECT_EQ(alone.interval.degrees, 5);
  EXPECT_NEAR(paired.interval.estimate, 1.5, 1e-12);
  EXPECT_NEAR(paired.interval.low, 0.3993426152919868, 0.01);
  EXPECT_NEAR(paired.interval.p, 0.01722454968034138, 0.001);
  EXPECT_EQ(paired.grounds, Grounds::trials_and_seeds);
}

TEST(ScoreInterval, SeedsAreNoPartnersAndCountEachInTheirSplit) {
  const ScoredTrials of{{0, 1, 2, 3, 4, 5}, 6};
  const TrialDraws draws(6, 200, 1);
  const auto constant = [&](double value) { return resampled(*mean_score(of, std::vector<double>(6, value)), draws); };
  const ResampledScore one = constant(1), three = constant(3), five = constant(5);
  const ModelRuns a{.splits = {{6, {&one, &three}}}}, b{.splits = {{6, {&three, &five}}}},
      turned{.splits = {{6, {&five, &three}}}};
  const auto difference = interval_of_difference(a, b).interval, same = interval_of_difference(a, turned).interval;
  EXPECT_EQ(difference.estimate, -2);
  EXPECT_NEAR(difference.standard_error, std::sqrt(2.0), 1e-12);  // of each mean of two seeds: variance 2 / 2
  EXPECT_NEAR(difference.degrees, 2, 1e-12);
  EXPECT_EQ(same.low, difference.low);
}

TEST(ScoreInterval, OfOneSeedOrOfFewTrialsThereIsNoVerdict) {
  const ScoredTrials of{{0, 1, 2}, 3};
  const TrialDraws draws(3, 200, 1);
  const ResampledScore run = resampled(*mean_score(of, std::vector<double>{1, 2, 4}), draws);
  const SplitRuns split{3, {&run}};
  EXPECT_EQ(interval_of_score({.splits = {split, split}}).grounds, Grounds::one_seed);
  EXPECT_EQ(interval_of_score({.has_seeds = false, .splits = {split, split}}).grounds, Grounds::trials_and_seeds);
  EXPECT_EQ(interval_of_score({.has_seeds = false, .splits = {split}}).grounds, Grounds::few_trials);
}

}  // namespace
}  // namespace idem
