#include "host/report/view.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "host/report/results.h"

namespace idem {
namespace {

RunLatents small_latents(const std::vector<std::string>& label_names, std::int32_t n_times) {
  RunLatents latents;
  latents.n_times = n_times, latents.n_latents = 2, latents.n_features = static_cast<std::int32_t>(label_names.size());
  latents.label_names = label_names;
  for (std::int32_t time = 0; time < n_times; ++time) {
    latents.time_s.push_back(0.025 * time);
    latents.segment.push_back(0);
    latents.split.push_back(time % 3 == 2 ? 2 : 0);
    const float a = static_cast<float>(std::sin(0.7 * time)), b = static_cast<float>(std::cos(1.3 * time + 0.2));
    latents.encoder_mean.insert(latents.encoder_mean.end(), {a, b});
    latents.posterior_mean.insert(latents.posterior_mean.end(), {2 * a - b + 3, 0.5f * b + a});
    for (std::int32_t feature = 0; feature < latents.n_features; ++feature)
      latents.labels.push_back(feature == 0 ? static_cast<float>(time) : (time + feature) % 2 ? 1.0f : 0.0f);
  }
  return latents;
}

TEST(ReportView, RightIsCoolAndLeftIsViridisInEitherOrder) {
  for (const bool right_first : {true, false}) {
    const auto view = make_run_view(
        small_latents(right_first ? std::vector<std::string>{"position", "direction=right", "direction=left"}
                                  : std::vector<std::string>{"position", "direction=left", "direction=right"},
                      30),
        {});
    const std::size_t right = right_first ? 0 : 1;
    ASSERT_EQ(view.colouring.groups.size(), 2u);
    EXPECT_EQ(view.colouring.groups[right].name, "right");
    EXPECT_EQ(view.colouring.colour(right, view.colouring.low), 0x00ffffu);
    EXPECT_EQ(view.colouring.colour(right, view.colouring.high), 0xff00ffu);
    EXPECT_EQ(view.colouring.colour(1 - right, view.colouring.low), 0x440154u);
    EXPECT_EQ(view.colouring.colour(1 - right, view.colouring.high), 0xfde725u);
    EXPECT_EQ(view.colouring.colour(right, (view.colouring.low + view.colouring.high) / 2), 0x8080ffu);
  }
}

TEST(ReportView, CategoriesGetPlainColoursAndAnglesAClosedColourMap) {
  const auto categories = make_run_view(small_latents({"odour=a", "odour=b", "odour=c"}, 30), {});
  ASSERT_EQ(categories.colouring.groups.size(), 3u);
  for (const auto& group : categories.colouring.groups) EXPECT_EQ(group.stops.size(), 1u);
  const auto angle = make_run_view(small_latents({"heading.sin", "heading.cos"}, 30), {});
  EXPECT_EQ(angle.colouring.value_name, "heading");
  EXPECT_NEAR(angle.colouring.high, 2 * std::numbers::pi, 1e-12);
  EXPECT_EQ(angle.colouring.colour(0, 0), angle.colouring.colour(0, angle.colouring.high));
  const auto degrees = make_run_view(small_latents({"heading.sin", "heading.cos"}, 30), {{"heading", {"deg", 360}}});
  EXPECT_EQ(degrees.colouring.high, 360);
  EXPECT_EQ(degrees.colouring.unit, "deg");
}

TEST(ReportView, TheLabelThatIsDecodedGivesTheColours) {
  const auto latents = small_latents({"depth", "speed", "heading.sin", "heading.cos"}, 30);
  EXPECT_EQ(make_run_view(latents, {}).colouring.value_name, "depth");
  EXPECT_EQ(make_run_view(latents, {}, "speed").colouring.value_name, "speed");
  EXPECT_EQ(make_run_view(latents, {}, "heading").colouring.value_name, "heading");
}

TEST(ReportView, TheDecodedTrackBreaksWhereTimeDoes) {
  RunLatents latents = small_latents({"position"}, 12);
  for (std::size_t time = 0; time < 12; ++time)
    latents.split[time] = time < 4 || (time >= 6 && time < 10) ? 2 : 0, latents.decoded_position.push_back(1.0f);
  latents.segment = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1};
  const ViewTrack track = make_run_view(latents, {}).track;
  EXPECT_EQ(track.n_of, 8);
  std::vector<std::size_t> breaks;
  for (std::size_t i = 0; i < track.decoded_position.size(); ++i)
    if (std::isnan(track.decoded_position[i])) breaks.push_back(i);
  EXPECT_EQ(breaks, (std::vector<std::size_t>{4, 7}));  // an unused stretch, then a new segment
  EXPECT_NEAR(track.joined_s.back(), 7 * 0.025, 1e-6);
}

TEST(ReportView, ThinningKeepsAtMostTheAskedNumberEvenly) {
  EXPECT_EQ(evenly_thinned(3, 10), (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(evenly_thinned(10, 4), (std::vector<std::size_t>{0, 2, 5, 7}));
  EXPECT_TRUE(evenly_thinned(0, 4).empty());
}

}  // namespace
}  // namespace idem
