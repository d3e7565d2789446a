#include "host/preparation/splits.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "host/support/errors.h"
#include "host/recordings/read_recording.h"
#include "host/support/named.h"
#include "kernels/common/to_size.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

// One neuron that always fires; direction changes after the given bins.
Recording track(std::int32_t n_times, const std::vector<std::int32_t>& last_bins) {
  Recording recording;
  recording.subject = "track";
  recording.n_times = n_times;
  recording.n_neurons = 1;
  recording.bin_width_s = 0.5;
  recording.counts.assign(to_size(n_times), 1.0f);
  recording.segments = {{0, n_times}};
  LabelColumn direction;
  direction.name = "direction";
  direction.kind = LabelKind::categorical;
  direction.categories = {"right", "left"};
  std::size_t turn = 0;
  for (std::int32_t time = 0; time < n_times; ++time) {
    recording.time_s.push_back(0.5 * time);
    direction.values.push_back(static_cast<double>(turn % 2));
    if (turn < last_bins.size() && last_bins[turn] == time) ++turn;
  }
  recording.labels = {direction};
  check_recording(recording, "track");
  return recording;
}

std::vector<std::int32_t> bins(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> result(to_size(end - begin));
  std::iota(result.begin(), result.end(), begin);
  return result;
}

TEST(Splits, ATrialBeginsOneBinBeforeEverySecondTurn) {
  const auto trials = round_trip_trials(track(30, {4, 9, 14, 19, 24}), "direction");
  ASSERT_EQ(trials.size(), 3u);
  EXPECT_EQ(trials[0].begin, 0);
  EXPECT_EQ(trials[0].end, 9);
  EXPECT_EQ(trials[1].begin, 9);
  EXPECT_EQ(trials[1].end, 19);
  EXPECT_EQ(trials[2].begin, 19);
  EXPECT_EQ(trials[2].end, 30);
}

TEST(Splits, TheThreeFoldSplitHoldsOutTheTrialsOfThePublishedOne) {
  // 42 trials as in CEBRA's Achilles: split 0 tests on trials 0-2, 14-16, 28-30 and validates on 3-4, 17-18, 31-32.
  // Trial k has k + 1 bins.
  std::vector<Segment> trials;
  std::int32_t begin = 0;
  for (std::int32_t trial = 0; trial < 42; ++trial) {
    trials.push_back({begin, begin + trial + 1});
    begin += trial + 1;
  }
  const auto bins_of = [&](const std::vector<std::int32_t>& numbers) {
    std::vector<std::int32_t> result;
    for (const auto number : numbers)
      for (auto bin = trials[to_size(number)].begin; bin < trials[to_size(number)].end; ++bin) result.push_back(bin);
    return result;
  };
  const Split split = three_fold_split(trials, 0);
  EXPECT_EQ(split.test, bins_of({0, 1, 2, 14, 15, 16, 28, 29, 30}));
  EXPECT_EQ(split.valid, bins_of({3, 4, 17, 18, 31, 32}));
  // 14 trials in three folds of 5, 5, 4: fold 2 holds out the last four of each block.
  EXPECT_EQ(three_fold_split(trials, 2).test, bins_of({10, 11, 24, 25, 38, 39}));
  EXPECT_EQ(three_fold_split(trials, 2).valid, bins_of({12, 13, 26, 27, 40, 41}));
  for (int fold = 0; fold < 3; ++fold) {
    const Split each = three_fold_split(trials, fold);
    std::vector<std::int32_t> all = each.train;
    all.insert(all.end(), each.valid.begin(), each.valid.end());
    all.insert(all.end(), each.test.begin(), each.test.end());
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, bins(0, begin));
    EXPECT_TRUE(std::is_sorted(each.train.begin(), each.train.end()));
  }
}

TEST(Splits, BuddyIsSplitAsPublished) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "data/rat_hippocampus/buddy.jl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no shared recording here";
  const Recording buddy = load_recording_file(path);
  EXPECT_EQ(round_trip_trials(buddy, "direction").size(), 29u);
  const std::size_t wanted[3][3] = {{4209, 1045, 1323}, {4365, 783, 1429}, {4580, 631, 1366}};
  for (int fold = 0; fold < 3; ++fold) {
    const Split split = three_fold_trials(buddy, "direction", fold);
    EXPECT_EQ(split.train.size(), wanted[fold][0]);
    EXPECT_EQ(split.valid.size(), wanted[fold][1]);
    EXPECT_EQ(split.test.size(), wanted[fold][2]);
  }
}

TEST(Splits, TooFewTrialsAndWrongLabelsAreRefused) {
  Recording recording = track(30, {4, 9, 14, 19, 24});
  EXPECT_MESSAGE(DataError, three_fold_trials(recording, "direction", 0), "3 trials are too few for fold 0");
  EXPECT_MESSAGE(DataError, three_fold_trials(track(30, {4}), "direction", 0), "changes 1 times");
  EXPECT_MESSAGE(ConfigError, three_fold_trials(recording, "heading", 0), "labels there: direction");
  EXPECT_MESSAGE(DataError, three_fold_trials(recording, "", 0), "no declared trials");
  EXPECT_MESSAGE(ConfigError, three_fold_split(std::vector<Segment>(18, Segment{0, 1}), 3), "folds 0, 1 and 2");
  std::vector<Segment> trials;
  for (std::int32_t trial = 0; trial < 18; ++trial) trials.push_back({trial, trial + 1});
  for (int fold = 0; fold < 3; ++fold) EXPECT_NO_THROW(three_fold_split(trials, fold));
  trials.pop_back();
  EXPECT_NO_THROW(three_fold_split(trials, 0));
  trials.resize(9);
  EXPECT_MESSAGE(DataError, three_fold_split(trials, 0), "no trial is left to validate");
}

TEST(Splits, FractionsCutTheSessionInOrder) {
  const Recording recording = track(10, {4});
  Split split = time_split(recording, {.train = 0.5, .valid = 0.2, .test = 0.2});
  EXPECT_EQ(split.train, bins(0, 5));
  EXPECT_EQ(split.valid, bins(5, 7));
  EXPECT_EQ(split.test, bins(7, 9));
  split = time_split(recording, {.train = 0.8, .valid = 0, .test = 0.2});
  EXPECT_TRUE(split.valid.empty());
  EXPECT_EQ(split.test, bins(8, 10));
  EXPECT_MESSAGE(ConfigError, time_split(recording, {.train = 0.8, .valid = 0.2, .test = 0.2}), "sum at most 1");
  EXPECT_MESSAGE(ConfigError, time_split(recording, {.train = 0, .valid = 0.2, .test = 0.2}), "train must be above 0");
  EXPECT_MESSAGE(DataError, time_split(recording, {.train = 0.9, .valid = 0.04, .test = 0.06}), "too few");
}

TEST(Splits, RangesInBinsAndSecondsAreHalfOpenAndDisjoint) {
  const Recording recording = track(10, {4});
  Split split = range_split(recording, {.train = {{6, 10}, {0, 3}}, .valid = {{3, 4}}, .test = {{4, 6}}});
  EXPECT_EQ(split.train, (std::vector<std::int32_t>{0, 1, 2, 6, 7, 8, 9}));
  EXPECT_EQ(split.test, bins(4, 6));
  split = range_split(recording, {.unit = RangeUnit::seconds, .train = {{0, 2.5}}, .valid = {}, .test = {{2.5, 5}}});
  EXPECT_EQ(split.train, bins(0, 5));
  EXPECT_EQ(split.test, bins(5, 10));
  EXPECT_MESSAGE(ConfigError, range_split(recording, {.train = {{0, 5}}, .valid = {{4, 6}}, .test = {}}),
                 "track: splits.ranges.valid [4, 6) bins: overlaps another range at bin 4");
  EXPECT_MESSAGE(ConfigError, range_split(recording, {.train = {{5, 5}}, .valid = {}, .test = {}}), "is empty");
  EXPECT_MESSAGE(ConfigError, range_split(recording, {.train = {{0, 11}}, .valid = {}, .test = {}}),
                 "between 0 and 10");
  EXPECT_MESSAGE(ConfigError,
                 range_split(recording, {.unit = RangeUnit::seconds, .train = {{7, 9}}, .valid = {}, .test = {}}),
                 "from 0 s to 5 s");
  EXPECT_MESSAGE(ConfigError, range_split(recording, {.train = {}, .valid = {}, .test = {{0, 5}}}),
                 "splits.ranges.train: names no range");
}

TEST(Splits, WindowsSeeWhatTheirEdgePolicyAllows) {
  Recording recording = track(10, {4});
  recording.segments = {{0, 6}, {6, 10}};
  const Split split = range_split(recording, {.train = {{0, 2}, {7, 9}}, .valid = {{3, 5}}, .test = {{2, 3}}});

  WindowSource source = window_source(recording, split, EdgePolicy::segment_clamped);
  EXPECT_EQ(source.source_bins, bins(0, 10));
  EXPECT_EQ(source.segment_begin, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 0, 6, 6, 6, 6}));
  EXPECT_EQ(source.segment_end, (std::vector<std::int32_t>{6, 6, 6, 6, 6, 6, 10, 10, 10, 10}));
  EXPECT_EQ(source.rows.train, split.train);

  source = window_source(recording, split, EdgePolicy::whole_session);
  EXPECT_EQ(source.segment_begin, std::vector<std::int32_t>(10, 0));
  EXPECT_EQ(source.segment_end, std::vector<std::int32_t>(10, 10));

  source = window_source(recording, split, EdgePolicy::clamped_concatenated);
  EXPECT_EQ(source.source_bins, (std::vector<std::int32_t>{0, 1, 7, 8, 3, 4, 2, 5, 6, 9}));
  EXPECT_EQ(source.segment_begin, (std::vector<std::int32_t>{0, 0, 0, 0, 4, 4, 6, 7, 7, 7}));
  EXPECT_EQ(source.segment_end, (std::vector<std::int32_t>{4, 4, 4, 4, 6, 6, 7, 10, 10, 10}));
  EXPECT_EQ(source.rows.train, bins(0, 4));
  EXPECT_EQ(source.rows.valid, bins(4, 6));
  EXPECT_EQ(source.rows.test, bins(6, 7));
  for (std::int32_t row = 0; row < 10; ++row)
    EXPECT_EQ(source.row_of_bin[to_size(source.source_bins[to_size(row)])], row);

  for (const auto policy : {EdgePolicy::segment_clamped, EdgePolicy::clamped_concatenated, EdgePolicy::whole_session})
    EXPECT_EQ(named<EdgePolicy>(to_string(policy)), policy);
  EXPECT_MESSAGE(ConfigError, named<EdgePolicy>("clamped"), "known: segment-clamped");
}

}  // namespace
}  // namespace idem
