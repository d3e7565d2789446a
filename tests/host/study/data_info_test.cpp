#include "host/study/data_info.h"

#include <gtest/gtest.h>

#include "host/preparation/choose_splits.h"
#include "tests/host/recordings/recording_fixture.h"

namespace idem {
namespace {

TEST(DataInfo, BinsAndLabelsOfAnySizeAreDrawn) {
  Recording recording{.subject = "rat", .n_times = 200, .n_neurons = 1, .bin_width_s = 1};
  recording.counts.assign(200, 1);
  LabelColumn wide;
  wide.name = "wide";
  for (int time = 0; time < 200; ++time) wide.values.push_back(time % 2 == 0 ? -1.7e308 : 1.7e308);
  recording.labels = {wide};
  recording.segments = {{0, 200}};
  for (const double width_s : {1e-300, 1e-77, 1e-3, 0.25, 1e3, 1e77, 1e300}) {
    recording.bin_width_s = width_s;
    std::string text;
    ASSERT_NO_THROW(text = describe_recording(recording, {})) << width_s;
    const auto row = text.find("        0 ", text.find("most active neurons"));
    ASSERT_NE(row, std::string::npos) << text;
    // A column is at least a bin, and never more than leaves 80 of them.
    const std::string shaded = text.substr(row, text.find('\n', row) - row);
    EXPECT_GE(shaded.size(), 10u + 80 * std::string("\u2588").size()) << width_s;
  }
}

TEST(DataInfo, ADescriptionNamesWhatMatters) {
  Fixture fixture;
  fixture.spikes = {0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 1, 1, 0, 0, 0, 0};
  fixture.write();
  const Recording recording = fixture.load({{"file", "rat.npz"}, {"gaps", {4}}, {"trials", {0, 4}}});
  const StudySplits splits = split_recording(kDefaultSplits, recording, "study");
  const std::string text = describe_recording(recording, splits);
  for (const char* part :
       {"rat: 3 neurons, 6 bins of 25 ms = 0.15 s", "8 spikes, whole, at most 3 in a bin", "silent: 1 (2)",
        "segments  2 of 2 to 4 bins, beginning at bins 0, 4", "position     continuous  0.1 to 0.6 m",
        "right 50 %, left 50 %, 1 changes", "trials    2 (declared)"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  const json info = recording_info(recording, splits);
  EXPECT_EQ(info["n_spikes"], 8);
  EXPECT_EQ(info["silent"], json::parse("[2]"));
  EXPECT_EQ(info["segments"], json::parse("[[0, 4], [4, 6]]"));
  EXPECT_NEAR(info["rates_hz"][1].get<double>(), 5 / 0.15, 1e-9);
  EXPECT_EQ(info["hot"], json::parse("[1]"));
  EXPECT_EQ(info["splits"], json::parse(R"([{"number": 0, "train": 4, "valid": 1, "test": 1}])"));
}

}  // namespace
}  // namespace idem
