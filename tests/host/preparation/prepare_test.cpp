#include "host/preparation/prepare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "host/support/errors.h"
#include "host/study/subjects.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// Bin t of neuron n holds (t + 1) * (n + 1), in two segments.
Recording two_segments() {
  Recording recording;
  recording.subject = "animal";
  recording.n_times = 12;
  recording.n_neurons = 2;
  recording.bin_width_s = 0.025;
  recording.segments = {{0, 7}, {7, 12}};
  LabelColumn position, direction;
  position.name = "position";
  direction.name = "direction";
  direction.kind = LabelKind::categorical;
  direction.categories = {"right", "left"};
  for (int t = 0; t < 12; ++t) {
    recording.time_s.push_back(t * 0.025);
    position.values.push_back(t * 0.1);
    direction.values.push_back(t % 2);
    for (int n = 0; n < 2; ++n) recording.counts.push_back(static_cast<float>((t + 1) * (n + 1)));
  }
  recording.labels = {position, direction};
  return recording;
}

Preparation window(std::int32_t left, std::int32_t right, EdgePolicy edges) {
  Preparation preparation;
  preparation.left = left;
  preparation.right = right;
  preparation.edges = edges;
  preparation.labels = {"position", "direction"};
  return preparation;
}

// Sum of the first neuron over the bins.
float sum_of(std::initializer_list<int> bins) {
  float sum = 0;
  for (const int bin : bins) sum += static_cast<float>(bin + 1);
  return sum;
}

Split example_split() { return {"fold 1", {0, 1, 2, 9, 10, 11}, {3, 4, 5}, {6, 7, 8}}; }

TEST(Prepare, ClampedWindowsAreShiftedInsideTheirSegment) {
  ThreadPool pool(1);
  const PreparedData prepared =
      prepare(two_segments(), window(2, 2, EdgePolicy::segment_clamped), {example_split()}, pool);
  EXPECT_EQ(prepared.data.n_rows, 12);
  const auto input = [&](int row) { return prepared.data.inputs[to_size(row) * 2]; };
  EXPECT_EQ(input(0), sum_of({0, 1, 2, 3}));
  EXPECT_EQ(input(4), sum_of({2, 3, 4, 5}));
  EXPECT_EQ(input(6), sum_of({3, 4, 5, 6}));
  EXPECT_EQ(input(7), sum_of({7, 8, 9, 10}));
  EXPECT_EQ(input(11), sum_of({8, 9, 10, 11}));
  EXPECT_EQ(prepared.data.inputs[1], 2 * input(0));
  EXPECT_EQ(prepared.data.targets, prepared.data.inputs);
  EXPECT_EQ(prepared.rows.front().train, example_split().train);
  EXPECT_EQ(prepared.row_of_bin.front()[9], 9);
}

TEST(Prepare, ConcatenatedWindowsCrossTheSeamsOfTheirPartAndNoOther) {
  ThreadPool pool(1);
  const PreparedData prepared = prepare(two_segments(), window(1, 1, EdgePolicy::clamped_concatenated),
                                        {example_split(), {"fold 2", {4, 5, 6}, {0, 1}, {}}}, pool);
  EXPECT_EQ(prepared.data.n_rows, 24);  // every bin once per split: parts, then what is left over
  const auto input = [&](int row) { return prepared.data.inputs[to_size(row) * 2]; };
  EXPECT_EQ(prepared.rows[0].train, (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(input(3), sum_of({2, 9}));
  EXPECT_EQ(prepared.rows[0].valid, (std::vector<std::int32_t>{6, 7, 8}));
  EXPECT_EQ(input(6), sum_of({3, 4}));
  EXPECT_EQ(prepared.row_of_bin[0][9], 3);
  EXPECT_EQ(prepared.rows[1].train, (std::vector<std::int32_t>{12, 13, 14}));
  EXPECT_EQ(input(12), sum_of({4, 5}));
  EXPECT_EQ(prepared.row_of_bin[1][2], 17);
  // Labels stay those of the bin itself.
  const double scale = prepared.scaling[0].scale[0], mean = prepared.scaling[0].mean[0];
  EXPECT_NEAR(prepared.data.labels[3 * 3], (0.9 - mean) / scale, 1e-6);
  EXPECT_EQ(prepared.data.labels[3 * 3 + 2], 1);
}

TEST(Prepare, WholeSessionWindowsIgnoreGaps) {
  ThreadPool pool(1);
  const PreparedData prepared = prepare(two_segments(), window(2, 2, EdgePolicy::whole_session), {}, pool);
  EXPECT_EQ(prepared.data.inputs[2 * 7], sum_of({5, 6, 7, 8}));
}

TEST(Prepare, AWindowedInputIsTheRawCountsAndWhereEachWindowBeginsUnderEveryEdgePolicy) {
  ThreadPool pool(1);
  const auto begins = [&](EdgePolicy edges, const std::vector<Split>& splits) {
    Preparation preparation = window(2, 2, edges);
    preparation.windowed_input = true;
    preparation.smoothing = SmoothingKind::gaussian;  // is not for a windowed input
    preparation.sigma_bins = 1;
    const FleetData data = prepare(two_segments(), preparation, splits, pool).data;
    // Where the window begins is where the target, its sum, begins.
    for (std::size_t row = 0; row < data.window_begin.size(); ++row) {
      float sum = 0;
      for (std::size_t bin = 0; bin < 4; ++bin) sum += data.inputs[2 * (to_size(data.window_begin[row]) + bin)];
      EXPECT_EQ(sum, data.targets[2 * row]) << row;
    }
    return data.window_begin;
  };
  EXPECT_EQ(begins(EdgePolicy::segment_clamped, {}), (std::vector<std::int32_t>{0, 0, 0, 1, 2, 3, 3, 7, 7, 7, 8, 8}));
  EXPECT_EQ(begins(EdgePolicy::whole_session, {}), (std::vector<std::int32_t>{0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8}));
  const Split left{"left", {0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11}, {}},
      right{"right", {4, 5, 6, 7, 8, 9, 10, 11}, {0, 1, 2, 3}, {}};
  EXPECT_EQ(
      begins(EdgePolicy::clamped_concatenated, {left, right}),
      (std::vector<std::int32_t>{0, 0, 0, 1, 2, 3, 4, 4, 8, 8, 8, 8, 12, 12, 12, 13, 14, 15, 16, 16, 20, 20, 20, 20}));
}

TEST(Prepare, OfATargetOfWholeWindowsTheInputIsSmoothedAndTheTargetsAreTheBinsThatItSees) {
  ThreadPool pool(1);
  Preparation preparation = window(2, 2, EdgePolicy::segment_clamped);
  preparation.target = TargetKind::window;
  const FleetData data = prepare(two_segments(), preparation, {}, pool).data;
  ASSERT_EQ(data.window_begin.size(), 12u);
  EXPECT_EQ(data.targets, two_segments().counts);
  for (std::size_t row = 0; row < 12; ++row) {
    float sum = 0;
    for (std::size_t bin = 0; bin < 4; ++bin) sum += data.targets[2 * (to_size(data.window_begin[row]) + bin)];
    EXPECT_EQ(data.inputs[2 * row], sum) << row;
  }
  preparation.smoothing = SmoothingKind::none;
  preparation.left = preparation.right = 3;
  EXPECT_THROW(prepare(two_segments(), preparation, {}, pool),
               ConfigError);  // the windows do not fit, though nothing is smoothed
}

TEST(Prepare, WindowsOfTenBinsAreThePublishedClampedOnes) {
  ThreadPool pool(1);
  Recording recording = two_segments();
  recording.n_times = 300;
  recording.segments = {{0, 300}};
  recording.counts.assign(600, 1.0f);
  recording.labels.clear();
  Preparation preparation = window(5, 5, EdgePolicy::segment_clamped);
  preparation.labels.clear();
  preparation.windowed_input = true;
  const auto begins = prepare(recording, preparation, {}, pool).data.window_begin;
  ASSERT_EQ(begins.size(), 300u);
  for (const auto& [row, first] :
       {std::pair(0u, 0), {3u, 0}, {5u, 0}, {6u, 1}, {150u, 145}, {295u, 290}, {296u, 290}, {299u, 290}})
    EXPECT_EQ(begins[row], first) << row;
}

TEST(Prepare, AWindowLongerThanTheShortestStretchIsAnErrorThatNamesIt) {
  ThreadPool pool(1);
  const auto message = [&](const Preparation& preparation, const std::vector<Split>& splits) -> std::string {
    try {
      prepare(two_segments(), preparation, splits, pool);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(
      message(window(3, 3, EdgePolicy::segment_clamped), {})
          .find("animal: windows.left + windows.right = 6 bins is longer than the segment of bins 7 to 11 (5 bins)"),
      0u);
  EXPECT_NE(message(window(2, 2, EdgePolicy::clamped_concatenated), {example_split()})
                .find("the validation part of split fold 1 (3 bins)"),
            std::string::npos);
  EXPECT_EQ(message(window(3, 2, EdgePolicy::segment_clamped), {}), "");
  Preparation windowed = window(3, 3, EdgePolicy::segment_clamped);
  windowed.windowed_input = true;
  windowed.smoothing = SmoothingKind::none;
  windowed.target = TargetKind::centre_bin;
  EXPECT_NE(message(windowed, {}).find("(5 bins)"), std::string::npos);
}

TEST(Prepare, TheTargetIsTheWindowSumTheBinOrTheSmoothedCount) {
  ThreadPool pool(1);
  Preparation preparation = window(1, 2, EdgePolicy::segment_clamped);
  preparation.smoothing = SmoothingKind::gaussian;
  preparation.sigma_bins = 0.5;
  preparation.square_root = true;
  const auto targets = [&](TargetKind target) {
    preparation.target = target;
    return prepare(two_segments(), preparation, {}, pool).data;
  };
  EXPECT_EQ(targets(TargetKind::window_sum).targets[2 * 3], sum_of({2, 3, 4}));
  EXPECT_EQ(targets(TargetKind::centre_bin).targets[2 * 3], sum_of({3}));
  const FleetData smoothed = targets(TargetKind::smoothed);
  EXPECT_NEAR(smoothed.targets[2 * 3], 4, 1e-5);  // symmetric weights of a straight line
  EXPECT_NEAR(smoothed.inputs[2 * 3], 2, 1e-5);
}

TEST(Prepare, TheShareOfTargetsASigmoidCannotReachIsCounted) {
  ThreadPool pool(1);
  Recording recording = two_segments();
  std::fill(recording.counts.begin(), recording.counts.end(), 0.0f);
  recording.counts[4] = 3;
  Preparation preparation = window(1, 1, EdgePolicy::segment_clamped);
  preparation.target = TargetKind::centre_bin;
  const PreparedData prepared = prepare(recording, preparation, {}, pool);
  EXPECT_EQ(prepared.largest_target, 3);
  EXPECT_NEAR(prepared.targets_above_one, 1 / 24.0, 1e-12);
}

TEST(Prepare, ACausalFilterSeesNothingOfTheFuture) {
  ThreadPool pool(1);
  Recording recording = two_segments();
  std::fill(recording.counts.begin(), recording.counts.end(), 0.0f);
  recording.counts[2 * 3] = 1;
  Preparation preparation = window(1, 1, EdgePolicy::segment_clamped);
  preparation.smoothing = SmoothingKind::causal_half_gaussian;
  preparation.sigma_bins = 1;
  preparation.smoothing_edges = "constant";
  const auto inputs = prepare(recording, preparation, {}, pool).data.inputs;
  for (int t = 0; t < 3; ++t) EXPECT_EQ(inputs[to_size(t) * 2], 0);
  EXPECT_GT(inputs[2 * 3], inputs[2 * 4]);
  EXPECT_GT(inputs[2 * 6], 0);
  EXPECT_EQ(inputs[2 * 7], 0);  // another segment
}

TEST(Preparation, GaussianTapsAreScipys) {
  Preparation preparation = window(5, 5, EdgePolicy::segment_clamped);
  preparation.smoothing = SmoothingKind::gaussian;
  preparation.sigma_ms = 25;  // one bin
  preparation.smoothing_edges = "reflect";
  const Taps taps = smoothing_taps(preparation, 0.025);
  // scipy.ndimage.gaussian_filter1d of a unit impulse, sigma 1.
  const double scipy[] = {0.000133830626, 0.004431861620, 0.053991127421, 0.241971445656, 0.398943469356};
  ASSERT_EQ(taps.weights.size(), 9u);
  EXPECT_EQ(taps.left, 4);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(taps.weights[i], scipy[i < 5 ? i : 8 - i], 3e-8) << i;
}

TEST(Preparation, GaussianTapsOfTheWindowAreSymmetricAboutItsMiddleAndSumToOne) {
  Preparation preparation = window(5, 5, EdgePolicy::segment_clamped);
  preparation.smoothing = SmoothingKind::gaussian;
  preparation.sigma_bins = 2;
  const Taps taps = smoothing_taps(preparation, 0.025);
  ASSERT_EQ(taps.weights.size(), 10u);
  EXPECT_EQ(taps.left, 5);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(taps.weights[i], taps.weights[9 - i]);
  EXPECT_NEAR(taps.weights[3] / taps.weights[4], std::exp(-(1.5 * 1.5 - 0.5 * 0.5) / 8), 1e-6);
  EXPECT_NEAR(std::accumulate(taps.weights.begin(), taps.weights.end(), 0.0), 1, 1e-6);
}

TEST(Preparation, NoisePerBinGrowsWithTheNormOfTheTaps) {
  Preparation preparation = window(5, 5, EdgePolicy::segment_clamped);
  EXPECT_NEAR(noise_on_input(preparation, 0.025, 0.01), 0.01 * std::sqrt(10.0), 1e-12);
  preparation.windowed_input = true;
  EXPECT_EQ(noise_on_input(preparation, 0.025, 0.01), 0.01);
}

TEST(Preparation, IsReadBackAsItWasWritten) {
  Preparation preparation = window(3, 4, EdgePolicy::clamped_concatenated);
  preparation.smoothing = SmoothingKind::causal_half_gaussian;
  preparation.sigma_ms = 40;
  preparation.smoothing_edges = "mirror";
  preparation.normalise = preparation.square_root = preparation.windowed_input = true;
  preparation.target = TargetKind::centre_bin;
  preparation.standardise_labels = false;
  EXPECT_EQ(Preparation::from_json(preparation.to_json()).to_json(), preparation.to_json());
  EXPECT_EQ(preparation.to_json().at("smoothing").at("sigma_bins"), nlohmann::json());
  auto unknown = preparation.to_json();
  unknown["windows"]["edges"] = "soft";
  EXPECT_THROW(Preparation::from_json(unknown), ConfigError);
}

const std::vector<std::int32_t> kAllBins = [] {
  std::vector<std::int32_t> bins(12);
  std::iota(bins.begin(), bins.end(), 0);
  return bins;
}();

TEST(Prepare, OnlyContinuousLabelsAreStandardised) {
  const Recording recording = two_segments();
  const LabelScaling scaling = label_scaling(recording, window(1, 1, EdgePolicy::segment_clamped), kAllBins);
  EXPECT_EQ(scaling.names, (std::vector<std::string>{"position", "direction=right", "direction=left"}));
  EXPECT_NEAR(scaling.mean[0], 0.55, 1e-12);
  EXPECT_NEAR(scaling.scale[0], 0.1 * std::sqrt((144 - 1) / 12.0), 1e-12);
  EXPECT_EQ(scaling.mean[1], 0);
  EXPECT_EQ(scaling.scale[2], 1);
  Preparation raw = window(1, 1, EdgePolicy::segment_clamped);
  raw.standardise_labels = false;
  EXPECT_EQ(label_scaling(recording, raw, kAllBins).scale[0], 1);
}

// The labels of a split's rows, in order.
std::vector<float> labels_of(const PreparedData& prepared, const std::vector<std::int32_t>& rows) {
  std::vector<float> labels;
  for (const auto row : rows)
    for (int feature = 0; feature < prepared.n_labels; ++feature)
      labels.push_back(prepared.data.labels[to_size(row * 3 + feature)]);
  return labels;
}

TEST(Prepare, LabelsOfTestAndValidationBinsDoNotChangeThoseOfTheTrainingBins) {
  ThreadPool pool(1);
  const std::vector<Split> splits{example_split(), {"fold 2", {3, 4, 5, 6}, {0, 1, 2}, {9, 10, 11}}};
  for (const auto edges : {EdgePolicy::segment_clamped, EdgePolicy::clamped_concatenated}) {
    const Preparation preparation = window(1, 1, edges);
    const PreparedData before = prepare(two_segments(), preparation, splits, pool);
    for (std::size_t split = 0; split < splits.size(); ++split) {
      Recording changed = two_segments();
      for (const auto* part : {&splits[split].valid, &splits[split].test})
        for (const auto bin : *part) changed.labels[0].values[to_size(bin)] = 1000 + bin;
      const PreparedData after = prepare(changed, preparation, splits, pool);
      EXPECT_EQ(labels_of(after, after.rows[split].train), labels_of(before, before.rows[split].train)) << split;
      EXPECT_EQ(after.scaling[split].mean, before.scaling[split].mean);
      EXPECT_NE(labels_of(after, after.rows[split].test), labels_of(before, before.rows[split].test)) << split;
    }
  }
}

TEST(RecordingForAModel, HasTheLabelTimeWhereTheModelNamesItAndTheRecordingHasNone) {
  ModelConfig model;
  model.preparation.labels = {"position", "time"};
  Recording recording = two_segments();
  EXPECT_EQ(recording_for(model, recording).label("time").values, recording.time_s);
  recording.labels[0].name = "time";
  EXPECT_EQ(recording_for(model, recording).label("time").values, recording.labels[0].values);
  model.preparation.labels = {"direction"};
  EXPECT_EQ(recording_for(model, two_segments()).labels.size(), 2u);
}

TEST(RecordingForAModel, ShuffledHasAllLabelsOfABinFromTheSameOtherBin) {
  ModelConfig model;
  model.shuffle_labels = 3;
  const Recording before = two_segments(), after = recording_for(model, before);
  std::vector<double> positions = after.label("position").values;
  EXPECT_NE(positions, before.label("position").values);
  for (std::size_t bin = 0; bin < positions.size(); ++bin) {
    const auto from = to_size(std::lround(positions[bin] / 0.1));
    EXPECT_EQ(after.label("direction").values[bin], before.label("direction").values[from]);
  }
  std::sort(positions.begin(), positions.end());
  EXPECT_EQ(positions, before.label("position").values);
  EXPECT_EQ(after.counts, before.counts);
}

TEST(Prepare, EverySplitHasItsOwnRowsWhereItsLabelsAreScaledByItsOwnTrainingBins) {
  ThreadPool pool(1);
  const std::vector<Split> splits{example_split(), {"fold 2", {3, 4, 5, 6}, {0, 1, 2}, {9, 10, 11}}};
  Preparation preparation = window(1, 1, EdgePolicy::segment_clamped);
  const PreparedData prepared = prepare(two_segments(), preparation, splits, pool);
  EXPECT_EQ(prepared.data.n_rows, 24);
  EXPECT_EQ(prepared.rows[1].train, (std::vector<std::int32_t>{15, 16, 17, 18}));
  EXPECT_EQ(prepared.row_of_bin[1][9], 21);
  EXPECT_NEAR(prepared.scaling[1].mean[0], 0.45, 1e-7);
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(prepared.data.inputs[24 + i], prepared.data.inputs[i]);
  preparation.standardise_labels = false;
  EXPECT_EQ(prepare(two_segments(), preparation, splits, pool).data.n_rows, 12);
  preparation.standardise_labels = true;
  preparation.labels = {"direction"};
  EXPECT_EQ(prepare(two_segments(), preparation, splits, pool).data.n_rows, 12);
}

TEST(Prepare, BinsWhoseWindowsReadAnotherPartAreCounted) {
  ThreadPool pool(1);
  const Split split{"time", {0, 1, 2, 3}, {4, 5}, {8, 9, 10, 11}};  // 6 and 7 are unused; segments meet at 7
  const auto count = [&](std::int32_t left, std::int32_t right, EdgePolicy edges) {
    const BorderBins bins = bins_across_borders(two_segments(), window(left, right, edges), split, pool);
    return std::vector<std::int32_t>{bins.train, bins.valid, bins.test};
  };
  EXPECT_EQ(count(0, 1, EdgePolicy::segment_clamped), (std::vector<std::int32_t>{0, 0, 0}));
  EXPECT_EQ(count(1, 1, EdgePolicy::segment_clamped), (std::vector<std::int32_t>{0, 1, 0}));  // bin 4 reads bin 3
  EXPECT_EQ(count(2, 2, EdgePolicy::segment_clamped), (std::vector<std::int32_t>{1, 2, 0}));
  EXPECT_EQ(count(3, 3, EdgePolicy::whole_session), (std::vector<std::int32_t>{4, 2, 1}));
  EXPECT_EQ(count(1, 1, EdgePolicy::clamped_concatenated), (std::vector<std::int32_t>{0, 0, 0}));
  Preparation centre = window(2, 2, EdgePolicy::segment_clamped);
  centre.smoothing = SmoothingKind::none;
  EXPECT_EQ(bins_across_borders(two_segments(), centre, split, pool).valid, 2);  // the target still reads the window
  centre.target = TargetKind::centre_bin;
  EXPECT_EQ(bins_across_borders(two_segments(), centre, split, pool).valid, 0);
}

TEST(Prepare, CategoriesInAnotherOrderThanTheModelsAreRefused) {
  ThreadPool pool(1);
  const Recording recording = two_segments();
  const Preparation preparation = window(1, 1, EdgePolicy::segment_clamped);
  LabelScaling scaling = label_scaling(recording, preparation, kAllBins);
  std::swap(scaling.names[1], scaling.names[2]);
  EXPECT_THROW(prepare(recording, preparation, {}, pool, {scaling}), DataError);
  EXPECT_TRUE(prepare(recording, preparation, {}, pool, {scaling}, {.labels = false}).data.labels.empty());
}

}  // namespace
}  // namespace idem
