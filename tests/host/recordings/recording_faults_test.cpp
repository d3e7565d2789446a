// Recordings that are read without an error and are hardly what was meant: clocks in another unit, trials with bins
// between them, tables with words in them, labels among the neurons.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "host/study/data_info.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/formats/npz.h"
#include "host/recordings/plausibility.h"
#include "host/recordings/read_recording.h"
#include "tests/support/error_message.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool mentions(const std::vector<std::string>& sentences, const std::string& part) {
  return std::any_of(sentences.begin(), sentences.end(),
                     [&](const auto& sentence) { return sentence.find(part) != std::string::npos; });
}

// Twelve bins of two neurons and columns beside them, in a folder.
struct Table {
  TemporaryFolder folder;

  Table() {
    std::vector<double> counts;
    for (int i = 0; i < 24; ++i) counts.push_back(i % 3);
    write_npz(folder / "c.npz", {{"counts", NumpyArray::of<double>({12, 2}, counts)}});
  }
  void column(const std::string& name, const std::vector<double>& values) const {
    write_npy(folder / name, NumpyArray::of<double>({static_cast<std::int64_t>(values.size())}, values));
  }
  void csv(const std::string& name, const std::string& header, const std::vector<std::string>& cells) const {
    std::string text = header + "\n";
    for (const auto& cell : cells) text += cell + "\n";
    write_file_bytes(folder / name, text);
  }
  Recording load(const json& extra) const {
    json section = {{"counts", {{"file", "c.npz"}, {"array", "counts"}}}, {"bin_width_ms", 25}};
    section.update(extra);
    return load_recording(section, folder.path());
  }
};

using Bins = std::vector<std::pair<int, int>>;
Bins bins_of(const std::vector<Segment>& segments) {
  Bins bins;
  for (const auto& segment : segments) bins.emplace_back(segment.begin, segment.end);
  return bins;
}

TEST(RecordingFaults, BinsWithoutATrialsValueAreInNoTrial) {
  const Table table;
  table.column("nan.npy", {nan, nan, 1, 1, 1, nan, nan, 2, 2, nan, 1, 1});
  table.column("minus.npy", {-1, -1, 1, 1, 1, -1, -1, 2, 2, -1, 1, 1});
  table.csv("text.csv", "trial", {"NA", "", "a", "a", "a", "None", "N/A", "b", "b", "nan", "a", "a"});
  table.csv("words.csv", "trial", {"iti", "iti", "1", "1", "1", "iti", "iti", "2", "2", "iti", "1", "1"});
  const Bins trials = {{2, 5}, {7, 9}, {10, 12}}, segments = {{0, 2}, {2, 5}, {5, 7}, {7, 9}, {9, 10}, {10, 12}};
  for (const json& extra : {json{{"trials", "nan.npy"}}, json{{"trials", "text.csv"}},
                            json{{"trials", "minus.npy"}, {"missing_values", {-1}}},
                            json{{"trials", "minus.npy"}, {"missing_values", {"-1"}}},
                            json{{"trials", "words.csv"}, {"missing_values", {9, "iti"}}}}) {
    const Recording recording = table.load(extra);
    EXPECT_EQ(bins_of(recording.trials), trials) << extra;
    EXPECT_EQ(recording.segments.size(), 1u);
    EXPECT_EQ(recording.notes, (std::vector<std::string>{"3 trials, 5 bins without a trial's value between them"}))
        << extra;
    json as_segments = extra;
    as_segments["trials_are_segments"] = true;
    EXPECT_EQ(bins_of(table.load(as_segments).segments), segments) << extra;
    json as_gaps = extra;
    as_gaps["gaps"] = extra["trials"];
    as_gaps.erase("trials");
    EXPECT_EQ(bins_of(table.load(as_gaps).segments), segments)
        << extra;  // bins between epochs are segments of their own
  }
  table.column("none.npy", std::vector<double>(12, nan));
  EXPECT_MESSAGE(DataError, table.load({{"trials", "none.npy"}}), "the column holds no trial");
  EXPECT_TRUE(table.load({{"trials", "minus.npy"}}).warnings.empty());  // 1 comes back too
  table.column("minus.npy", {-1, 1, 1, -1, 2, 2, -1, 3, -1, 4, -1, -1});
  EXPECT_TRUE(mentions(table.load({{"trials", "minus.npy"}}).warnings,
                       "value -1 comes back 5 times between 4 others: if it means no trial, add it"));
}

TEST(RecordingFaults, CodesForAMissingValueCountForLabelsToo) {
  const Table table;
  table.column("x.npy", {-1, 0.5, 1, 1, 1, 2, 2, -1, 2, 3, 3, 3});
  table.csv("state.csv", "state,x",
            {"?,1", "run,2", "run,lost", "rest,4", "rest,5", "run,6", "run,7", "run,8", "run,9", "NA,10", "run,11",
             "run,12"});
  const json codes = {-1, "?", "lost"};
  const auto with = [&](const json& label) {
    return json{{"missing_values", codes}, {"labels", json::array({label})}};
  };
  json label = {{"name", "x"}, {"file", "x.npy"}};
  EXPECT_MESSAGE(DataError, table.load(with(label)), "row 0 is NaN or empty (label x)");
  label["missing"] = "drop";
  EXPECT_EQ(table.load(with(label)).label("x").values.size(), 10u);
  label["kind"] = "categorical";
  EXPECT_EQ(table.load(with(label)).label("x").categories, (std::vector<std::string>{"0.5", "1", "2", "3"}));
  label = {{"name", "state"}, {"kind", "categorical"}, {"file", "state.csv"}, {"column", "state"}, {"missing", "drop"}};
  EXPECT_EQ(table.load(with(label)).label("state").categories, (std::vector<std::string>{"rest", "run"}));
  label["values"] = {"run", "rest", "NA"};  // who names the word means it
  EXPECT_EQ(table.load(with(label)).label("state").values.size(), 11u);
  // A word that is told to be missing leaves a column of numbers.
  label = {{"name", "x"}, {"file", "state.csv"}, {"column", "x"}, {"missing", "drop"}};
  EXPECT_EQ(table.load(with(label)).label("x").values, (std::vector<double>{1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
}

TEST(RecordingFaults, AWordInAColumnOfNumbersIsNamedAndNeverMadeACategory) {
  const Table table;
  const auto refused = [&](std::vector<std::string> cells, const json& more = json::object()) {
    cells.resize(12, "1.5");
    table.csv("x.csv", "t,x", [&] {
      for (auto& cell : cells) cell = "0," + cell;
      return cells;
    }());
    json label = {{"name", "x"}, {"file", "x.csv"}, {"column", "x"}};
    label.update(more);
    return message_of<DataError>([&] { table.load({{"labels", json::array({label})}}); });
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << "wanted: " << part << "\nmessage: " << message;
    EXPECT_EQ(message.find("to categorical"), std::string::npos) << message;
  };
  expect(refused({"mm"}), "row 1 is \"mm\", the other 11 are numbers; correct the file");
  expect(refused({"NA", "2", "off"}), "row 3 is \"off\", the other 10 are numbers");
  expect(refused({"a", "2", "b"}), "rows 1, 3 are \"a\", \"b\", the other 10 are numbers");
  expect(refused({"a", "a", "a", "a"}), "4 rows are no numbers (row 1 is \"a\"), the other 8 are");
  expect(refused(std::vector<std::string>(12, "1.5 cm")),
         "holds text where numbers are needed (row 1 is \"1.5 cm\"); write plain numbers");
  expect(refused(std::vector<std::string>(12, "\"1,5\"")),
         "(row 1 is \"1,5\"); write plain numbers with a decimal point");
  expect(refused({"mm"}, {{"kind", "categorical"}}), "row 1 is \"mm\", the other 11 are numbers");
  EXPECT_EQ(refused({"mm"}, {{"kind", "categorical"}, {"values", {"mm", "1.5"}}}), "no error");
  EXPECT_NE(refused(std::vector<std::string>(12, "left")).find("set kind of label x to categorical"),
            std::string::npos);
}

TEST(RecordingFaults, LabelsAmongTheColumnsOfATableAreNoNeurons) {
  const Table table;
  std::vector<std::string> rows;
  for (int bin = 0; bin < 12; ++bin)
    rows.push_back(std::to_string(bin * 0.025) + ",1,2," + std::to_string(bin) + (bin < 6 ? ",left" : ",right") + "," +
                   (bin < 4 ? "1" : "2"));
  table.csv("all.csv", "t,a,b,x,side,trial", rows);
  json section = json::parse(
      R"({"file": "all.csv", "counts": {}, "bin_width_ms": 25, "times": {"column": "t"}, "trials": {"column": 5},
    "labels": [{"name": "x", "column": "x"}, {"name": "side", "kind": "categorical", "column": "side"}]})");
  const Recording recording = load_recording(section, table.folder.path());
  EXPECT_EQ(recording.n_neurons, 2);
  EXPECT_EQ(recording.neuron_ids, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(recording.counts[1], 2);
  EXPECT_TRUE(mentions(recording.notes,
                       "left out of the counts (0 (t): recording.times, 3 (x): label x, 4 (side): label side, 5 "
                       "(trial): recording.trials)"));
  section["counts"]["columns"] = {"a", "x"};
  EXPECT_MESSAGE(ConfigError, load_recording(section, table.folder.path()),
                 "recording.counts.columns: column 3 (x) of");
  EXPECT_MESSAGE(ConfigError, load_recording(section, table.folder.path()), "is label x too, and cannot be a neuron");
  // The same of an array, also where the file is named in another way; another array of the file is another matter.
  std::vector<double> both;
  for (int i = 0; i < 36; ++i) both.push_back(i % 3 == 2 ? 0.1 * i : 1);
  write_npz(table.folder / "b.npz",
            {{"all", NumpyArray::of<double>({12, 3}, both)}, {"more", NumpyArray::of<double>({12, 3}, both)}});
  section = json::parse(R"({"counts": {"file": "b.npz", "array": "all"}, "bin_width_ms": 25,
    "labels": [{"name": "x", "file": "./b.npz", "array": "all", "column": 2}]})");
  EXPECT_EQ(load_recording(section, table.folder.path()).n_neurons, 2);
  section["labels"][0]["array"] = "more";
  EXPECT_EQ(load_recording(section, table.folder.path()).n_neurons, 3);
}

TEST(RecordingFaults, StatesLastUntilTheNextSample) {
  const Table table;
  write_file_bytes(table.folder / "state.csv",
                   "t,state\n0.05,run\n0.0625,rest\n0.18,run\n");  // bin centres at 12.5, 37.5, 62.5 ms, ...
  json label = json::parse(
      R"({"name": "state", "kind": "categorical", "file": "state.csv", "column": "state", "times": {"file": "state.csv", "column": "t"}})");
  Recording recording = table.load({{"labels", {label}}});
  EXPECT_EQ(recording.label("state").values,
            (std::vector<double>{0, 0, 0, 0, 0, 1, 1, 1, 1, 1}));  // from the bin at 62.5 ms on
  EXPECT_EQ(recording.time_s.front(), 0.05);
  EXPECT_TRUE(mentions(recording.notes, "2 bins outside the samples of label state"));
  EXPECT_TRUE(mentions(recording.notes, "5 bins after the last sample of label state keep its value"));
  label["max_gap_s"] = 0.06;
  EXPECT_EQ(table.load({{"labels", {label}}}).label("state").values,
            (std::vector<double>{0, 1, 1, 1}));  // 62.5, 187.5, 212.5, 237.5 ms
  label.erase("max_gap_s");
  label["align"] = "nearest";
  EXPECT_EQ(table.load({{"labels", {label}}}).label("state").values,
            (std::vector<double>{0, 0, 0, 1, 1}));  // 121 ms is half way
  label["align"] = "next";
  EXPECT_MESSAGE(ConfigError, table.load({{"labels", {label}}}), "align: must be previous or nearest");
  label["align"] = "previous";
  label.erase("times");
  EXPECT_MESSAGE(ConfigError, table.load({{"labels", {label}}}), "nothing is to be aligned");
  EXPECT_MESSAGE(
      ConfigError,
      table.load({{"labels", {{{"name", "x"}, {"file", "state.csv"}, {"column", "t"}, {"align", "nearest"}}}}}),
      "only categorical labels");
}

// Two units that fire 5 Hz for `seconds` from `start` on, with times in ticks.
json spikes_in(const TemporaryFolder& folder, double ticks_per_s, double start, double seconds = 100) {
  std::vector<double> times, units;
  for (int spike = 0; spike < static_cast<int>(10 * seconds); ++spike) {
    times.push_back(std::round((start + 0.1 * spike + 0.013 * (spike % 7)) * ticks_per_s * 100) / 100);
    units.push_back(spike % 2);
  }
  write_npy(folder / "t.npy", NumpyArray::of<double>({static_cast<std::int64_t>(times.size())}, times));
  write_npy(folder / "u.npy", NumpyArray::of<double>({static_cast<std::int64_t>(units.size())}, units));
  return {{"spikes", {{"times", "t.npy"}, {"ids", "u.npy"}}}, {"bin_width_ms", 25}, {"subject", "s"}};
}

TEST(RecordingFaults, SpikeTimesInAnotherUnitAreRefusedWithTheUnitTheyLookLike) {
  const TemporaryFolder folder;
  struct Case {
    double ticks_per_s, start;
    const char *guess, *rate;
  };
  for (const auto& [ticks_per_s, start, guess, rate] : {Case{1000, 0, "are they milliseconds (5 Hz)", "1000,"},
                                                        Case{1000, 3600, "are they milliseconds (5 Hz)", "1000,"},
                                                        Case{30000, 0, "are they samples at 30000 Hz (5 Hz)", "30000,"},
                                                        Case{1e6, 50, "are they microseconds (5 Hz)", "1e+06,"}}) {
    json section = spikes_in(folder, ticks_per_s, start);
    EXPECT_MESSAGE(DataError, load_recording(section, folder.path()), guess);
    EXPECT_MESSAGE(DataError, load_recording(section, folder.path()),
                   std::string("set recording.spikes.sampling_rate_hz to ") + rate);
    section["spikes"]["sampling_rate_hz"] = ticks_per_s;  // what the message advises
    const Recording recording = load_recording(section, folder.path());
    EXPECT_NEAR(recording.n_times, 4000, 10);
    EXPECT_NEAR(recording.time_s.front(), start, 0.026);
  }
  // The other way round: samples of another rate.
  json section = spikes_in(folder, 30000, 0);
  section["spikes"]["sampling_rate_hz"] = 1;
  EXPECT_MESSAGE(DataError, load_recording(section, folder.path()), "where the times are samples at 1 Hz");
  // Who insists is believed.
  section = spikes_in(folder, 1000, 0, 2);
  section["accept"] = {"low-rate"};
  EXPECT_GT(load_recording(section, folder.path()).n_times, 70000);
  section["accept"] = {"rate"};
  EXPECT_MESSAGE(ConfigError, load_recording(section, folder.path()), "\"rate\" is no check; there is \"low-rate\"");
  // Few spikes in a short time, and a clock with an offset, are nothing special.
  EXPECT_NO_THROW(load_recording(spikes_in(folder, 1, 1e6, 5), folder.path()));
}

TEST(RecordingFaults, RatesThatNobodyFiresAreWarnedOf) {
  const TemporaryFolder folder;
  json section = spikes_in(folder, 1, 0);
  section["spikes"]["sampling_rate_hz"] = 1000;
  const Recording recording = load_recording(section, folder.path());
  EXPECT_TRUE(mentions(doubts_of(recording), "the neurons fire 5e+03 Hz in the mean"));
  EXPECT_NE(describe_recording(recording, {}).find("warning   the neurons fire"), std::string::npos);
  EXPECT_EQ(recording_info(recording, {})["warnings"].size(), doubts_of(recording).size());
  EXPECT_TRUE(doubts_of(load_recording(spikes_in(folder, 1, 0), folder.path())).empty());
}

TEST(RecordingFaults, CountsOfHardlyAnySpikesAreRefused) {
  const Table table;
  EXPECT_MESSAGE(DataError, table.load({{"bin_width_ms", 250000}}),
                 "fire 0.004 Hz in the mean: is recording.bin_width_ms in ms");
  EXPECT_EQ(table.load({{"bin_width_ms", 250000}, {"accept", {"low-rate"}}}).n_times, 12);
}

TEST(RecordingFaults, ReportedRecordingsAreReadRightOrRefused) {
  const fs::path cases = fs::path(IDEM_SHARED_DIR) / "cases";
  if (!fs::exists(cases)) GTEST_SKIP() << "no shared cases here";
  const auto load = [&](const std::string& name, const json& extra = json::object()) {
    const fs::path path = cases / name;
    json section = json::parse(read_file_bytes(path)).at("recording");
    section.update(extra);
    return load_recording(section, path.parent_path());
  };
  EXPECT_EQ(load("spike_units/late.json").n_times, 1598);
  EXPECT_TRUE(mentions(load("spike_units/late.json").notes, "the first bin begins at 3600.05 s"));
  EXPECT_MESSAGE(DataError, load("spike_units/ms_float.json"), "are they milliseconds (3.8 Hz)");
  EXPECT_MESSAGE(DataError, load("spike_units/samples_float.json"), "are they samples at 30000 Hz (3.8 Hz)");
  for (const std::string name : {"trial_column/nan.json", "trial_column/nan_seg.json"})
    EXPECT_EQ(load(name).trials.size(), 10u) << name;
  for (const std::string name : {"trial_column/minus1.json", "trial_column/minus1_seg.json"}) {
    EXPECT_EQ(load(name, {{"missing_values", {-1}}}).trials.size(), 10u) << name;
    EXPECT_TRUE(mentions(load(name).warnings, "add it to recording.missing_values")) << name;
  }
  EXPECT_EQ(load("trial_column/nan.json", {{"trials", "trial.csv"}}).trials.size(), 10u);
  EXPECT_EQ(load("trial_column/gaps_nan.json").segments.size(), 21u);
  EXPECT_MESSAGE(DataError, load("csv_excel/clock.json"),
                 "holds text where numbers are needed (row 1 is \"2024-03-01 10:00:00.000\")");
  EXPECT_EQ(load("csv_excel/eu_tab.json").label("pos").values[2], 2.667);
  EXPECT_MESSAGE(DataError, load("csv_excel/meta_lines.json"), "rows 1 to 3 are no part of the table");
  for (const std::string name :
       {"csv_excel/na_cat.json", "csv_excel/na_first.json", "csv_excel/na_first_followed.json"})
    EXPECT_MESSAGE(DataError, load(name), "row 0 is NaN or empty (label pos); fill it, or set \"missing\": \"drop\"");
  EXPECT_EQ(load("csv_excel/na_first_drop.json").n_times, 1197);
  EXPECT_EQ(load("csv_excel/na_mid.json").n_times, 1199);
  EXPECT_MESSAGE(DataError, load("csv_excel/units_row.json"), "row 1 is \"(cm)\", the other 1200 are numbers");
}

}  // namespace
}  // namespace idem
