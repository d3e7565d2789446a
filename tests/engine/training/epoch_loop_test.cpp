#include "engine/training/epoch_loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace idem {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

std::vector<MemberPlan> members(std::size_t n, bool validates = true) {
  std::vector<MemberPlan> plans(n);
  for (auto& plan : plans) {
    plan.train_rows = {0};
    if (validates) plan.valid_rows = {1};
  }
  return plans;
}

TrainingPlan plan(std::int32_t epochs) { return {.epochs = epochs}; }

// One member's epochs by these validation losses; the training loss is 9.
EpochDecisions after(const TrainingPlan& training, const std::vector<double>& valid) {
  EpochDecisions decisions(training, members(1), 1);
  decisions.begin({7});
  for (std::size_t epoch = 0; epoch < valid.size(); ++epoch)
    decisions.end_epoch(static_cast<std::int32_t>(epoch), {9}, {valid[epoch]});
  return decisions;
}

TEST(EpochDecisions, TheLowestValidationLossIsBestTheFirstOfEquals) {
  const auto result = after(plan(4), {3, 1, 1, 2}).result(0);
  EXPECT_EQ(result.best_epoch, 2);
  EXPECT_EQ(result.best_valid_loss, 1);
  EXPECT_EQ(result.kept_valid_loss, 1);
  EXPECT_EQ(result.initial_valid_loss, 7);
  EXPECT_EQ(result.epochs, 4);
  EXPECT_TRUE(result.finished);
  EXPECT_FALSE(result.failed);
}

TEST(EpochDecisions, ThePlanMayKeepTheLastWeights) {
  auto training = plan(3);
  training.keep_best = false;
  const auto result = after(training, {3, 1, 2}).result(0);
  EXPECT_EQ(result.best_epoch, 2);
  EXPECT_EQ(result.kept_valid_loss, 2);
  EXPECT_FALSE(result.failed);
  EXPECT_TRUE(after(training, {3, 1, kNan}).result(0).failed) << "what is kept has no finite loss";
}

TEST(EpochDecisions, LossesThatAreNotFiniteAreNeverBest) {
  const auto result = after(plan(3), {kNan, 2, -kInfinity}).result(0);
  EXPECT_EQ(result.best_epoch, 2);
  EXPECT_FALSE(result.failed);
  const auto never = after(plan(2), {kNan, kInfinity}).result(0);
  EXPECT_EQ(never.best_epoch, 0);
  EXPECT_EQ(never.best_valid_loss, kInfinity);
  EXPECT_TRUE(never.failed);
}

TEST(EpochDecisions, AMemberOutOfPatienceStops) {
  auto training = plan(10);
  training.patience = 2;
  const auto decisions = after(training, {3, 2, 4, 5});
  EXPECT_FALSE(decisions.any_enabled());
  EXPECT_EQ(decisions.result(0).epochs, 4);
  EXPECT_TRUE(decisions.result(0).finished);
  EXPECT_TRUE(after(training, {3, 2, 4, 1}).any_enabled());
}

TEST(EpochDecisions, OneThatHasStoppedIsLeftAsItIs) {
  auto training = plan(10);
  training.patience = 1;
  EpochDecisions decisions(training, members(2), 1);
  decisions.begin({7, 7});
  decisions.end_epoch(0, {9, 9}, {1, 5});
  const auto second = decisions.end_epoch(1, {9, 9}, {2, 4});
  EXPECT_TRUE(second[0].was_running);
  EXPECT_EQ(decisions.is_enabled(), (std::vector<std::uint8_t>{0, 1}));
  const auto third = decisions.end_epoch(2, {9, 9}, {kNan, 3});
  EXPECT_FALSE(third[0].was_running || third[0].keeps);
  EXPECT_EQ(decisions.result(0).epochs, 2);
  EXPECT_EQ(decisions.result(0).best_valid_loss, 1);
  EXPECT_EQ(decisions.result(1).best_epoch, 3);
}

TEST(EpochDecisions, RecordingsOfOneRunAreJudgedByTheSumOfTheirLosses) {
  EpochDecisions decisions(plan(2), members(4), 2);
  decisions.begin({7, 7, 7, 7});
  decisions.end_epoch(0, {9, 9, 9, 9}, {1, 4, 1, 1});
  decisions.end_epoch(1, {9, 9, 9, 9}, {2, 2, 1, 2});
  EXPECT_EQ(decisions.result(0).best_epoch, 2);
  EXPECT_EQ(decisions.result(0).best_valid_loss, 2);
  EXPECT_EQ(decisions.result(1).best_valid_loss, 2);
  EXPECT_EQ(decisions.result(2).best_epoch, 1);
  EXPECT_EQ(decisions.result(3).best_valid_loss, 1);
}

TEST(EpochDecisions, WithoutValidationRowsTheTrainingLossDecides) {
  EpochDecisions decisions(plan(2), members(1, false), 1);
  decisions.begin({kNan});
  decisions.end_epoch(0, {1}, {kNan});
  decisions.end_epoch(1, {2}, {kNan});
  EXPECT_EQ(decisions.result(0).best_epoch, 1);
  EXPECT_EQ(decisions.result(0).kept_valid_loss, 1);
  EXPECT_TRUE(std::isnan(decisions.result(0).initial_valid_loss));
}

// Under other weights of the KL terms, as while they warm up, training losses do not compare.
TEST(EpochDecisions, WhileTheKlTermsWarmUpALaterTrainingLossReplacesAnEarlierOne) {
  auto training = plan(4);
  training.beta_warmup = 0.75;
  EpochDecisions decisions(training, members(1, false), 1);
  decisions.begin({kNan});
  for (const double loss : {1, 2, 3}) decisions.end_epoch(static_cast<std::int32_t>(loss) - 1, {loss}, {kNan});
  EXPECT_EQ(decisions.result(0).best_epoch, 3);
  decisions.end_epoch(3, {4}, {kNan});  // the same weight as before
  EXPECT_EQ(decisions.result(0).best_epoch, 3);
}

}  // namespace
}  // namespace idem
