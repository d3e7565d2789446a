// What intervals promise, on studies whose truth is known. tests/host/statistics/simulate.cpp prints the table of many.
#include <gtest/gtest.h>

#include "tests/host/statistics/simulated_scores.h"

namespace idem {
namespace {

constexpr int kCases = 400;
double most_of(double share) { return share + 2 * std::sqrt(share * (1 - share) / kCases); }

struct Case {
  int n_splits, n_seeds;
  double seed_sd;
  bool heavy_tails;
};
std::string name_of(const testing::TestParamInfo<Case>& info) {
  const auto& of = info.param;
  return std::to_string(of.n_splits) + "_splits_" + std::to_string(of.n_seeds) + "_seeds_" +
         std::to_string(static_cast<int>(10 * of.seed_sd)) + (of.heavy_tails ? "_heavy" : "_normal");
}

class Intervals : public testing::TestWithParam<Case> {};

TEST_P(Intervals, CallEqualModelsDifferentInAtMostFivePercentAndHoldTheTruthIn95) {
  const auto& [n_splits, n_seeds, seed_sd, heavy_tails] = GetParam();
  const SimulatedStudy study{.n_splits = n_splits, .n_seeds = n_seeds, .seed_sd = seed_sd, .heavy_tails = heavy_tails};
  const auto [n_verdicts, n_covered] = counts_of(study, kCases);
  EXPECT_LE(n_verdicts, kCases * most_of(0.05));
  if (n_splits == 1) return;  // of 6 trials the median's own bootstrap is coarse
  EXPECT_GE(n_covered, kCases * (1 - most_of(0.07)));
  EXPECT_LE(n_covered, kCases * most_of(0.97));
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int n_splits : {1, 3})
    for (const int n_seeds : {2, 3, 5})
      for (const double seed_sd : {0.0, 0.5, 1.0})
        for (const bool heavy_tails : {false, true}) all.push_back({n_splits, n_seeds, seed_sd, heavy_tails});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Simulated, Intervals, testing::ValuesIn(cases()), name_of);

TEST(IntervalsPower, ADifferenceOfOneIsFoundWhereTrialsDifferByOne) {
  const auto [n_found, n_covered] = counts_of({.seed_sd = 0.3, .difference = 1}, kCases);
  EXPECT_GE(n_found, 0.8 * kCases);
}

}  // namespace
}  // namespace idem
