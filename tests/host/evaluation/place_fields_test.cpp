#include "host/evaluation/place_fields.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include "host/evaluation/baselines.h"
#include "host/recordings/read_recording.h"
#include "kernels/common/to_size.h"
#include "tests/host/evaluation/track_case.h"

namespace idem {
namespace {

using nlohmann::json;

// Twenty neurons, each of which fires in its own twentieth of the track and in one direction only.
std::vector<float> place_cells(const TrackCase& track) {
  std::vector<float> counts(400 * 20);
  for (std::size_t time = 0; time < 400; ++time) {
    const double position = track.recording.labels[0].values[time];
    const auto field =
        to_size(std::min(position / 1.6 * 10, 9.0)) + (track.recording.labels[1].values[time] > 0 ? 10 : 0);
    counts[time * 20 + field] = 6;
  }
  return counts;
}

TEST(PlaceFields, DecodeThePlaceAndDirectionThatCellsFireAt) {
  const TrackCase track;
  ThreadPool pool(1);
  const std::vector<float> counts = place_cells(track);
  const json result =
      decode_by_place_fields({400, 20, counts}, track.recording, track.split, {.field_smoothing_bins = {0.5}}, pool);
  EXPECT_EQ(result["smoothing_bins"], 0.5);
  EXPECT_EQ(result["test"]["direction_accuracy"], 1.0);
  EXPECT_EQ(result["valid"]["direction_r2"], 1.0);
  EXPECT_LT(result["test"]["position_error_cm"], 8);  // half a field: nothing tells places inside one apart
  EXPECT_GT(result["test"]["position_r2"], 0.98);
}

TEST(PlaceFields, WithoutTuningDecodeTheMostVisitedCell) {
  TrackCase track;
  ThreadPool pool(1);
  for (std::size_t time = 0; time < 400; time += 2)
    track.recording.labels[0].values[time] = 0.41;  // in the tenth of 40 cells from 0.05 to 1.55 m
  for (auto& right : track.recording.labels[1].values) right = 1;
  const std::vector<float> counts(400, 3);
  const json result =
      decode_by_place_fields({400, 1, counts}, track.recording, track.split, {.field_smoothing_bins = {0.25}}, pool);
  std::vector<double> errors;
  for (const auto row : track.split.test)
    errors.push_back(100 * std::abs(track.recording.labels[0].values[to_size(row)] - 0.40625));
  std::sort(errors.begin(), errors.end());
  EXPECT_NEAR(result["test"]["position_error_cm"].get<double>(), (errors[39] + errors[40]) / 2, 1e-9);
}

TEST(PlaceFields, OfACircularLabelReachAcrossItsSeam) {
  TrackCase track;
  ThreadPool pool(1);
  track.recording.labels.resize(1);
  LabelColumn& heading = track.recording.labels[0];
  heading.kind = LabelKind::circular;
  heading.unit = "deg";
  heading.period = 360;
  std::vector<float> counts(400);
  // Training never sees 351 to 360 degrees, where the cell fires as it does from 0 to 45 degrees.
  for (std::size_t time = 0; time < 400; ++time) {
    const bool trains = time % 10 < 6;
    heading.values[time] = trains ? std::fmod(37.0 * static_cast<double>(time), 351) : 355;
    counts[time] = heading.values[time] < 45 || heading.values[time] > 351 ? 5.0f : 0.0f;
  }
  const json result =
      decode_by_place_fields({400, 1, counts}, track.recording, track.split, {.field_smoothing_bins = {1}}, pool);
  EXPECT_LT(result["test"]["position_error"], 50);
}

// An animal at places of a track by chance, and neurons whose activity there is normal, of the given mean and standard
// deviation.
struct GaussianCase {
  static constexpr int kTimes = 4000, kNeurons = 8;
  using OfPlace = double (*)(double place, int neuron);

  GaussianCase(OfPlace mean, OfPlace deviation) {
    recording.subject = "rat";
    recording.n_times = kTimes;
    recording.n_neurons = kNeurons;
    recording.segments = {{0, kTimes}};
    LabelColumn position{
        .name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
    std::mt19937 random(8);
    std::normal_distribution<double> normal;
    for (int time = 0; time < kTimes; ++time) {
      const double place = std::uniform_real_distribution<double>(0, 1.6)(random);
      position.values.push_back(place);
      for (int neuron = 0; neuron < kNeurons; ++neuron)
        activity.push_back(static_cast<float>(mean(place, neuron) + deviation(place, neuron) * normal(random)));
      (time % 10 < 6 ? split.train : time % 10 < 8 ? split.valid : split.test).push_back(time);
    }
    recording.labels = {position};
    // Who knows what the activity was drawn from, at 400 places.
    std::vector<double> errors;
    for (const auto time : split.test) {
      double best = -std::numeric_limits<double>::infinity(), best_place = 0;
      for (int i = 0; i < 400; ++i) {
        const double place = 1.6 * (i + 0.5) / 400;
        double log_likelihood = 0;
        for (int neuron = 0; neuron < kNeurons; ++neuron) {
          const double x = activity[to_size(time * kNeurons + neuron)], sd = deviation(place, neuron);
          log_likelihood -= 0.5 * std::pow((x - mean(place, neuron)) / sd, 2) + std::log(sd);
        }
        if (log_likelihood > best) best = log_likelihood, best_place = place;
      }
      errors.push_back(100 * std::abs(best_place - position.values[to_size(time)]));
    }
    std::sort(errors.begin(), errors.end());
    optimum_cm = (errors[399] + errors[400]) / 2;
  }
  double error_cm(const std::vector<float>& of) const {
    ThreadPool pool(1);
    return decode_by_place_fields({kTimes, kNeurons, of}, recording, split, {}, pool)["test"]["position_error_cm"];
  }

  Recording recording;
  std::vector<float> activity;
  Split split;
  double optimum_cm = 0;
};

double bump(double place, int neuron) { return std::exp(-0.5 * std::pow((place - 0.2 * (neuron + 0.5)) / 0.15, 2)); }

TEST(PlaceFields, OfGaussianActivityDecodeNearlyAsWellAsItsOwnDistributionDoes) {
  const GaussianCase tuned([](double place, int neuron) { return 2 * bump(place, neuron) - 0.5; },
                           [](double place, int) { return 0.2 + 0.3 * place; });
  EXPECT_LT(tuned.error_cm(tuned.activity), 1.15 * tuned.optimum_cm + 0.5) << "optimum " << tuned.optimum_cm;
  // A place that only the spread of the activity tells.
  const GaussianCase spread([](double, int) { return 0.0; },
                            [](double place, int neuron) { return 0.2 + 3 * bump(place, neuron); });
  EXPECT_LT(spread.error_cm(spread.activity), 1.15 * spread.optimum_cm + 0.5) << "optimum " << spread.optimum_cm;
  EXPECT_LT(spread.optimum_cm, 15);  // chance: 40 cm

  // Each neuron in a unit and about a zero of its own is the same activity.
  std::vector<float> other = tuned.activity;
  for (std::size_t i = 0; i < other.size(); ++i) other[i] = (i % 8 == 3 ? 1e-4f : 50.0f) * other[i] + 10;
  EXPECT_NEAR(tuned.error_cm(other), tuned.error_cm(tuned.activity), 0.1);
}

TEST(PlaceFields, OfCountsAreThoseOfPoisson) {
  const TrackCase track;
  ThreadPool pool(1);
  std::vector<float> counts = place_cells(track);
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[i] = static_cast<float>(3 * (counts[i] > 0) + (i * i % 7 == 1) + 2 * (i * i % 31 == 2));
  const DecodingOptions options{.field_smoothing_bins = {2}};
  const json result = decode_by_place_fields({400, 20, counts}, track.recording, track.split, options, pool);
  EXPECT_EQ(result["test"]["direction_accuracy"].get<double>(), 0.8625);
  // Another Eigen or another maths library rounds the last digits otherwise.
  EXPECT_NEAR(result["test"]["position_r2"].get<double>(), 0.3348774575814709, 1e-9);
  EXPECT_NEAR(result["valid"]["total_r2"].get<double>(), 0.2329181023058574, 1e-9);
  std::vector<float> halved = counts;
  for (float& count : halved) count /= 2;
  const json of_halves = decode_by_place_fields({400, 20, halved}, track.recording, track.split, options, pool);
  EXPECT_NE(of_halves["test"], result["test"]);
  EXPECT_EQ(result["activity"], "poisson");
  EXPECT_EQ(of_halves["activity"], "gaussian");
}

TEST(PlaceFields, ACellVisitedOnceAndANeuronThatNeverChangesDecideNothing) {
  GaussianCase few([](double place, int neuron) { return neuron == 7 ? 0.25 : 2 * bump(place, neuron); },
                   [](double, int neuron) { return neuron == 7 ? 0.0 : 0.4; });
  few.split.train.resize(40);
  ThreadPool pool(1);
  const DecodingOptions options{.field_smoothing_bins = {0.25}};  // does not reach from cell to cell
  const json result = decode_by_place_fields({4000, 8, few.activity}, few.recording, few.split, options, pool);
  EXPECT_LT(result["valid"]["position_error_cm"].get<double>(), 9);  // 7.6; without the bound on variances 10.9
}

// Constant up to how a float is rounded in the rows that fields are fitted on, and another value in the test rows.
TEST(PlaceFields, ANeuronWhoseOnlySpreadIsRoundingDecidesNothing) {
  GaussianCase rounded([](double place, int neuron) { return neuron == 7 ? 0 : 2 * bump(place, neuron); },
                       [](double, int) { return 0.4; });
  const auto error_with = [&](float fitted, float beside_it, float tested) {
    for (std::size_t time = 0; time < 4000; ++time) {
      const bool is_fitted = time % 10 < 8;
      rounded.activity[8 * time + 7] = !is_fitted ? tested : time % 3 ? fitted : beside_it;
    }
    return rounded.error_cm(rounded.activity);
  };
  const double without = error_with(0, 0, 0);
  EXPECT_LT(without, 10);
  EXPECT_EQ(error_with(0.1f, 0.1f, 0.2f), without);
  EXPECT_EQ(error_with(0.1f, std::nextafter(0.1f, 1.0f), 0.2f), without);
  EXPECT_EQ(error_with(1e6f, std::nextafter(1e6f, 0.0f), 2e6f), without);
}

TEST(PlaceFields, AreNotAskedForWhatTheyCannotSay) {
  TrackCase track;
  ThreadPool pool(1);
  const std::vector<float> counts = place_cells(track);
  track.recording.labels.clear();
  EXPECT_TRUE(decode_by_place_fields({400, 20, counts}, track.recording, track.split, {}, pool).empty());
}

// The supervised limit of Buddy's 250 ms windows, with which every model of them compares.
TEST(PlaceFields, FindBuddyToTenCentimetres) {
  const std::filesystem::path file = std::filesystem::path(IDEM_SHARED_DIR) / "data/rat_hippocampus/buddy.jl";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no recording " << file;
  const Recording recording = load_recording_file(file.string());
  ThreadPool pool(2);
  const Baselines baselines(recording, 5, 5);
  double error = 0;
  for (const int fold : {0, 1, 2}) {
    const Split split = three_fold_trials(recording, recording.labels[1].name, fold);
    error += decode_by_place_fields(baselines.window_sums(), recording, split, {}, pool)["test"]["position_error_cm"]
                 .get<double>() /
             3;
  }
  EXPECT_NEAR(error, 10.0, 0.1);
}

}  // namespace
}  // namespace idem
