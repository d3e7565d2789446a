// Files and settings that make no sense: `idem check` and `idem run` say the same one line, exit alike, and a run
// leaves nothing behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "host/support/files.h"
#include "host/formats/npz.h"
#include "tests/support/program.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Sixty bins of three neurons that all fire, with a label, as a user would hold them.
struct Session {
  std::int64_t n_bins = 60, n_neurons = 3;
  std::vector<double> counts, position;

  explicit Session(std::int64_t bins = 60, std::int64_t neurons = 3) : n_bins(bins), n_neurons(neurons) {
    for (std::int64_t i = 0; i < n_bins * n_neurons; ++i) counts.push_back(static_cast<double>(i * 7 % 5 % 3));
    for (std::int64_t bin = 0; bin < n_bins; ++bin) position.push_back(static_cast<double>(bin * 37 % 100));
  }
  void write(const fs::path& folder) const {
    write_npz(folder / "session.npz",
              {{"counts", NumpyArray::of<double>({n_bins, n_neurons}, counts)},
               {"position", NumpyArray::of<double>({static_cast<std::int64_t>(position.size())}, position)}});
  }
};

json study() {
  return json::parse(R"({
    "recording": {"file": "session.npz", "counts": {"array": "counts"}, "bin_width_ms": 25,
                  "labels": [{"name": "position", "array": "position"}]},
    "windows": {"left": 1, "right": 1}, "evaluation": {"neighbours": [1, 4]}, "training": {"epochs": 1}
  })");
}

struct Nonsense {
  const char* name;
  int code;
  const char* part;                                  // of the message
  std::function<void(const fs::path&, json&)> make;  // files into the folder, changes to the study
};
void PrintTo(const Nonsense& nonsense, std::ostream* to) { *to << nonsense.name; }

void with_count(const fs::path& folder, double count) {
  Session session;
  session.counts[3 * 7 + 1] = count;
  session.write(folder);
}

void cut_in_half(const fs::path& path) {
  const std::string bytes = text_of_file(path);
  write_file_bytes(path, bytes.substr(0, bytes.size() / 2));
}

const Nonsense kNonsense[] = {
    {"CutNpz", 3, "session.npz: ",
     [](const fs::path& folder, json&) { Session().write(folder), cut_in_half(folder / "session.npz"); }},
    {"CutNpy", 3, "counts.npy: ",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       write_npy(folder / "counts.npy", NumpyArray::of<double>({60, 3}, Session().counts));
       cut_in_half(folder / "counts.npy");
       study["recording"]["counts"] = "counts.npy";
     }},
    {"CutJl", 3, "session.jl: ",
     [](const fs::path& folder, json& study) {
       write_file_bytes(folder / "session.jl",
                        std::string("\x80\x04\x95\x00\x02\x00\x00\x00\x00\x00\x00}\x94(\x8c\x06spi", 18));
       study["recording"] = {{"file", "session.jl"}};
     }},
    {"FlatCounts", 3, "counts must be [time x neuron]",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["counts"]["array"] = "position";
     }},
    {"NanCount", 3, "row 7, column 1 is nan",
     [](const fs::path& folder, json&) { with_count(folder, std::numeric_limits<double>::quiet_NaN()); }},
    {"NegativeCount", 3, "row 7, column 1 is -2; spike counts cannot be negative",
     [](const fs::path& folder, json&) { with_count(folder, -2); }},
    {"FractionalCount", 3, "row 7, column 1 of the counts is 1.5, and a Poisson model needs whole counts",
     [](const fs::path& folder, json&) { with_count(folder, 1.5); }},
    {"HugeCount", 3, "row 7, column 1 of the counts is 3e+12, which is no number of spikes",
     [](const fs::path& folder, json&) { with_count(folder, 3e12); }},
    {"HugeValue", 3, "too large to be squared",
     [](const fs::path& folder, json& study) {
       with_count(folder, 1e30);
       study["model"]["observation"]["kind"] = "gaussian";
     }},
    {"CountBeyondFloat", 3, "row 7, column 1 is inf", [](const fs::path& folder, json&) { with_count(folder, 1e300); }},
    {"NobodyFires", 3, "every count is 0",
     [](const fs::path& folder, json&) {
       Session session;
       std::fill(session.counts.begin(), session.counts.end(), 0.0);
       session.write(folder);
     }},
    {"NoBins", 3, "holds no counts", [](const fs::path& folder, json&) { Session(0).write(folder); }},
    {"ThreeBins", 3, "3 bins are too few for splits.fractions",
     [](const fs::path& folder, json&) { Session(3).write(folder); }},
    {"ThreeBinsWideWindow", 3,
     "session: windows.left + windows.right = 10 bins is longer than the segment of bins 0 to 4 (5 bins)",
     [](const fs::path& folder, json& study) {
       Session(5).write(folder);
       study["windows"] = {{"left", 5}, {"right", 5}};
     }},
    {"EverySegmentShorterThanTheWindow", 3, "nor is any stretch of it longer than 6 bins",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["gaps"] = json::array();
       for (int bin = 6; bin < 60; bin += 6) study["recording"]["gaps"].push_back(bin);
       study["windows"] = {{"left", 5}, {"right", 5}};
     }},
    {"FewerTrainingBinsThanAWindow", 3,
     "split 0 has 8 training bins, and model encoder-elbo needs 10 or more: as many as its window of 10",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["windows"] = {{"left", 5}, {"right", 5}};
       study["splits"] = {{"kind", "ranges"},
                          {"ranges", {{"train", {{0, 8}}}, {"valid", {{20, 40}}}, {"test", {{40, 60}}}}}};
     }},
    {"FewerTrainingBinsThanLatents", 3,
     "split 0 has 3 training bins, and model encoder-elbo needs 4 or more: as many as its window of 1 and more than "
     "its 3 latents",
     [](const fs::path& folder, json& study) {
       Session(5).write(folder);
       study["windows"] = {{"left", 0}, {"right", 1}};
       study["model"]["latents"] = 3;
     }},
    {"SilentValidation", 3,
     "session: the validation part of split 0 (12 bins from 0.9 s to 1.2 s) has no spike; leave the silent stretch out",
     [](const fs::path& folder, json&) {
       Session session;
       std::fill(session.counts.begin() + 3 * 36, session.counts.begin() + 3 * 48, 0.0);
       session.write(folder);
     }},
    {"SilentTestOfALaterFold", 3, "the test part of split 1 (",
     [](const fs::path& folder, json& study) {
       Session session(200);
       std::fill(session.counts.begin() + 3 * 30, session.counts.begin() + 3 * 40, 0.0);
       std::fill(session.counts.begin() + 3 * 100, session.counts.begin() + 3 * 110, 0.0);
       std::fill(session.counts.begin() + 3 * 160, session.counts.begin() + 3 * 170, 0.0);
       session.write(folder);
       study["recording"]["trials"] = json::array();
       for (int bin = 0; bin < 200; bin += 10) study["recording"]["trials"].push_back(bin);
       study["splits"] = {{"kind", "three-fold-trials"}, {"trial_label", nullptr}};
     }},
    {"BinWidthInMicroseconds", 3, "is recording.bin_width_ms in ms (in µs it would be 250 and they would fire",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["bin_width_ms"] = 250000;
     }},
    {"MisspeltKey", 2, "recording.bin_with_ms: unknown key; did you mean \"bin_width_ms\"?",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["bin_with_ms"] = 25;
     }},
    {"BinWidthZero", 2, "recording.bin_width_ms: expected a number above 0, got 0",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["bin_width_ms"] = 0;
     }},
    {"NoBinWidth", 2, "recording.bin_width_ms: is missing",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"].erase("bin_width_ms");
     }},
    {"MissingFile", 3, "session.npz: ", [](const fs::path&, json&) {}},
    {"FolderForAFile", 3,
     "session.npz: ", [](const fs::path& folder, json&) { fs::create_directory(folder / "session.npz"); }},
    {"EmptyFile", 3,
     "session.npz: ", [](const fs::path& folder, json&) { write_file_bytes(folder / "session.npz", ""); }},
    {"TextForAFile", 3, "session.npz: ",
     [](const fs::path& folder, json&) { write_file_bytes(folder / "session.npz", "hello, how are you?\n"); }},
    {"UnknownArray", 3, "spikes",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["counts"]["array"] = "spikes";
     }},
    {"TwoLabelsOfOneName", 3, "two labels are called position",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["labels"].push_back(study["recording"]["labels"][0]);
     }},
    {"NoLabel", 2, "model.labels: ",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"].erase("labels");
     }},
    {"LabelThatIsNotThere", 2,
     "model.labels: label \"speed\" is not in the recording of session; labels there: position",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["model"]["labels"] = {"speed"};
     }},
    {"ShortLabel", 3, "label position has 59 values for 60 bins",
     [](const fs::path& folder, json&) {
       Session session;
       session.position.pop_back();
       session.write(folder);
     }},
    {"NanLabel", 3, "row 5 is NaN or empty (label position)",
     [](const fs::path& folder, json&) {
       Session session;
       session.position[5] = std::numeric_limits<double>::quiet_NaN();
       session.write(folder);
     }},
    {"NoDirection", 2,
     "splits.trial_label: label \"direction\" is not in the recording of session; labels there: position; name the "
     "label",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["splits"]["kind"] = "three-fold-trials";
     }},
    {"TooFewTrials", 3, "session: 2 trials are too few for fold 0 of the 3-fold split",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["recording"]["trials"] = {0, 30};
       study["splits"] = {{"kind", "three-fold-trials"}, {"trial_label", nullptr}};
     }},
    {"MoreNeighboursThanBins", 2, "evaluation.neighbours: session has 36 training bins",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["evaluation"]["neighbours"] = {50, 60};
     }},
    {"PositionThatIsNotThere", 2, "evaluation.position: label \"place\" is not in the recording",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["evaluation"]["position"] = "place";
     }},
    {"FractionsAboveOne", 2, "splits.fractions: add up to 1.2, more than 1",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["splits"]["fractions"] = {0.6, 0.3, 0.3};
     }},
    {"RangeOutside", 2, "session: splits.ranges.test [50, 70) bins: must be whole bins between 0 and 60",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["splits"] = {{"kind", "ranges"},
                          {"ranges", {{"train", {{0, 40}}}, {"valid", {{40, 50}}}, {"test", {{50, 70}}}}}};
     }},
    {"EndlessSmoothing", 2, "smoothing: sigma is",
     [](const fs::path& folder, json& study) {
       Session().write(folder);
       study["smoothing"] = {{"kind", "gaussian"}, {"sigma_ms", 1e12}};
     }},
};

class NonsenseTest : public testing::TestWithParam<Nonsense> {};

TEST_P(NonsenseTest, IsOneLineFromCheckAndRunAlikeAndLeavesNoFolder) {
  const TemporaryFolder folder;
  const Program program(folder);
  json config = study();
  GetParam().make(folder.path(), config);
  write_file_bytes(folder / "study.json", config.dump());
  const auto check = program.run({"check", "study.json"}),
             run = program.run({"run", "study.json", "--device", "cpu", "--threads", "1"});
  EXPECT_EQ(check.code, GetParam().code) << check.errors;
  EXPECT_EQ(run.code, GetParam().code) << run.errors;
  EXPECT_EQ(run.errors, check.errors);
  EXPECT_EQ(std::count(check.errors.begin(), check.errors.end(), '\n'), 1) << check.errors;
  EXPECT_EQ(check.errors.find("idem: "), 0u) << check.errors;
  EXPECT_NE(check.errors.find(GetParam().part), std::string::npos) << check.errors;
  EXPECT_EQ(check.output, "");
  EXPECT_FALSE(fs::exists(folder / "out"));
}

INSTANTIATE_TEST_SUITE_P(Kinds, NonsenseTest, testing::ValuesIn(kNonsense),
                         [](const auto& nonsense) { return std::string(nonsense.param.name); });

TEST(Nonsense, AFileThatIsNoConfigurationIsSaidToBeOne) {
  const TemporaryFolder folder;
  const Program program(folder);
  Session().write(folder.path());
  write_file_bytes(folder / "empty.json", "");
  write_file_bytes(folder / "list.json", "[1]");
  for (const char* command : {"check", "run"}) {
    const auto expect = [&](const char* file, const std::string& part) {
      const auto result = program.run({command, file});
      EXPECT_EQ(result.code, 2) << result.errors;
      EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
      EXPECT_NE(result.errors.find(part), std::string::npos) << result.errors;
    };
    expect("session.npz", "--recording session.npz");
    expect("empty.json", "empty.json: is empty");
    expect("list.json", "a configuration is a JSON object");
    expect(".", ".: is a folder");
    expect("nowhere.json", "nowhere.json: cannot be read");
  }
}

TEST(Nonsense, ARecordingIsTakenFromAnotherConfigurationToo) {
  const TemporaryFolder folder;
  const Program program(folder);
  fs::create_directory(folder / "data");
  Session().write(folder / "data");
  write_file_bytes(folder / "data/study.json", study().dump());
  write_file_bytes(folder / "empty.json", "{}");
  json other = study();
  other["recording"] = {{"file", "nowhere.npz"}};
  write_file_bytes(folder / "study.json", other.dump());
  const auto check = program.run({"check", "study.json", "--recording", "data/study.json"});
  EXPECT_EQ(check.code, 0) << check.errors;
  EXPECT_NE(check.output.find("session: 60 bins of 25 ms, 3 neurons"), std::string::npos) << check.output;
  EXPECT_NE(
      program.run({"check", "study.json", "--recording", "empty.json"}).errors.find("empty.json: recording: missing"),
      std::string::npos);
}

TEST(Nonsense, OneNeuronAndFewBinsTrainWithWarningsThatCheckGivesToo) {
  const TemporaryFolder folder;
  const Program program(folder);
  Session session(12, 1);
  std::fill(session.position.begin(), session.position.end(), 3.25);
  session.write(folder.path());
  json config = study();
  config["recording"]["labels"].push_back({{"name", "heading"}, {"array", "heading"}, {"kind", "circular"}});
  const std::vector<double> degrees{0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330};
  write_npz(folder / "session.npz", {{"counts", NumpyArray::of<double>({12, 1}, session.counts)},
                                     {"position", NumpyArray::of<double>({12}, session.position)},
                                     {"heading", NumpyArray::of<double>({12}, degrees)}});
  config["windows"] = {{"left", 0}, {"right", 1}};
  config["splits"]["fractions"] = {0.5, 0.2, 0.2};
  write_file_bytes(folder / "study.json", config.dump());
  const auto check = program.run({"check", "study.json"}),
             run = program.run({"run", "study.json", "--device", "cpu", "--threads", "1"});
  EXPECT_EQ(check.code, 0) << check.errors;
  EXPECT_EQ(run.code, 0) << run.errors;
  EXPECT_NE(
      check.output.find(
          "splits: time, 0.5 / 0.2 / 0.2, the last bin unused (chosen by splits.kind \"auto\": no label is called "
          "\"direction\")"),
      std::string::npos)
      << check.output;
  for (const char* part : {"split 0 has only 6 training bins", "split 0 has only 2 validation bins",
                           "split 0 has only 3 test bins", "label position is constant in the training bins of split 0",
                           "circular label heading runs over 52.5 turns of 6.283 rad"}) {
    EXPECT_NE(check.output.find(std::string("warning: ") + part), std::string::npos) << part << "\n" << check.output;
    EXPECT_NE(run.errors.find(std::string("warning: session: ") + part), std::string::npos) << part << "\n"
                                                                                            << run.errors;
  }
}

TEST(Nonsense, MoreNeuronsThanBinsMayBeTransposedCounts) {
  const TemporaryFolder folder;
  const Program program(folder);
  write_file_bytes(folder / "study.json", study().dump());
  for (const std::int64_t n_neurons : {60, 61}) {
    Session(60, n_neurons).write(folder.path());
    const auto check = program.run({"check", "study.json"});
    EXPECT_EQ(check.code, 0) << check.errors;
    EXPECT_EQ(check.output.find("warning: 61 neurons of 60 bins: are the counts [neuron x time]?") != std::string::npos,
              n_neurons == 61)
        << check.output;
  }
}

}  // namespace
}  // namespace idem
