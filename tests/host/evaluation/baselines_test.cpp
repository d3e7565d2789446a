#include "host/evaluation/baselines.h"

#include <gtest/gtest.h>

#include "tests/host/evaluation/track_case.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

TEST(Baselines, WindowSumsStayInsideTheirSegment) {
  TrackCase track;
  for (std::size_t time = 0; time < 400; ++time) {
    track.recording.counts[2 * time] = static_cast<float>(time);
    track.recording.counts[2 * time + 1] = static_cast<float>(time % 3);
  }
  track.recording.segments = {{0, 200}, {200, 203}, {203, 400}};
  const Baselines baselines(track.recording, 5, 5);
  const auto sum = [&](std::size_t time) { return baselines.window_sums().values[2 * time]; };
  EXPECT_EQ(sum(100), 995);                  // 95 ... 104
  EXPECT_EQ(sum(0), 45);                     // 0 ... 9, shifted
  EXPECT_EQ(sum(199), 1945);                 // 190 ... 199, shifted
  EXPECT_EQ(sum(201), 200 + 201 + 8 * 202);  // a short segment repeats its last bin
  EXPECT_EQ(sum(203), 10 * 203 + 45);
  EXPECT_EQ(baselines.pca().values.size(), 800u);
}

TEST(Baselines, WindowsAreCutAsTheStudysOwn) {
  TrackCase track;
  for (std::size_t time = 0; time < 400; ++time) track.recording.counts[2 * time] = static_cast<float>(time);
  track.recording.segments = {{0, 200}, {200, 400}};
  const auto sum = [&](EdgePolicy edges, std::size_t time) {
    return Baselines(track.recording, 1, 2, edges, track.split).window_sums().values[2 * time];
  };
  EXPECT_EQ(sum(EdgePolicy::segment_clamped, 199), 197 + 198 + 199);
  EXPECT_EQ(sum(EdgePolicy::whole_session, 199), 198 + 199 + 200);
  // The split deals 6 bins of 10 to training, 2 to validation, 2 to test: 108, 109, 118, 119 follow each other in the
  // test part.
  EXPECT_EQ(sum(EdgePolicy::segment_clamped, 109), 108 + 109 + 110);
  EXPECT_EQ(sum(EdgePolicy::clamped_concatenated, 109), 108 + 109 + 118);
  EXPECT_EQ(sum(EdgePolicy::clamped_concatenated, 8), 8 + 9 + 18);
}

TEST(Baselines, ChanceIsTheMedianPositionAndTheMostFrequentDirection) {
  const TrackCase track;
  ThreadPool pool(1);
  const json chance = Baselines(track.recording, 0, 1).decode(track.split, {.neighbours = {3}}, pool)["chance"];
  EXPECT_NEAR(chance["test"]["position_error_cm"].get<double>(), 35, 1e-12);  // train median 0.8 m
  double right = 0;
  for (auto row : track.split.test) right += track.recording.labels[1].values[to_size(row)];
  EXPECT_NEAR(chance["test"]["direction_accuracy"].get<double>(), right / 80,
              1e-12);  // 123 of 240 train rows run right
}

}  // namespace
}  // namespace idem
