#include "host/recordings/read_recording.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "host/study/data_info.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/formats/npz.h"
#include "host/recordings/recording_npz.h"
#include "host/recordings/simulators.h"
#include "kernels/common/to_size.h"
#include "tests/host/recordings/recording_fixture.h"
#include "tests/support/error_message.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TEST(ReadRecording, TheRatLayoutNeedsNoDescription) {
  Fixture fixture;
  fixture.write();
  const Recording recording = load_recording_file(fixture.folder / "rat.npz");
  EXPECT_EQ(recording.subject, "rat");
  EXPECT_EQ(recording.n_times, 6);
  EXPECT_EQ(recording.n_neurons, 3);
  EXPECT_EQ(recording.bin_width_s, 0.025);
  EXPECT_EQ(recording.count(5, 2), 4);
  EXPECT_EQ(recording.time_s[2], 0.05);
  EXPECT_EQ(recording.label("position").values, (std::vector<double>{0.1, 0.2, 0.3, 0.4, 0.5, 0.6}));
  EXPECT_EQ(recording.label("position").unit, "m");
  EXPECT_EQ(recording.label("direction").values, (std::vector<double>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(recording.label("direction").categories, (std::vector<std::string>{"right", "left"}));
  EXPECT_EQ(recording.segments.size(), 1u);
  EXPECT_NO_THROW(require_whole_counts(recording));
}

TEST(ReadRecording, AnglesThatFitNoTurnOfTheirPeriodAreWarnedOf) {
  Fixture fixture;
  fixture.write();
  write_npz(fixture.folder / "angle.npz",
            {{"degrees", NumpyArray::of<double>({6}, std::vector<double>{0, 70, 140, 210, 280, 350})},
             {"radians", NumpyArray::of<double>({6}, std::vector<double>{0, 1, 2, 3, 4, 5})},
             {"unwrapped", NumpyArray::of<double>({6}, std::vector<double>{0, 2, 4, 6, 8, 10})}});
  const auto warnings = [&](const std::string& array, const json& more = json::object()) {
    json label = {{"name", "heading"}, {"kind", "circular"}, {"file", "angle.npz"}, {"array", array}};
    label.update(more);
    return fixture.load({{"file", "rat.npz"}, {"labels", {label}}}).warnings;
  };
  ASSERT_EQ(warnings("degrees").size(), 1u);
  EXPECT_EQ(warnings("degrees").front().find("circular label heading runs over 55.7 turns of 6.283 rad"), 0u);
  ASSERT_EQ(warnings("radians", {{"period", 360}}).size(), 1u);
  EXPECT_EQ(
      warnings("radians", {{"period", 360}}).front().find("circular label heading fills 1.4 % of a turn of 360 rad"),
      0u);
  EXPECT_TRUE(warnings("degrees", {{"period", 360}}).empty());
  EXPECT_TRUE(warnings("degrees", {{"unit", "deg"}}).empty());  // 360 is its period then
  EXPECT_TRUE(warnings("radians").empty());
  EXPECT_TRUE(warnings("unwrapped").empty());
}

TEST(ReadRecording, BuddyLoadsByItsPathAlone) {
  const std::filesystem::path path = std::filesystem::path(IDEM_SHARED_DIR) / "data/rat_hippocampus/buddy.jl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no shared recording here";
  const Recording buddy = load_recording_file(path);
  EXPECT_EQ(buddy.subject, "buddy");
  EXPECT_EQ(buddy.n_times, 6577);
  EXPECT_EQ(buddy.n_neurons, 48);
  double n_spikes = 0;
  for (const float count : buddy.counts) n_spikes += count;
  EXPECT_EQ(n_spikes, 7269);
  const auto info = recording_info(buddy, split_recording(kDefaultSplits, buddy, "study"));
  EXPECT_EQ(info["trials"].size(), 29u);
  EXPECT_EQ(info["splits"][1]["valid"], 783);
  EXPECT_EQ(info["silent"], json::parse("[1, 27, 40]"));
}

TEST(ReadRecording, FaultsOfARatFileAreNamedByPlace) {
  const auto refused = [](const std::function<void(Fixture&)>& damage) {
    Fixture fixture;
    damage(fixture);
    fixture.write();
    return message_of<DataError>([&] { load_recording_file(fixture.folder / "rat.npz"); });
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << part << "\nmessage: " << message;
  };
  expect(refused([](Fixture& f) { f.spikes[7] = NAN; }), "row 2, column 1 of the counts is nan");
  expect(refused([](Fixture& f) { f.spikes[7] = -1; }),
         "row 2, column 1 of the counts is -1; spike counts cannot be negative");
  expect(refused([](Fixture& f) { f.spikes.assign(18, 0.0); }), "nobody fires");
  expect(refused([](Fixture& f) { f.position[3] = INFINITY; }), "array position, row 1, column 0 is inf");
  expect(refused([](Fixture& f) { f.position[4] = 0; }), "row 1: right and left are 0 and 0");
  expect(refused([](Fixture& f) { f.position.resize(12); }),
         "array position: has shape [6 x 2] and must be [time x 3]");

  TemporaryFolder folder;
  write_npz(folder / "a.npz",
            {{"spikes", matrix(3, std::vector<double>(18, 1))}, {"position", matrix(6, Fixture().position)}});
  expect(message_of<DataError>([&] { load_recording_file(folder / "a.npz"); }),
         "spikes has 3 rows and position has 6; both need one row per bin (spikes looks transposed)");
  write_npz(folder / "b.npz", {{"rates", matrix(3, std::vector<double>(18, 1))}});
  expect(message_of<DataError>([&] { load_recording_file(folder / "b.npz"); }),
         "holds rates [3 x 6], which is no known layout");
  write_npz(folder / "c.npz",
            {{"spikes", NumpyArray::of({6, 0}, std::vector<double>{})}, {"position", matrix(6, Fixture().position)}});
  expect(message_of<DataError>([&] { load_recording_file(folder / "c.npz"); }), "no neurons");
  write_npz(folder / "d.npz", {{"spikes", NumpyArray::of({0, 3}, std::vector<double>{})},
                               {"position", NumpyArray::of({0, 3}, std::vector<double>{})}});
  expect(message_of<DataError>([&] { load_recording_file(folder / "d.npz"); }), "no bins");
}

TEST(ReadRecording, RandomFilesNeverDoMoreThanRaiseADataError) {
  TemporaryFolder folder;
  std::uint32_t state = 1;
  const auto random = [&] { return (state = state * 1664525u + 1013904223u) >> 16; };
  const std::vector<std::string> beginnings = {
      "", "PK\x03\x04", "\x93NUMPY\x01", "\x80\x04", "(dp", "\x1F\x8B\x08", "x\x9C", "1,2\n", "t;x\n"};
  for (std::size_t trial = 0; trial < 900; ++trial) {
    std::string bytes = beginnings[trial % beginnings.size()];
    const auto length = random() % 300;
    const std::string letters = "0123456789.,;\n-\"ex";
    for (std::uint32_t i = 0; i < length; ++i)
      bytes += trial % 2 ? letters[random() % letters.size()] : static_cast<char>(random());
    write_file_bytes(folder / "random", bytes);
    EXPECT_THROW(load_recording_file(folder / "random"), DataError) << trial;
  }
}

TEST(ReadRecording, EmptyArraysOfAnyExtentAreRefused) {
  TemporaryFolder folder;
  write_npz(folder / "a.npz", {{"spikes", NumpyArray::of({0, 1000000000}, std::vector<double>{})},
                               {"position", NumpyArray::of({0, 3}, std::vector<double>{})}});
  EXPECT_MESSAGE(DataError, load_recording_file(folder / "a.npz"), "no bins");
  EXPECT_MESSAGE(
      DataError,
      load_recording({{"counts", {{"file", "a.npz"}, {"array", "spikes"}}}, {"bin_width_ms", 25}, {"gaps", {3}}},
                     folder.path()),
      "has shape [0 x 1000000000] and holds no counts");
}

TEST(ReadRecording, FractionalCountsAreFineUntilAPoissonModelAsks) {
  Fixture fixture;
  fixture.spikes[4] = 0.25;
  fixture.write();
  const Recording recording = load_recording_file(fixture.folder / "rat.npz");
  EXPECT_MESSAGE(DataError, require_whole_counts(recording),
                 "rat: row 1, column 1 of the counts is 0.25, and a Poisson model needs whole counts");
}

TEST(ReadRecording, CountsAndLabelsComeFromSeveralFilesOfSeveralKinds) {
  Fixture fixture;
  write_npy(fixture.folder / "counts.npy", matrix(6, fixture.spikes));
  write_file_bytes(
      fixture.folder / "labels.csv",
      "x,heading,side\n0.1,350,left\n0.2,10,left\n0.3,-10,right\n0.4,725,right\n0.5,0,right\n0.6,180,left\n");
  write_npz(fixture.folder / "more.npz",
            {{"stimulus", NumpyArray::of({6}, std::vector<std::int32_t>{7, 7, 3, 3, 9, 9})},
             {"onehot", matrix(6, fixture.position)}});
  const json section = json::parse(R"({
    "counts": "counts.npy", "bin_width_ms": 50, "subject": "M1",
    "labels": [
      {"name": "x", "unit": "m", "file": "labels.csv", "column": "x"},
      {"name": "heading", "kind": "circular", "unit": "deg", "period": 360, "file": "labels.csv", "column": 1},
      {"name": "side", "kind": "categorical", "file": "labels.csv", "column": "side"},
      {"name": "ordered", "kind": "categorical", "file": "labels.csv", "column": "side", "values": ["right", "left"]},
      {"name": "stimulus", "kind": "categorical", "file": "more.npz", "array": "stimulus"},
      {"name": "direction", "kind": "categorical", "file": "more.npz", "array": "onehot", "columns": [1, 2], "values": ["out", "back"]}]})");
  const Recording recording = fixture.load(section);
  EXPECT_EQ(recording.subject, "M1");
  EXPECT_EQ(recording.bin_width_s, 0.05);
  EXPECT_EQ(recording.time_s[3], 0.15);
  EXPECT_EQ(recording.label("x").values[4], 0.5);
  EXPECT_EQ(recording.label("heading").values, (std::vector<double>{350, 10, 350, 5, 0, 180}));
  EXPECT_EQ(recording.label("side").categories, (std::vector<std::string>{"left", "right"}));
  EXPECT_EQ(recording.label("ordered").values, (std::vector<double>{1, 1, 0, 0, 0, 1}));
  EXPECT_EQ(recording.label("stimulus").categories, (std::vector<std::string>{"3", "7", "9"}));
  EXPECT_EQ(recording.label("stimulus").values, (std::vector<double>{1, 1, 0, 0, 2, 2}));
  EXPECT_EQ(recording.label("direction").categories, (std::vector<std::string>{"out", "back"}));
  EXPECT_EQ(recording.label("direction").values, (std::vector<double>{0, 0, 0, 1, 1, 1}));

  const auto refused = [&](const char* path, const json& value) {
    json changed = section;
    changed[json::json_pointer(path)] = value;
    const std::string config = message_of<ConfigError>([&] {
      try {
        fixture.load(changed);
      } catch (const DataError& error) {
        throw ConfigError(std::string("data: ") + error.what());
      }
    });
    return config;
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << part << "\nmessage: " << message;
  };
  expect(refused("/labels/0/column", "y"),
         "has no column \"y\" (recording.labels[0] (x) asks for it); columns there: x, heading, side");
  expect(refused("/labels/0/column", 3), "has no column 3");
  expect(refused("/labels/0/column", nullptr), "a column is a number from 0 or a header name");
  expect(refused("/labels/2/kind", "continuous"),
         "holds text (row 1 is \"left\"); set kind of label side to categorical");
  expect(refused("/labels/2/kind", "cyclic"), "known: continuous, circular, categorical");
  expect(refused("/labels/3/values", {"right", "up"}),
         "row 0 is \"left\", which is not among the values of label ordered");
  expect(refused("/labels/4/values", {"a", "b"}), "row 0 is 7, but label stimulus names the codes 0 to 1");
  expect(refused("/labels/4/name", "x"), "two labels are called x");
  expect(refused("/labels/5/columns", {0, 2}), "row 0 is not one-hot");
  expect(refused("/labels/5/values", {"a", "b", "c"}), "3 values for 2 columns");
  expect(refused("/labels/1/period", 0), "must be above 0");
  expect(refused("/bin_width_ms", 0), "must be above 0");
  expect(refused("/bin_width_ms", "25"), "wrong type");
  expect(refused("/subject", "a b"), "letters, digits");
  for (const char* hidden : {".", "..", ".rat", "..a"}) expect(refused("/subject", hidden), "leading '.'");
  expect(refused("/counts", "none.npy"), "no such file");
  expect(refused("/spikes", json::object()), "exclude each other");
}

TEST(ReadRecording, AskingForWhatIsNotThereIsExplained) {
  Fixture fixture;
  fixture.write();
  write_file_bytes(fixture.folder / "five.csv", "x\n1\n2\n3\n4\n5\n");
  write_file_bytes(fixture.folder / "holes.csv", "x\n1\n2\n\"\"\n4\n5\n6\n");
  EXPECT_MESSAGE(ConfigError, fixture.load(json::object()), "says nothing about where the data are");
  EXPECT_MESSAGE(ConfigError, fixture.load({{"counts", {{"file", "rat.npz"}, {"array", "spikes"}}}}),
                 "recording.bin_width_ms: is missing");
  EXPECT_MESSAGE(DataError, fixture.load({{"counts", "rat.npz"}, {"bin_width_ms", 25}}),
                 "holds position [6 x 3], spikes [6 x 3]; say which one with \"array\"");
  json section = {{"file", "rat.npz"}, {"labels", {{{"name", "x"}, {"file", "five.csv"}}}}};
  EXPECT_MESSAGE(DataError, fixture.load(section), "label x has 5 values for 6 bins");
  section["labels"][0]["file"] = "holes.csv";
  EXPECT_MESSAGE(DataError, fixture.load(section),
                 "holes.csv, column 0: row 2 is NaN or empty (label x); fill it, or set \"missing\": \"drop\"");
  section["labels"][0]["missing"] = "drop";
  const Recording recording = fixture.load(section);
  EXPECT_EQ(recording.label("x").values, (std::vector<double>{1, 2, 4, 5, 6}));
  ASSERT_EQ(recording.segments.size(), 2u);  // where a bin is gone, time is broken
  EXPECT_EQ(recording.segments[0].end, 2);
  EXPECT_EQ(recording.count(2, 1), 3);  // the counts lost the same bin
  EXPECT_EQ(recording.time_s[2], 0.075);
  EXPECT_EQ(recording.notes, (std::vector<std::string>{"1 bins without a value of label x dropped"}));
}

TEST(ReadRecording, AnEmptyCellOfATextLabelIsAMissingValueAndNoCategory) {
  Fixture fixture;
  fixture.write();
  write_file_bytes(fixture.folder / "later.csv", "side,x\nleft,1\nleft,2\n,3\nright,4\n,5\nright,6\n");
  write_file_bytes(fixture.folder / "first.csv", "x,side\n1,\n2,left\n3,\n4,right\n5,left\n6,right\n");
  write_npz(fixture.folder / "text.npz", {{"side", NumpyArray::of_texts({"left", "left", "", "right", "", "right"})}});
  const json label = {{"name", "side"}, {"kind", "categorical"}};
  const auto load = [&](const json& changes) {
    json changed = label;
    changed.update(changes);
    return fixture.load({{"file", "rat.npz"}, {"labels", json::array({changed})}});
  };
  const json in_table = {{"file", "later.csv"}, {"column", "side"}},
             in_archive = {{"file", "text.npz"}, {"array", "side"}};
  const auto with = [](json section, const json& changes) {
    section.update(changes);
    return section;
  };
  const json drop = {{"missing", "drop"}}, named = {{"values", {"right", "left", "centre"}}};
  for (const json& source : {in_table, in_archive}) {
    EXPECT_MESSAGE(DataError, load(source),
                   "row 2 is NaN or empty (label side); fill it, or set \"missing\": \"drop\"");
    EXPECT_MESSAGE(DataError, load(with(source, named)), "row 2 is NaN or empty (label side)");
    Recording recording = load(with(source, drop));
    EXPECT_EQ(recording.label("side").categories, (std::vector<std::string>{"left", "right"}));
    EXPECT_EQ(recording.label("side").values, (std::vector<double>{0, 0, 1, 1}));
    EXPECT_EQ(recording.notes, (std::vector<std::string>{"2 bins without a value of label side dropped"}));
    recording = load(with(with(source, drop), named));
    EXPECT_EQ(recording.label("side").categories, (std::vector<std::string>{"right", "left", "centre"}));
    EXPECT_EQ(recording.label("side").values, (std::vector<double>{1, 1, 0, 0}));
    // Who names the empty text means it.
    recording = load(with(source, {{"values", {"", "left", "right"}}}));
    EXPECT_EQ(recording.label("side").values, (std::vector<double>{1, 1, 0, 2, 0, 2}));
  }
  // The first value of a column may be the missing one.
  const Recording recording = load(with({{"file", "first.csv"}, {"column", "side"}}, drop));
  EXPECT_EQ(recording.label("side").categories, (std::vector<std::string>{"left", "right"}));
  EXPECT_EQ(recording.label("side").values, (std::vector<double>{0, 1, 0, 1}));
}

TEST(ReadRecording, CountsMayBeTransposedOrSomeColumnsOfATable) {
  Fixture fixture;
  std::vector<double> transposed;
  for (int neuron = 0; neuron < 3; ++neuron)
    for (int time = 0; time < 6; ++time) transposed.push_back(fixture.spikes[to_size(3 * time + neuron)]);
  write_npy(fixture.folder / "t.npy", matrix(3, transposed));
  Recording recording = fixture.load({{"counts", {{"file", "t.npy"}, {"transpose", true}}}, {"bin_width_ms", 25}});
  EXPECT_EQ(recording.n_neurons, 3);
  EXPECT_EQ(recording.counts, std::vector<float>(fixture.spikes.begin(), fixture.spikes.end()));
  write_file_bytes(fixture.folder / "six.csv", "x\n1\n2\n3\n4\n5\n6\n");
  EXPECT_MESSAGE(
      DataError,
      fixture.load(
          {{"counts", {{"file", "t.npy"}}}, {"bin_width_ms", 25}, {"labels", {{{"name", "x"}, {"file", "six.csv"}}}}}),
      "6 values for 3 bins and as many neurons: if the counts are [neuron x time], set recording.counts.transpose");
  write_file_bytes(fixture.folder / "table.csv", "time,x,c5,c2\n0,left,1,0\n0.1,left,2,5\n0.2,right,0,-1\n");
  json section = {{"file", "table.csv"}, {"counts", {{"columns", {"c2", "c5"}}}}, {"bin_width_ms", 100}};
  EXPECT_MESSAGE(DataError, fixture.load(section), "table.csv: row 2, column 3 is -1; spike counts cannot be negative");
  section["counts"]["columns"] = {"c5"};
  section["labels"] = {{{"name", "side"}, {"kind", "categorical"}, {"column", "x"}}};
  recording = fixture.load(section);
  EXPECT_EQ(recording.counts, (std::vector<float>{1, 2, 0}));
  EXPECT_EQ(recording.neuron_ids, (std::vector<std::int64_t>{2}));
  EXPECT_EQ(recording.label("side").values, (std::vector<double>{0, 0, 1}));
  section["counts"] = json::object();
  section["labels"][0]["column"] = "c5";
  EXPECT_MESSAGE(DataError, fixture.load(section),
                 "column 1 (x) of the counts holds text (row 1 is \"left\"); list the neurons' columns");
}

TEST(ReadRecording, GapsTimesAndTrialsBreakTheSegments) {
  Fixture fixture;
  fixture.write();
  const auto segments_of = [&](const json& extra) {
    json section = {{"file", "rat.npz"}};
    section.update(extra);
    std::vector<std::int32_t> begins;
    for (const auto& segment : fixture.load(section).segments) begins.push_back(segment.begin);
    return begins;
  };
  using Begins = std::vector<std::int32_t>;
  EXPECT_EQ(segments_of({{"gaps", {2, 5}}}), (Begins{0, 2, 5}));
  EXPECT_EQ(segments_of({{"gaps", {{"array", "position"}, {"column", 1}}}}), (Begins{0, 3}));
  EXPECT_EQ(segments_of({{"trials", {0, 4}}}), (Begins{0}));
  EXPECT_EQ(segments_of({{"trials", {0, 4}}, {"trials_are_segments", true}}), (Begins{0, 4}));
  EXPECT_EQ(segments_of({{"gaps_s", {{0.05, 0.075}}}}), (Begins{0, 2}));  // bin 2 alone is dropped
  write_file_bytes(fixture.folder / "times.csv", "t\n0\n0.025\n0.05\n1.0\n1.025\n1.05\n");
  EXPECT_EQ(segments_of({{"times", "times.csv"}}), (Begins{0, 3}));
  EXPECT_EQ(segments_of({{"times", "times.csv"}, {"start_s", 0.025}, {"stop_s", 1.05}}), (Begins{0, 2}));

  Recording recording = fixture.load({{"file", "rat.npz"}, {"trials", {{1, 3}, {4, 6}}}, {"gaps_s", {{0.05, 0.075}}}});
  ASSERT_EQ(recording.trials.size(), 2u);  // trials follow their bins when bins go
  EXPECT_EQ(recording.trials[0].begin, 1);
  EXPECT_EQ(recording.trials[0].end, 2);
  EXPECT_EQ(recording.trials[1].begin, 3);
  EXPECT_EQ(recording.trials[1].end, 5);
  EXPECT_EQ(recording.notes, (std::vector<std::string>{"1 bins inside recording.gaps_s dropped"}));
  recording = fixture.load({{"file", "rat.npz"}, {"trials", {{"array", "position"}, {"column", 2}}}});
  ASSERT_EQ(recording.trials.size(), 2u);
  EXPECT_EQ(recording.trials[1].begin, 3);

  EXPECT_MESSAGE(ConfigError, segments_of({{"gaps", {6}}}), "recording.gaps: 6 is no bin of this recording");
  EXPECT_MESSAGE(ConfigError, segments_of({{"trials", {3, 1}}}), "empty or overlaps");
  EXPECT_MESSAGE(ConfigError, segments_of({{"trials_are_segments", true}}), "there are no trials");
  EXPECT_MESSAGE(ConfigError, segments_of({{"gaps_s", {{2, 1}}}}), "does not go forward");
  EXPECT_MESSAGE(DataError, segments_of({{"start_s", 9}}),
                 "all 6 bins were dropped: 6 bins outside start_s and stop_s dropped");
  write_file_bytes(fixture.folder / "times.csv", "t\n0\n0.025\n0.025\n1.0\n1.025\n1.05\n");
  EXPECT_MESSAGE(DataError, segments_of({{"times", "times.csv"}}), "row 2 does not come after row 1");
}

TEST(ReadRecording, KilosortSpikesAreBinnedAndAlignedWithSampledLabels) {
  Fixture fixture;
  // 30 kHz; units 4 and 9; one spike of a third unit; bins of 100 ms from 0.1 s on.
  write_npy(fixture.folder / "spike_times.npy",
            NumpyArray::of({7, 1}, std::vector<std::uint64_t>{100, 3000, 3001, 6000, 11999, 14999, 15000}));
  write_npy(fixture.folder / "spike_clusters.npy", NumpyArray::of({7}, std::vector<std::int32_t>{4, 9, 4, 4, 7, 9, 9}));
  write_file_bytes(fixture.folder / "tracking.csv",
                   "t,x,phase,room\n0.1,0,6.1,a\n0.2,1,0.1,a\n0.3,2,0.3,b\n0.45,3.5,0.5,b\n");
  json section = json::parse(R"({
    "spikes": {"times": "spike_times.npy", "ids": "spike_clusters.npy", "sampling_rate_hz": 30000, "units": [9, 4]},
    "bin_width_ms": 100, "start_s": 0.1, "stop_s": 0.5, "subject": "m1",
    "labels": [
      {"name": "x", "file": "tracking.csv", "column": "x", "times": {"file": "tracking.csv", "column": "t"}},
      {"name": "phase", "kind": "circular", "file": "tracking.csv", "column": "phase", "times": {"file": "tracking.csv", "column": "t"}},
      {"name": "room", "kind": "categorical", "file": "tracking.csv", "column": "room", "times": {"file": "tracking.csv", "column": "t"}}]})");
  const Recording recording = fixture.load(section);
  EXPECT_EQ(recording.neuron_ids, (std::vector<std::int64_t>{9, 4}));
  EXPECT_EQ(recording.counts, (std::vector<float>{1, 1, 0, 1, 0, 0, 1, 0}));
  ASSERT_EQ(recording.n_times, 4);  // centres .15, .25, .35, .45
  const auto& x = recording.label("x").values;
  for (std::size_t bin = 0; bin < 4; ++bin) EXPECT_NEAR(x[bin], 0.5 + static_cast<double>(bin), 1e-9);
  EXPECT_NEAR(recording.label("phase").values[0],
              wrap_to_period((6.1 + 0.1 - 2 * std::numbers::pi) / 2 + std::numbers::pi * 2, 2 * std::numbers::pi),
              1e-9);
  EXPECT_EQ(recording.label("room").values, (std::vector<double>{0, 0, 1, 1}));
  EXPECT_EQ(recording.notes, (std::vector<std::string>{"2 spikes outside start_s and stop_s left out",
                                                       "1 spikes of other units left out"}));

  section["labels"][0]["max_gap_s"] = 0.12;  // .35 lies between samples .15 s apart
  const Recording gapped = fixture.load(section);
  EXPECT_EQ(gapped.n_times, 3);
  EXPECT_EQ(gapped.segments.size(), 2u);
  section["stop_s"] = 0.7;
  EXPECT_EQ(fixture.load(section).n_times, 3);  // no label beyond .45 s
  section["stop_s"] = 1.5;
  const Recording mistimed = fixture.load(section);
  ASSERT_EQ(mistimed.warnings.size(), 1u);
  EXPECT_EQ(mistimed.warnings[0].find(
                "11 bins outside the samples of label x (or in gaps between them) dropped, of 14: are its times"),
            0u)
      << mistimed.warnings[0];
  section["spikes"].erase("sampling_rate_hz");
  EXPECT_MESSAGE(ConfigError, fixture.load(section), "recording.spikes.sampling_rate_hz: is missing, and the times in");
}

TEST(ReadRecording, ATableOfSpikesIsEnough) {
  Fixture fixture;
  write_file_bytes(fixture.folder / "spikes.csv", "unit,time_s\n1,0.01\n2,0.025\n1,0.06\n");
  EXPECT_EQ(fixture.load({{"file", "spikes.csv"}, {"spikes", json::object()}, {"bin_width_ms", 25}}).counts,
            (std::vector<float>{1, 0, 0, 1, 1, 0}));
  write_file_bytes(fixture.folder / "bare.csv", "0.01,1\n0.025,2\n0.06,1\n");
  EXPECT_EQ(fixture.load({{"file", "bare.csv"}, {"spikes", json::object()}, {"bin_width_ms", 25}}).counts,
            (std::vector<float>{1, 0, 0, 1, 1, 0}));
  write_file_bytes(fixture.folder / "bare.csv", "0.01,1\n0.025,2.5\n");
  EXPECT_MESSAGE(DataError, fixture.load({{"file", "bare.csv"}, {"spikes", json::object()}, {"bin_width_ms", 25}}),
                 "row 1 has the unit id 2.5");
}

TEST(ReadRecording, ASimulatedSessionComesFromItsNameOrItsFile) {
  TemporaryFolder folder;
  const json section = {{"simulate", {{"name", "linear-track"}, {"animal", "gatsby"}, {"n_times", 400}, {"seed", 9}}}};
  Recording recording = load_recording(section, folder.path());
  EXPECT_EQ(recording.n_neurons, 66);
  recording.trials = {{0, 100}, {150, 400}};
  recording.segments = {{0, 123}, {123, 400}};
  write_recording_npz(recording, folder / "s.npz");
  const Recording back = load_recording_file(folder / "s.npz");
  EXPECT_EQ(back.subject, recording.subject);
  EXPECT_EQ(back.bin_width_s, recording.bin_width_s);
  EXPECT_EQ(back.counts, recording.counts);
  EXPECT_EQ(back.time_s, recording.time_s);
  EXPECT_EQ(back.true_latents, recording.true_latents);
  EXPECT_EQ(back.neuron_ids, recording.neuron_ids);
  EXPECT_EQ(back.notes, recording.notes);
  ASSERT_EQ(back.segments.size(), 2u);
  EXPECT_EQ(back.segments[1].begin, 123);
  ASSERT_EQ(back.trials.size(), 2u);
  EXPECT_EQ(back.trials[1].begin, 150);
  ASSERT_EQ(back.labels.size(), 2u);
  EXPECT_EQ(back.labels[0].values, recording.labels[0].values);
  EXPECT_EQ(back.labels[1].categories, recording.labels[1].categories);
  EXPECT_EQ(back.labels[1].kind, LabelKind::categorical);
  write_recording_npz(back, folder / "t.npz");
  EXPECT_EQ(read_file_bytes(folder / "s.npz"), read_file_bytes(folder / "t.npz"));

  const Recording real = simulate({.name = "sine", .n_times = 50, .n_neurons = 8});
  write_recording_npz(real, folder / "r.npz");
  EXPECT_EQ(load_recording_file(folder / "r.npz").counts, real.counts);
  EXPECT_EQ(load_recording_file(folder / "r.npz").true_latent_means, real.true_latent_means);
  EXPECT_MESSAGE(ConfigError, load_recording({{"simulate", json::object()}, {"labels", json::array()}}, {}),
                 "recording.labels: has no meaning beside");
  EXPECT_MESSAGE(ConfigError, load_recording({{"file", (folder / "s.npz").string()}, {"bin_width_ms", 10}}, {}),
                 "whose bins are 25 ms wide");
}

TEST(ReadRecording, DamagedRecordingFilesAreRefused) {
  TemporaryFolder folder;
  write_recording_npz(simulate({.name = "linear-track", .n_times = 40}), folder / "s.npz");
  const auto whole = read_npz(folder / "s.npz");
  const auto refused = [&](const std::function<void(std::map<std::string, NumpyArray>&)>& damage) {
    auto arrays = whole;
    damage(arrays);
    write_npz(folder / "d.npz", arrays);
    return message_of<DataError>([&] { load_recording_file(folder / "d.npz"); });
  };
  using ArraysByName = std::map<std::string, NumpyArray>;
  EXPECT_NE(refused([](ArraysByName& a) { a.erase("time_s"); }).find("has no array time_s"), std::string::npos);
  EXPECT_NE(refused([](ArraysByName& a) {
              a["meta"] = NumpyArray::of_text("idem-recording {");
            }).find("meta text is damaged"),
            std::string::npos);
  EXPECT_NE(refused([](ArraysByName& a) {
              a["labels"] = NumpyArray::of({40, 1}, std::vector<double>(40));
            }).find("labels does not fit"),
            std::string::npos);
  EXPECT_NE(refused([](ArraysByName& a) {
              a["counts"] = NumpyArray::of({40}, std::vector<double>(40));
            }).find("has 1 axes where 2"),
            std::string::npos);
  EXPECT_NE(
      refused([](ArraysByName& a) { a["segment"] = NumpyArray::of({39}, std::vector<int>(39)); }).find("segments must"),
      std::string::npos);
}

}  // namespace
}  // namespace idem
