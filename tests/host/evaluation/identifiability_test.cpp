#include "host/evaluation/identifiability.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/support/bins.h"
#include "tests/support/reproducible_values.h"

namespace idem {
namespace {

std::vector<double> reproducible_doubles(int n_rows, int n_columns) {
  const std::vector<float> rows = reproducible_rows(n_rows, n_columns);
  return {rows.begin(), rows.end()};
}

TEST(Assignment, EqualsScipysLinearSumAssignment) {
  EXPECT_EQ(best_assignment(reproducible_doubles(4, 6), 4, 6), (std::vector<int>{4, 5, 3, 2}));
  EXPECT_EQ(best_assignment(reproducible_doubles(7, 7), 7, 7), (std::vector<int>{5, 6, 3, 2, 1, 0, 4}));
  EXPECT_EQ(best_assignment(reproducible_doubles(1, 3), 1, 3), (std::vector<int>{2}));
}

TEST(Assignment, ABestPairIsGivenUpForABetterSum) {
  // Greedy would take 9 and then 0.
  EXPECT_EQ(best_assignment(std::vector<double>{9, 8, 8, 0}, 2, 2), (std::vector<int>{1, 0}));
  EXPECT_THROW(best_assignment(std::vector<double>{1, 2}, 2, 1), ConfigError);
}

// LinearRegression, r2_score, numpy.corrcoef and linear_sum_assignment on the same numbers (scikit-learn 1.9,
// scipy 1.17).
TEST(Identifiability, ScoresEqualScikitLearnAndScipy) {
  const double mixing[3][4] = {{.6, -.8, .1, .3}, {.5, .2, -.9, .1}, {-.2, .7, .4, .9}};
  const std::vector<double> truth = reproducible_doubles(120, 3);
  std::vector<float> latents;
  for (int row = 0; row < 120; ++row)
    for (int column = 0; column < 4; ++column) {
      double sum = 0;
      for (int i = 0; i < 3; ++i) sum += truth[to_size(row * 3 + i)] * mixing[i][column];
      latents.push_back(static_cast<float>(sum + 0.5 * reproducible_value(row + 200, column)));
    }
  const IdentifiabilityScores scores = measure_identifiability({120, 4, latents}, truth, 3, bins(0, 50), bins(50, 120));
  EXPECT_NEAR(scores.affine_r2, 0.814504132383, 1e-7);
  EXPECT_NEAR(scores.strong_mcc, 0.78268617311, 1e-7);
  EXPECT_NEAR(scores.weak_mcc, 0.907751432316, 1e-7);
}

TEST(Identifiability, WhatTheModelLeavesOpenCostsNothing) {
  const std::vector<double> truth = reproducible_doubles(100, 2);
  std::vector<float> permuted, rotated;
  for (std::size_t row = 0; row < 100; ++row) {
    const double x = truth[2 * row], y = truth[2 * row + 1];
    permuted.push_back(static_cast<float>(-3 * y + 1));
    permuted.push_back(static_cast<float>(0.5 * x));
    rotated.push_back(static_cast<float>(x + y));
    rotated.push_back(static_cast<float>(x - y));
  }
  const auto fit = bins(0, 40), score = bins(40, 100);
  const IdentifiabilityScores strong = measure_identifiability({100, 2, permuted}, truth, 2, fit, score);
  EXPECT_NEAR(strong.strong_mcc, 1, 1e-6);
  EXPECT_NEAR(strong.affine_r2, 1, 1e-6);
  const IdentifiabilityScores weak = measure_identifiability({100, 2, rotated}, truth, 2, fit, score);
  EXPECT_NEAR(weak.weak_mcc, 1, 1e-6);
  EXPECT_NEAR(weak.affine_r2, 1, 1e-6);
  EXPECT_LT(weak.strong_mcc, 0.9);
}

TEST(Identifiability, MoreTrueLatentsThanLatentsAndDeadLatentsAreScored) {
  const std::vector<double> truth = reproducible_doubles(60, 3);
  std::vector<float> one, dead(120, 2.5f);
  for (std::size_t row = 0; row < 60; ++row) one.push_back(static_cast<float>(truth[3 * row + 1]));
  const IdentifiabilityScores scores = measure_identifiability({60, 1, one}, truth, 3, bins(0, 30), bins(30, 60));
  EXPECT_NEAR(scores.strong_mcc, 1, 1e-6);
  EXPECT_LT(scores.affine_r2, 0.6);
  EXPECT_EQ(measure_identifiability({60, 2, dead}, truth, 3, bins(0, 30), bins(30, 60)).strong_mcc, 0);
}

TEST(Identifiability, TheReportScoresTrueLatentsAndTheirMeanGivenTheLabel) {
  Recording recording;
  recording.n_times = 90;
  recording.n_true_latents = 1;
  Split split;
  std::vector<std::int32_t> bins;
  std::vector<float> label_only;
  for (int time = 0; time < 90; ++time) {
    bins.push_back(time % 3);
    recording.true_latents.push_back(10 * (time % 3) + reproducible_value(time, 0));
    label_only.push_back(static_cast<float>(time % 3 == 0 ? -1 : time % 3 == 1 ? 0 : 1));
    (time < 30 ? split.train : time < 60 ? split.valid : split.test).push_back(time);
  }
  const std::vector<double> mean = label_conditional_mean(recording.true_latents, 1, bins, split.train);
  double first = 0, all = 0;
  for (std::size_t time = 0; time < 30; time += 3) first += recording.true_latents[time] / 10;
  for (std::size_t time = 0; time < 30; ++time) all += recording.true_latents[time] / 30;
  EXPECT_NEAR(mean[87], first, 1e-12);
  bins[87] = 3;  // a label that the train bins never have
  EXPECT_NEAR(label_conditional_mean(recording.true_latents, 1, bins, split.train)[87], all, 1e-12);
  bins[87] = 0;
  const nlohmann::json report = identifiability_report({90, 1, label_only}, recording, split, bins);
  EXPECT_GT(report["label_mean"]["affine_r2"].get<double>(), 0.98);
  EXPECT_LT(report["true_latent"]["affine_r2"].get<double>(), 0.95);
  EXPECT_EQ(report["label_mean"].size(), 3u);
  const IdentifiabilityScores fitted_on_valid =
      measure_identifiability({90, 1, label_only}, recording.true_latents, 1, split.valid, split.test);
  EXPECT_EQ(report["true_latent"]["affine_r2"].get<double>(), fitted_on_valid.affine_r2);
  recording.true_latent_means = recording.true_latents;  // a simulator that knows better is believed
  EXPECT_EQ(identifiability_report({90, 1, label_only}, recording, split, bins)["label_mean"], report["true_latent"]);
  recording.n_true_latents = 0;
  EXPECT_EQ(identifiability_report({90, 1, label_only}, recording, split, bins), nlohmann::json::object());
}

TEST(Agreement, IsFullForAnAffineMapNoneForNoiseAndScoredOnBinsThatDidNotFitIt) {
  std::vector<float> latents, mapped, noise, memorised;
  for (std::int64_t row = 0; row < 90; ++row) {
    const double x = reproducible_value(row, 0), y = reproducible_value(row, 1);
    latents.insert(latents.end(), {static_cast<float>(x), static_cast<float>(y)});
    mapped.insert(mapped.end(), {static_cast<float>(2 * x - y + 3), static_cast<float>(0.5 * y + x)});
    noise.insert(noise.end(),
                 {static_cast<float>(reproducible_value(row, 2)), static_cast<float>(reproducible_value(row, 3))});
    memorised.insert(memorised.end(), row < 60 ? std::initializer_list<float>{mapped[mapped.size() - 2], mapped.back()}
                                               : std::initializer_list<float>{noise[noise.size() - 2], noise.back()});
  }
  const Split split{"0", bins(0, 60), bins(60, 70), bins(70, 90)};
  const Embedding a{90, 2, latents}, b{90, 2, mapped}, c{90, 2, noise}, d{90, 2, memorised};
  EXPECT_NEAR(affine_agreement(a, b, split), 1, 1e-6);
  EXPECT_LT(affine_agreement(a, c, split), 0.2);
  EXPECT_GE(affine_agreement(a, c, split), 0);
  EXPECT_LT(affine_agreement(a, d, split), 0.2);
  const double mean = mean_affine_agreement({a, b, c}, split);
  double sum = 0;
  for (const auto& [from, to] : {std::pair{&a, &b}, {&b, &a}, {&a, &c}, {&c, &a}, {&b, &c}, {&c, &b}})
    sum += affine_agreement(*from, *to, split);
  EXPECT_NEAR(mean, sum / 6, 1e-12);
  EXPECT_TRUE(std::isnan(mean_affine_agreement({a}, split)));
  EXPECT_THROW(affine_agreement(a, b, {"0", {}, bins(0, 5), {}}), ConfigError);
}

TEST(Identifiability, BrokenInputsAreRefused) {
  std::vector<float> latents(20, 1);
  const std::vector<double> truth(10, 1);
  EXPECT_THROW(measure_identifiability({10, 2, latents}, truth, 1, {}, bins(0, 5)), ConfigError);
  EXPECT_THROW(measure_identifiability({10, 2, latents}, truth, 2, bins(0, 5), bins(5, 10)), DataError);
  latents[13] = std::nanf("");
  EXPECT_THROW(measure_identifiability({10, 2, latents}, truth, 1, bins(0, 5), bins(5, 10)), DataError);
}

}  // namespace
}  // namespace idem
