#include "host/profile/compare_profiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/device/array.h"
#include "host/bench/bench.h"
#include "host/support/errors.h"
#include "host/support/numpy_random.h"
#include "kernels/limits/copy_values.h"
#include "kernels/limits/multiply_adds.h"
#include "tests/host/profile/made_up_profile.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

const TimeChange& change_of(const std::vector<TimeChange>& changes, const std::string& operation) {
  return *std::ranges::find(changes, operation, &TimeChange::operation);
}

std::vector<TimeChange> changes_between(const Profile& before, const Profile& after) {
  return compare_profiles(compared_runs({before, after})).changes;
}

TEST(CompareProfiles, OnlyWhatEveryRepeatSaysIsAChange) {
  Profile before = made_up_profile(), after = before;
  auto& chain = after.steps[0].operations[0];
  chain.seconds = {6.5e-6, 9e-6, 9.1e-6};  // its least is less than the most of before
  EXPECT_EQ(change_of(changes_between(before, after), "row_chain_forward").change, Change::none);
  chain.seconds = {7.1e-6, 8e-6, 9.2e-6};  // apart, but by less than they differ among themselves
  EXPECT_EQ(change_of(changes_between(before, after), "row_chain_forward").change, Change::none);
  chain.seconds = {7.1e-6, 9e-6, 9.1e-6};
  EXPECT_EQ(change_of(changes_between(before, after), "row_chain_forward").change, Change::slower);
  EXPECT_EQ(change_of(changes_between(after, before), "row_chain_forward").change, Change::faster);
  after.steps[0].operations[1].seconds = {4.1e-6, 4.1e-6, 4.1e-6};  // always, but by 2.5 %
  const auto changes = changes_between(before, after);
  EXPECT_EQ(change_of(changes, "adam").change, Change::none);
  EXPECT_NEAR(change_of(changes, "adam").ratio, 1.025, 1e-9);
  EXPECT_EQ(changes.front().operation, "step");
}

// Repeats within a run agree, runs do not.
TEST(CompareProfiles, OfSeveralRunsItIsTheRunsThatHaveToAgree) {
  std::vector<Profile> runs(6, made_up_profile());
  const auto slower_by = [&](std::initializer_list<double> factors) {
    auto times = factors.begin();
    for (auto& run : runs) {
      const double factor = *times++;
      run.steps[0].operations[1].seconds = {4e-6 * factor, 4.01e-6 * factor, 9e-6 * factor};
    }
    const ComparedRuns compared = compared_runs(runs);
    const Comparison comparison = compare_profiles(compared);
    EXPECT_EQ(compared.before.steps[0].seconds.size(), 3u);
    EXPECT_EQ(changes_text(compared, comparison).find("?"), std::string::npos);
    return change_of(comparison.changes, "adam").change;
  };
  EXPECT_EQ(slower_by({1, 1.3, 1.1, 1.2, 1.4, 1.3}), Change::none);
  EXPECT_EQ(slower_by({1, 1.3, 1.1, 1.5, 1.6, 1.6}), Change::slower);
  runs[5].steps[0].name = "step/b/1";  // not in all of them
  EXPECT_MESSAGE(DataError, compare_profiles(compared_runs(runs)), "no step in common");
}

TEST(CompareProfiles, RunsOfASideAreMediansAndHoldWhatAnyOfThemDoes) {
  std::vector<Profile> runs(6, made_up_profile());
  for (const std::size_t i : {0, 1, 2}) {
    runs[i].roofs.copy_bytes_per_s = i == 0 ? 5e11 : 1e11;
    runs[i].steps[0].operations[1].seconds = {i == 0 ? 1e-6 : 8e-6};  // the first run's order is not the medians'
  }
  runs[1].steps[0].operations.push_back(runs[0].steps[0].operations[0]);
  runs[1].steps[0].operations[2].name = "once";
  auto& twice = runs[4].steps[0].operations;
  twice.push_back(twice[0]);
  twice.back().name = "once";
  const ComparedRuns compared = compared_runs(runs);
  EXPECT_EQ(compared.before.roofs.copy_bytes_per_s, 1e11);
  const auto& operations = compared.before.steps[0].operations;
  ASSERT_EQ(operations.size(), 3u);
  EXPECT_EQ(operations[0].name, "adam");
  EXPECT_EQ(operations[0].seconds, (std::vector<double>{1e-6, 8e-6, 8e-6}));
  EXPECT_EQ(std::ranges::find(operations, "once", &OperationProfile::name)->seconds.size(), 1u);
}

TEST(CompareProfiles, WhatNotAllRunsDoIsNotJudged) {
  std::vector<Profile> runs(6, made_up_profile());
  for (const std::size_t i : {3, 4, 5}) runs[i].steps[0].operations[1].seconds = {9e-6};
  EXPECT_EQ(change_of(compare_profiles(compared_runs(runs)).changes, "adam").change, Change::slower);
  runs[4].steps[0].operations.pop_back();
  const ComparedRuns some = compared_runs(runs);
  const Comparison comparison = compare_profiles(some);
  EXPECT_EQ(change_of(comparison.changes, "adam").change, Change::none);
  EXPECT_NE(changes_text(some, comparison).find("in some runs"), std::string::npos);
}

TEST(CompareProfiles, RunsOfASideAreOfOneProgramOnOneDevice) {
  std::vector<Profile> runs(4, made_up_profile());
  runs[2].version = runs[3].version = "2";
  EXPECT_EQ(compare_profiles(compared_runs(runs)).changes.size(), 3u);
  runs[3].device = "cpu";
  EXPECT_MESSAGE(DataError, compared_runs(runs),
                 "runs 1 and 2 after the change are of idem 2 on cuda:0 a card and of idem 2 on cpu; name runs of one");
  runs[3] = runs[2];
  runs[1].version = "3";
  EXPECT_MESSAGE(DataError, compared_runs(runs), "runs 1 and 2 before the change are of idem 1 on");
}

TEST(CompareProfiles, OtherDevicesAndOtherWaysOfTimingAreSaid) {
  Profile before = made_up_profile(), after = before;
  const auto text = [&] {
    const ComparedRuns runs = compared_runs({before, after});
    return changes_text(runs, compare_profiles(runs));
  };
  EXPECT_EQ(text().find("different"), std::string::npos);
  after.method = "somebody";
  EXPECT_NE(
      text().find("\nbefore and after were timed differently: nobody | somebody: short operations differ by that"),
      std::string::npos);
  after.device = "cpu";
  EXPECT_NE(text().find("\nbefore and after ran on different devices"), std::string::npos);
}

// Of many steps, whose times differ between runs by `noise` of them.
std::vector<Profile> runs_of_one_program(std::size_t n_runs, double noise, std::uint32_t seed) {
  NumpyRandom random(seed);
  std::vector<Profile> runs(n_runs, made_up_profile());
  for (auto& run : runs) {
    run.steps.resize(400, run.steps[0]);
    for (std::size_t i = 0; i < run.steps.size(); ++i) {
      StepProfile& step = run.steps[i];
      step.name = "step/" + std::to_string(i);
      step.seconds = {1e-5 * std::exp(noise * random.normal())};
      for (auto& operation : step.operations) operation.seconds = {5e-6 * std::exp(noise * random.normal())};
    }
  }
  return runs;
}
std::ptrdiff_t n_named(const Comparison& comparison) {
  return std::ranges::count_if(comparison.changes, [](const TimeChange& of) { return of.change != Change::none; });
}

TEST(CompareProfiles, OfOneProgramAsManyAreNamedAsIsSaidThatChanceBrings) {
  for (const std::size_t n_each : {3, 5, 6}) {
    const Comparison comparison = compare_profiles(compared_runs(runs_of_one_program(2 * n_each, 0.3, 7)));
    ASSERT_TRUE(comparison.by_chance);
    const auto named = static_cast<double>(n_named(comparison));
    EXPECT_NEAR(named, *comparison.by_chance, 3 * std::sqrt(*comparison.by_chance) + 1) << n_each;
    EXPECT_LT(named, 0.05 * 1200) << n_each;  // orders alone would name a tenth of them of three runs each
  }
}

TEST(CompareProfiles, APlantedChangeIsNamedAmongMoreThanChanceBrings) {
  auto runs = runs_of_one_program(6, 0.05, 8);
  for (auto& run : runs) run.steps.resize(10);
  for (const std::size_t i : {3, 4, 5})
    for (auto& step : runs[i].steps) step.operations[1].seconds[0] *= 1.5;
  const ComparedRuns compared = compared_runs(runs);
  const Comparison comparison = compare_profiles(compared);
  for (const auto& change : comparison.changes) {
    if (change.operation != "adam") continue;
    EXPECT_EQ(change.change, Change::slower) << change.step;
  }
  EXPECT_LT(*comparison.by_chance, 3);
  const std::string text = changes_text(compared, comparison);
  EXPECT_NE(
      text.find(fmt::format(
          "\n{} of 30 lines are called SLOWER or faster; had runs been exchanged between before and after, {:.1f} "
          "would be, on average: so many are chance\n",
          n_named(comparison), *comparison.by_chance)),
      std::string::npos)
      << text;
}

TEST(CompareProfiles, OfOneRunEachAChangeIsAQuestion) {
  Profile before = made_up_profile(), after = before;
  for (double& seconds : after.steps[0].operations[0].seconds) seconds *= 3;
  const ComparedRuns runs = compared_runs({before, after});
  const Comparison comparison = compare_profiles(runs);
  EXPECT_FALSE(comparison.by_chance);
  const std::string text = changes_text(runs, comparison);
  EXPECT_EQ(text.find("on average"), std::string::npos) << text;
  EXPECT_NE(text.find("one run of each"), std::string::npos) << text;
  EXPECT_NE(text.find("SLOWER?"), std::string::npos) << text;
}

TEST(CompareProfiles, OperationsThatCameOrWentAreNamed) {
  Profile before = made_up_profile(), after = before;
  after.steps[0].operations[1].name = "adam_four_wide";
  const ComparedRuns runs = compared_runs({before, after});
  const Comparison comparison = compare_profiles(runs);
  const auto& changes = comparison.changes;
  EXPECT_EQ(change_of(changes, "adam_four_wide").change, Change::added);
  EXPECT_EQ(change_of(changes, "adam").change, Change::removed);
  const std::string text = changes_text(runs, comparison);
  EXPECT_NE(text.find("new"), std::string::npos);
  EXPECT_NE(text.find("gone"), std::string::npos);
}

TEST(CompareProfiles, OfNothingInCommonIsRefused) {
  Profile before = made_up_profile(), after = before;
  after.steps[0].name = "step/b/1";
  EXPECT_MESSAGE(DataError, changes_between(before, after),
                 "the profiles have no step in common: the first holds step/a/1, the second step/b/1");
}

// A step of three operations, of which one moves `times` as many bytes.
class PlantedStep final : public StepFleet {
 public:
  PlantedStep(Device& device, std::int64_t times)
      : device_(device), times_(times), from_(device, kValues * 2), to_(device, kValues * 2), chains_(device, 4096) {}
  std::unique_ptr<Device::Sequence> training_step() override {
    return device_.make_sequence("training step", [this] {
      copy_values(device_.execution(),
                  CopyValues<float>{.n = times_ * kValues, .from = from_.data(), .to = to_.data()});
      multiply_adds(device_.execution(), MultiplyAdds<float>{.n = 4096, .rounds = 500, .values = chains_.data()});
      device_.clear(to_.data(), kValues);
    });
  }
  std::int64_t n_parameters() const override { return 1; }

 private:
  static constexpr std::int64_t kValues = 1 << 20;
  Device& device_;
  std::int64_t times_;
  Array<float> from_, to_, chains_;
};

Profile planted(std::int64_t times) {
  const auto device = make_device("cpu", 1);
  const std::vector<StepBench> steps = {
      {.name = "planted",
       .make = [times](Device& on, std::int32_t) { return std::make_unique<PlantedStep>(on, times); },
       .cpu_sizes = {1},
       .gpu_sizes = {1},
       .cpu_replays = 5}};
  Profile profile = made_up_profile();
  profile.steps = {*profile_step(*device, steps, "step/planted/1", 9)};
  return profile;
}

// Of the times of a loaded machine nothing is asked.
TEST(CompareProfiles, AKernelThatMovesTwiceTheBytesIsFoundAndNamed) {
  const ComparedRuns runs = compared_runs({planted(1), planted(2)});
  const Comparison comparison = compare_profiles(runs);
  const auto& copy = change_of(comparison.changes, "copy_values");
  EXPECT_EQ(copy.work_after.bytes, 2 * copy.work_before.bytes);
  EXPECT_NE(changes_text(runs, comparison).find("2.00 x the bytes"), std::string::npos);
  EXPECT_EQ(runs.before.steps[0].operations.size(), 3u);
}

}  // namespace
}  // namespace idem
