#include "host/evaluation/decoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "host/evaluation/baselines.h"
#include "host/evaluation/neighbour_decoder.h"
#include "host/study/subjects.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/host/evaluation/track_case.h"

namespace idem {
namespace {

using nlohmann::json;

void expect_scores(const json& got, double position_error_cm, double position_r2, double direction_r2,
                   double direction_accuracy, double total_r2) {
  EXPECT_NEAR(got.at("position_error_cm").get<double>(), position_error_cm, 1e-9);
  EXPECT_NEAR(got.at("position_r2").get<double>(), position_r2, 1e-10);
  EXPECT_NEAR(got.at("direction_r2").get<double>(), direction_r2, 1e-10);
  EXPECT_NEAR(got.at("direction_accuracy").get<double>(), direction_accuracy, 1e-12);
  EXPECT_NEAR(got.at("total_r2").get<double>(), total_r2, 1e-10);
  EXPECT_EQ(got.size(), 5u);
}

const DecodingOptions kPublished{.neighbours = {1, 4, 9, 16, 25}, .neighbours_by = NeighboursBy::r2};

// The stored numbers were made with scikit-learn 1.9: KNeighborsRegressor, KNeighborsClassifier, Ridge,
// LinearRegression and r2_score.
TEST(Decoding, TheWholeProtocolEqualsScikitLearn) {
  const TrackCase track;
  ThreadPool pool(2);
  const json result = decode_embedding(track.embedding, track.recording, track.split, kPublished, pool);
  EXPECT_EQ(result.size(), 4u);
  EXPECT_EQ(result["cosine"]["neighbours"], 9);
  expect_scores(result["cosine"]["valid"], 24.1666666667, 0.402892710716, 0.5, 0.875, 0.467630903572);
  expect_scores(result["cosine"]["test"], 20.8333333333, 0.432973237175, 0.65, 0.9125, 0.577657745725);
  EXPECT_EQ(result["euclidean"]["neighbours"], 4);
  expect_scores(result["euclidean"]["valid"], 16.875, 0.668936771137, 0.5, 0.875, 0.556312257046);
  expect_scores(result["euclidean"]["test"], 20, 0.656590863183, 0.45, 0.8625, 0.518863621061);
  EXPECT_EQ(result["linear"]["penalty"], 100);
  expect_scores(result["linear"]["valid"], 20.2639806338, 0.624843088392, 0.541311407003, 0.8375, 0.569155300799);
  expect_scores(result["linear"]["test"], 20.0613931049, 0.667297998115, 0.576402321321, 0.8875, 0.606700880253);
}

// Stored from scikit-learn's LinearSVC on the standardised rows.
TEST(Decoding, SupportVectorsTellTheDirectionAsScikitLearn) {
  const TrackCase track;
  ThreadPool pool(1);
  const json result = decode_embedding(track.embedding, track.recording, track.split, {}, pool)["support_vectors"];
  EXPECT_EQ(result["cost"], 0.01);
  EXPECT_EQ(result["valid"]["direction_accuracy"], 0.8625);
  EXPECT_EQ(result["test"]["direction_accuracy"], 0.9125);
  TrackCase three = track;
  three.recording.labels[1].categories.push_back("still");
  EXPECT_FALSE(decode_embedding(three.embedding, three.recording, three.split, {}, pool).contains("support_vectors"));
}

TEST(Decoding, OneNumberOfNeighboursIsChosenByTotalR2WhereAskedFor) {
  const TrackCase track;
  ThreadPool pool(1);
  const auto chosen = [&](const std::vector<int>& grid, const char* decoder) {
    const json scores = decode_embedding(track.embedding, track.recording, track.split,
                                         {.neighbours = grid, .neighbours_by = NeighboursBy::r2}, pool)[decoder];
    EXPECT_EQ(scores["neighbours"], scores["direction_neighbours"]);
    return scores["neighbours"].get<int>();
  };
  // Position R2 alone would choose 3 (.412 against .374) and 36 (.654 against .622).
  EXPECT_EQ(chosen({3, 4}, "cosine"), 4);
  EXPECT_EQ(chosen({36, 3}, "euclidean"), 3);
}

TEST(Decoding, EachLabelHasTheNumberOfNeighboursThatItsOwnScoreIsBestWith) {
  TrackCase track;
  LabelColumn heading{
      .name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360, .categories = {}, .values = {}};
  for (const double place : track.recording.labels[0].values) heading.values.push_back(std::fmod(place * 200, 360));
  track.recording.labels.push_back(heading);
  ThreadPool pool(1);
  const std::vector<int> grid = {1, 2, 3, 4, 6, 9, 16, 25, 36, 49, 100};
  const json all = decode_embedding(track.embedding, track.recording, track.split, {.neighbours = grid}, pool);
  bool differ = false;
  for (const char* decoder : {"cosine", "euclidean"}) {
    const json& got = all[decoder];
    // What each number gives by itself: the best of it is what is reported, with the smallest number that has it.
    std::map<int, json> of;
    for (const int k : grid)
      of[k] = decode_embedding(track.embedding, track.recording, track.split, {.neighbours = {k}}, pool)[decoder];
    int position = 1, direction = 1, other = 1;
    for (const int k : grid) {
      if (of[k]["valid"]["position_error_cm"] < of[position]["valid"]["position_error_cm"]) position = k;
      if (of[k]["valid"]["direction_accuracy"] > of[direction]["valid"]["direction_accuracy"]) direction = k;
      if (of[k]["labels"]["heading"]["valid"]["median_error"] < of[other]["labels"]["heading"]["valid"]["median_error"])
        other = k;
    }
    EXPECT_EQ(got["neighbours"], position);
    EXPECT_EQ(got["direction_neighbours"], direction);
    EXPECT_EQ(got["labels"]["heading"]["neighbours"], other);
    differ = differ || position != direction;
    for (const char* part : {"valid", "test"}) {
      EXPECT_EQ(got[part]["position_error_cm"], of[position][part]["position_error_cm"]);
      EXPECT_EQ(got[part]["position_r2"], of[position][part]["position_r2"]);
      EXPECT_EQ(got[part]["direction_accuracy"], of[direction][part]["direction_accuracy"]);
      EXPECT_EQ(got[part]["direction_r2"], of[direction][part]["direction_r2"]);
      EXPECT_EQ(got["labels"]["heading"][part]["median_error"], of[other]["labels"]["heading"][part]["median_error"]);
    }
  }
  EXPECT_TRUE(differ);
}

TEST(Decoding, TheConfigurationSaysWhatTheNumberOfNeighboursIsChosenBy) {
  const auto options = [](const json& evaluation) {
    return resolve_study({{"recording", {{"file", "counts.npz"}}}, {"evaluation", evaluation}}, "study.json").decoding;
  };
  const DecodingOptions usual = options(json::object()),
                        published = options({{"neighbours", {4, 1}}, {"neighbours_by", "r2"}});
  EXPECT_EQ(usual.neighbours, DecodingOptions().neighbours);
  EXPECT_EQ(usual.neighbours.back(), 144);
  EXPECT_EQ(usual.neighbours_by, NeighboursBy::score);
  EXPECT_EQ(published.neighbours, (std::vector<int>{4, 1}));
  EXPECT_EQ(published.neighbours_by, NeighboursBy::r2);
  EXPECT_THROW(options({{"neighbours_by", "error"}}), ConfigError);
}

TEST(Decoding, ANumberOfNeighboursAtAnEndOfItsGridIsToldUnlessNothingLiesBeyond) {
  const TrackCase track;
  ThreadPool pool(1);
  const auto ends = [&](const std::vector<int>& grid) {
    return decode_embedding(track.embedding, track.recording, track.split, {.neighbours = grid}, pool)["euclidean"]
        .value("grid_end", json::object());
  };
  const json free = decode_embedding(track.embedding, track.recording, track.split, {}, pool)["euclidean"];
  const int best = free["neighbours"], of_direction = free["direction_neighbours"];
  ASSERT_GT(best, 1);
  ASSERT_LT(best, 144);
  EXPECT_FALSE(free.value("grid_end", json::object()).contains("neighbours")) << free.dump();
  EXPECT_EQ(ends({1, best})["neighbours"], "largest");
  EXPECT_EQ(ends({best, 200})["neighbours"], "smallest");
  EXPECT_EQ(ends({best}), json::object());  // one number is no choice
  EXPECT_FALSE(ends({1, best, 1000}).contains("neighbours"))
      << "larger ones were on offer, but the training set is smaller";
  EXPECT_EQ(ends({1, of_direction}).value("direction_neighbours", ""), of_direction > 1 ? "largest" : "");
  EXPECT_FALSE(ends({1, 240}).contains("neighbours")) << "the best is 1, below which there is none";
}

TEST(Decoding, ScoresOfCountsDoNotDependOnTheOrderOfTheTrainingRows) {
  TrackCase track;
  std::vector<float> counts;
  for (std::size_t i = 0; i < track.values.size(); ++i)
    counts.push_back(std::floor(std::max(0.0f, track.values[i] / 3)));
  const Embedding sums{track.embedding.n_rows, 3, counts};
  ThreadPool pool(1);
  const auto scores_of = [&] {
    json scores = decode_embedding(sums, track.recording, track.split, {}, pool);
    return json{{"cosine", scores["cosine"]}, {"euclidean", scores["euclidean"]}}.dump();
  };
  const std::string first = scores_of();
  const DecodedPosition decoded = decode_position(sums, track.recording, track.split, {}, Distance::euclidean, 9, pool);
  for (unsigned shuffle = 1; shuffle < 4; ++shuffle) {
    std::shuffle(track.split.train.begin(), track.split.train.end(), std::mt19937(shuffle));
    EXPECT_EQ(scores_of(), first);
    EXPECT_EQ(decode_position(sums, track.recording, track.split, {}, Distance::euclidean, 9, pool).decoded,
              decoded.decoded);
  }
}

TEST(Decoding, TheResultDoesNotDependOnTheNumberOfThreads) {
  const TrackCase track;
  ThreadPool one(1), three(3);
  EXPECT_EQ(decode_embedding(track.embedding, track.recording, track.split, {}, one).dump(),
            decode_embedding(track.embedding, track.recording, track.split, {}, three).dump());
}

TEST(Decoding, DecodedPositionsGiveTheReportedError) {
  const TrackCase track;
  ThreadPool pool(1);
  const DecodedPosition decoded =
      decode_position(track.embedding, track.recording, track.split, {}, Distance::euclidean, 4, pool);
  EXPECT_EQ(decoded.rows, track.split.test);
  EXPECT_EQ(decoded.unit, "m");
  std::vector<double> errors;
  for (std::size_t i = 0; i < decoded.rows.size(); ++i) {
    EXPECT_EQ(decoded.truth[i], track.recording.labels[0].values[to_size(decoded.rows[i])]);
    errors.push_back(std::abs(decoded.truth[i] - decoded.decoded[i]));
  }
  std::sort(errors.begin(), errors.end());
  EXPECT_NEAR((errors[39] + errors[40]) / 2, 0.20, 1e-12);
}

TEST(Decoding, AnExactEmbeddingOfACircularLabelIsDecodedAcrossTheSeam) {
  TrackCase track;
  LabelColumn heading{
      .name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360, .categories = {}, .values = {}};
  std::vector<float> values;
  for (int time = 0; time < 400; ++time) {
    heading.values.push_back(time * 7 % 360);
    const double phase = heading.values.back() * 2 * 3.14159265358979 / 360;
    values.push_back(static_cast<float>(std::sin(phase)));
    values.push_back(static_cast<float>(std::cos(phase)));
  }
  track.recording.labels = {heading};
  ThreadPool pool(1);
  const json result = decode_embedding({400, 2, values}, track.recording, track.split, {.neighbours = {4}}, pool);
  for (const char* decoder : {"cosine", "euclidean", "linear"}) {
    const json& test = result[decoder]["test"];
    EXPECT_LT(test["position_error"].get<double>(), 2) << decoder;
    EXPECT_GT(test["position_r2"].get<double>(), 0.99) << decoder;
    EXPECT_EQ(test["total_r2"], test["position_r2"]) << decoder;
    EXPECT_FALSE(test.contains("direction_r2") || test.contains("position_error_cm")) << decoder;
  }
  // An average that did not know the seam would put some rows half a turn away.
  const DecodedPosition decoded =
      decode_position({400, 2, values}, track.recording, track.split, {}, Distance::cosine, 4, pool);
  for (std::size_t i = 0; i < decoded.rows.size(); ++i) {
    EXPECT_LT(std::abs(std::remainder(decoded.decoded[i] - decoded.truth[i], 360)), 10);
    EXPECT_TRUE(decoded.decoded[i] >= 0 && decoded.decoded[i] < 360);
  }
}

TEST(Decoding, EveryOtherLabelIsDecodedToo) {
  TrackCase track;
  LabelColumn heading{
      .name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360, .categories = {}, .values = {}};
  LabelColumn half{.name = "half",
                   .kind = LabelKind::categorical,
                   .unit = {},
                   .period = 0,
                   .categories = {"near", "far"},
                   .values = {}};
  for (std::size_t time = 0; time < 400; ++time) {
    const double place = track.recording.labels[0].values[time];
    heading.values.push_back(wrap_to_period(330 + 40 * place, 360));  // across the seam
    half.values.push_back(place > 0.8);
  }
  track.recording.labels.push_back(heading);
  track.recording.labels.push_back(half);
  ThreadPool pool(1);
  const json scores = decode_embedding(track.embedding, track.recording, track.split, {}, pool);
  for (const char* decoder : {"euclidean", "cosine", "linear"})
    for (const char* part : {"valid", "test"}) {
      EXPECT_EQ(scores.at(decoder).at(part).size(), 5u);
      EXPECT_EQ(scores.at(decoder).at("labels").at("heading").at(part).at("unit"), "deg");
      EXPECT_EQ(scores.at(decoder).at("labels").at("half").at(part).size(), 1u);
    }
  const json& test = scores.at("euclidean");
  // 40 degrees to the metre, but for the decoded position being another mean of the same neighbours.
  EXPECT_NEAR(test.at("labels").at("heading").at("test").at("median_error").get<double>(),
              0.4 * test.at("test").at("position_error_cm").get<double>(), 0.5);
  EXPECT_GT(test.at("labels").at("half").at("test").at("accuracy").get<double>(), 0.8);
  const json chance = Baselines(track.recording, 1, 1).decode(track.split, {}, pool).at("chance");
  EXPECT_GT(chance.at("labels").at("heading").at("test").at("median_error").get<double>(), 5);
  DecodingOptions options;
  options.position_label = "heading";
  const json labels = decoded_labels(track.recording, options);
  EXPECT_EQ(labels.at("position"), json({{"name", "heading"}, {"unit", "deg"}}));
  EXPECT_EQ(labels.at("direction"), json({{"name", "direction"}}));
  EXPECT_EQ(labels.at("columns").at("heading"), json({{"kind", "circular"}, {"unit", "deg"}, {"period", 360.0}}));
  EXPECT_EQ(labels.at("columns").at("position"), json({{"kind", "continuous"}, {"unit", "m"}}));
  EXPECT_EQ(decoded_labels(track.recording, {}).at("position").at("unit"), "cm");
}

TEST(Decoding, OnlyLabelsThatAreThereAreScored) {
  TrackCase track;
  ThreadPool pool(1);
  track.recording.labels.erase(track.recording.labels.begin());
  const json direction_only =
      decode_embedding(track.embedding, track.recording, track.split, {}, pool)["euclidean"]["test"];
  EXPECT_EQ(direction_only.size(), 3u);
  EXPECT_EQ(direction_only["total_r2"], direction_only["direction_r2"]);
  track.recording.labels.clear();
  EXPECT_EQ(decode_embedding(track.embedding, track.recording, track.split, {}, pool), json::object());
}

TEST(Decoding, ColumnsThatDoNotOccurInTheScoredBinsAreNoSuccess) {
  TrackCase track;
  ThreadPool pool(1);
  const auto scores = [&] {
    return decode_embedding(track.embedding, track.recording, track.split, {}, pool)["euclidean"];
  };
  const json two_categories = scores();
  track.recording.labels[1].categories = {"left", "right",
                                          "asleep"};  // a category that never occurs, and that nobody is told to be in
  EXPECT_EQ(scores(), two_categories);
  EXPECT_LT(two_categories["test"]["direction_r2"], 1.0);

  // One direction alone in the test bins: nothing varies that could be explained, and the place is all there is.
  auto& right = track.recording.labels[1].values;
  for (const auto bin : track.split.test) right[to_size(bin)] = 1;
  const json one_direction = scores()["test"];
  EXPECT_FALSE(one_direction.contains("direction_r2"));
  EXPECT_TRUE(one_direction.contains("direction_accuracy"));
  EXPECT_EQ(one_direction["total_r2"], one_direction["position_r2"]);

  // Nothing that varies, in the validation bins either: no R2 at all, the first setting, and the scores that need no
  // variance.
  for (const auto bin : track.split.valid) right[to_size(bin)] = 1;
  for (auto& value : track.recording.labels[0].values) value = 0.5;
  const json nothing = scores();
  EXPECT_EQ(nothing["neighbours"], 1);
  for (const char* part : {"valid", "test"}) {
    for (const char* score : {"position_r2", "direction_r2", "total_r2"})
      EXPECT_FALSE(nothing[part].contains(score)) << part << " " << score;
    EXPECT_EQ(nothing[part]["position_error_cm"], 0.0) << part;
  }
}

TEST(Decoding, WithoutValidationBinsOneSettingPerGridIsNeeded) {
  TrackCase track;
  ThreadPool pool(1);
  track.split.valid.clear();
  EXPECT_THROW(decode_embedding(track.embedding, track.recording, track.split, {}, pool), ConfigError);
  const json result = decode_embedding(track.embedding, track.recording, track.split,
                                       {.neighbours = {5}, .ridge_penalties = {1}}, pool);
  EXPECT_TRUE(result["cosine"].contains("test"));
  EXPECT_FALSE(result["cosine"].contains("valid"));
}

TEST(Decoding, WrongLabelsAndForeignEmbeddingsAreRefused) {
  const TrackCase track;
  ThreadPool pool(1);
  EXPECT_THROW(decode_embedding(track.embedding, track.recording, track.split, {.position_label = "speed"}, pool),
               ConfigError);
  EXPECT_THROW(decode_embedding(track.embedding, track.recording, track.split, {.position_label = "direction"}, pool),
               ConfigError);
  EXPECT_THROW(decode_embedding(track.embedding, track.recording, track.split, {.direction_label = "position"}, pool),
               ConfigError);
  EXPECT_THROW(decode_embedding({399, 3, track.values}, track.recording, track.split, {}, pool), DataError);
  std::vector<float> diverged = track.values;
  diverged[100] = std::nanf("");
  EXPECT_THROW(decode_embedding({400, 3, diverged}, track.recording, track.split, {}, pool), DataError);
}

}  // namespace
}  // namespace idem
