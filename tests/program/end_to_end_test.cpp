// Drives the built program through a small study, as a user would.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "host/support/files.h"
#include "host/families/model_file.h"
#include "host/formats/npz.h"
#include "host/support/numpy_random.h"
#include "host/recordings/recording_npz.h"
#include "host/study/run.h"
#include "host/support/run_log.h"
#include "host/recordings/simulators.h"
#include "tests/support/program.h"

namespace idem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// A quarter of an hour of one animal, two models, two seeds, one split.
json small_study() {
  return json::parse(R"({
    "name": "small",
    "recording": {"simulate": {"name": "linear-track", "animal": "buddy", "n_times": 1500, "n_neurons": 12}},
    "splits": {"kind": "time", "fractions": [0.6, 0.2, 0.2]},
    "model": {"encoder": {"widths": [8]}, "prior": {"widths": [4]}, "decoder": {"widths": [6]}, "objective": {"samples": 4, "alpha_step": 0.25}},
    "models": [{"objective": {"name": "encoder-elbo"}}, {"objective": {"name": "ci-ivae/paper"}}],
    "training": {"batch": 100, "epochs": 2, "input_noise": 0.1},
    "seeds": [1, 7],
    "evaluation": {"neighbours": [1, 9], "marginal_draws": 4, "marginal_candidates": 10}
  })");
}

void write_study(const fs::path& path, const json& study) { write_file_bytes(path, study.dump(2)); }

std::size_t n_lines(const std::string& text) { return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')); }

const std::vector<std::string> kRuns{"sim-buddy-encoder-elbo-s1-f0", "sim-buddy-encoder-elbo-s7-f0", "sim-buddy-ci-ivae-paper-s1-f0",
                                     "sim-buddy-ci-ivae-paper-s7-f0"};

// One run of the small study serves every test that only reads it.
class EndToEnd : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    // TemporaryFolder is named after a test, and here is none yet.
    root_ = fs::temp_directory_path() / ("idem-end-to-end-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
    write_study(root_ / "small.json", small_study());
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  void SetUp() override {
    if (fs::exists(root_ / "first" / "report.html")) return;
    const auto result =
        program().run({"run", (root_ / "small.json").string(), "--out", (root_ / "first").string(), "--device", "cpu", "--threads", "2"});
    ASSERT_EQ(result.code, 0) << result.errors;
    first_errors_ = result.errors;
  }

  const Program& program() const { return program_; }
  const TemporaryFolder& folder() const { return folder_; }
  static fs::path first() { return root_ / "first"; }
  static fs::path study() { return root_ / "small.json"; }

  static fs::path root_;
  static std::string first_errors_;

 private:
  TemporaryFolder folder_;
  Program program_{folder_};
};
fs::path EndToEnd::root_;
std::string EndToEnd::first_errors_;

TEST_F(EndToEnd, ARunWritesItsWholeFolder) {
  const json metrics = json::parse(text_of_file(first() / "metrics.json"));
  ASSERT_EQ(metrics.at("runs").size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    const json& run = metrics.at("runs")[i];
    EXPECT_EQ(run.at("run"), kRuns[i]);
    EXPECT_EQ(run.at("subject"), "sim-buddy");
    EXPECT_EQ(run.at("split"), 0);
    for (const char* latents : {"encoder", "posterior"})
      for (const char* decoder : {"euclidean", "cosine", "linear"})
        for (const char* part : {"valid", "test"})
          for (const char* metric : {"position_error_cm", "position_r2", "direction_r2", "total_r2", "direction_accuracy"})
            EXPECT_TRUE(run.at("metrics").at(latents).at(decoder).at(part).at(metric).is_number()) << latents << decoder << part << metric;
    const json& marginal = run.at("metrics").at("marginal");
    EXPECT_EQ(marginal.at("candidates"), 20);
    EXPECT_EQ(marginal.at("draws"), 4);
    for (const char* part : {"valid", "test"}) EXPECT_TRUE(marginal.at(part).at("position_error_cm").is_number());
    for (const char* part : {"valid", "test"}) EXPECT_TRUE(run.at("collapse").at(part).at("label_weight").is_number());
    EXPECT_NE(run.at("collapse").at("valid"), run.at("collapse").at("test"));
    EXPECT_TRUE(run.at("agreement").get<double>() >= 0 && run.at("agreement").get<double>() <= 1);
    EXPECT_TRUE(run.at("identifiability").at("encoder").at("true_latent").at("affine_r2").is_number());
    EXPECT_EQ(run.at("training").at("epochs"), 2);
    EXPECT_EQ(run.at("training").at("kept_epoch"), run.at("training").at("best_epoch"));
    EXPECT_EQ(run.at("training").at("fleet_size"), 2);
    EXPECT_GT(run.at("training").at("fleet_seconds"), 0);
    EXPECT_EQ(run.at("target"), "window-sum");
    EXPECT_EQ(run.at("training").at("nonfinite_steps"), 0);
    EXPECT_GT(run.at("training").at("parameters"), 100);
    EXPECT_TRUE(fs::exists(first() / "runs" / kRuns[i] / "model.idem"));
  }
  EXPECT_EQ(metrics.at("labels").at("sim-buddy").at("position"), json({{"name", "position"}, {"unit", "cm"}}));
  const json& seeds = metrics.at("consistency").at("runs");
  ASSERT_EQ(seeds.size(), 2u);
  EXPECT_EQ(seeds[1].at("model"), "ci-ivae-paper");
  EXPECT_EQ(seeds[1].at("splits").size(), 1u);
  EXPECT_EQ(seeds[1].at("encoder"), seeds[1].at("splits")[0].at("encoder"));
  EXPECT_NE(seeds[1].at("encoder"), seeds[1].at("posterior"));
  EXPECT_EQ(metrics.at("runs")[2].at("objective"), "ci-ivae/paper");
  EXPECT_EQ(metrics.at("runs")[3].at("seed"), 7);
  ASSERT_EQ(metrics.at("baselines").size(), 1u);
  EXPECT_TRUE(metrics.at("baselines")[0].at("chance").is_object());
  EXPECT_TRUE(metrics.at("baselines")[0].at("place_fields").at("test").at("position_error_cm").is_number());
  EXPECT_EQ(metrics.at("baselines")[0].at("place_fields").at("activity"), "poisson");
  EXPECT_TRUE(fs::exists(first() / "report.html"));

  std::map<std::string, int> epochs;
  std::string last;
  std::stringstream log(text_of_file(first() / "log.jsonl"));
  for (std::string line; std::getline(log, line);) {
    const json event = json::parse(line);
    last = event.at("event");
    if (last != "epoch") continue;
    ++epochs[event.at("run")];
    EXPECT_TRUE(event.at("train").at("loss").is_number() && event.at("valid").at("loss").is_number());
    EXPECT_EQ(event.at("valid").at("reconstruction_posterior").is_null(), event.at("run").get<std::string>().find("elbo") != std::string::npos);
  }
  EXPECT_EQ(last, "finished");
  for (const auto& run : kRuns) EXPECT_EQ(epochs[run], 2) << run;
}

TEST_F(EndToEnd, LatentsHaveOneRowPerBinOfTheRecording) {
  const auto arrays = read_npz(first() / "runs" / kRuns[2] / "latents.npz");
  const std::int64_t T = 1500;
  EXPECT_EQ(arrays.at("time_s").shape, (std::vector<std::int64_t>{T}));
  EXPECT_EQ(arrays.at("segment").type.kind, 'i');
  for (const char* name : {"encoder_mean", "encoder_log_var", "posterior_mean"})
    EXPECT_EQ(arrays.at(name).shape, (std::vector<std::int64_t>{T, 2})) << name;
  EXPECT_EQ(arrays.at("labels").shape, (std::vector<std::int64_t>{T, 3}));
  EXPECT_EQ(arrays.at("label_names").texts(), (std::vector<std::string>{"position", "direction=right", "direction=left"}));
  const auto split = arrays.at("split").as<std::int32_t>();
  const auto decoded = arrays.at("decoded_position").as<float>();
  EXPECT_EQ(std::count(split.begin(), split.end(), 0), 900);
  EXPECT_EQ(std::count(split.begin(), split.end(), 2), 300);
  for (std::size_t t = 0; t < split.size(); ++t) EXPECT_EQ(std::isnan(decoded[t]), split[t] != 2) << t;
  for (const float value : arrays.at("encoder_mean").as<float>()) ASSERT_TRUE(std::isfinite(value));
}

TEST_F(EndToEnd, PipedProgressIsPlainLines) {
  EXPECT_NE(first_errors_.find("sim-buddy encoder-elbo  epoch 1/2  loss "), std::string::npos) << first_errors_;
  EXPECT_EQ(first_errors_.find('\r'), std::string::npos);
}

TEST_F(EndToEnd, TheResolvedConfigurationGivesTheSameBytesForAnyNumberOfThreads) {
  const auto again = folder().path() / "again";
  const auto result =
      program().run({"run", (first() / "config.json").string(), "--out", again.string(), "--device", "cpu", "--threads", "1", "--quiet"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(text_of_file(again / "config.json"), text_of_file(first() / "config.json"));
  for (const auto& run : kRuns) {
    EXPECT_TRUE(text_of_file(again / "runs" / run / "latents.npz") == text_of_file(first() / "runs" / run / "latents.npz")) << run;
    EXPECT_TRUE(text_of_file(again / "runs" / run / "model.idem") == text_of_file(first() / "runs" / run / "model.idem")) << run;
  }
}

TEST_F(EndToEnd, ARunAloneEqualsTheSameRunInAFleet) {
  const auto alone = folder().path() / "alone";
  const auto result = program().run({"run", study().string(), "--out", alone.string(), "--device", "cpu", "--quiet", "--set", "seeds=[7]", "--set",
                                     "models=[{\"objective\":{\"name\":\"ci-ivae/paper\"}}]"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_TRUE(text_of_file(alone / "runs" / kRuns[3] / "latents.npz") == text_of_file(first() / "runs" / kRuns[3] / "latents.npz"));
}

TEST_F(EndToEnd, ASecondRunIntoTheSameFolderChangesNothing) {
  const std::string before = text_of_file(first() / "metrics.json");
  const auto result = program().run({"run", study().string(), "--out", first().string()});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.errors.find("is not empty, nothing was changed"), std::string::npos) << result.errors;
  EXPECT_EQ(text_of_file(first() / "metrics.json"), before);
}

TEST_F(EndToEnd, ResumeTrainsOnlyWhatIsMissingOrDamaged) {
  const auto copy = folder().path() / "copy";
  fs::copy(first(), copy, fs::copy_options::recursive);
  const std::string wanted = text_of_file(first() / "runs" / kRuns[1] / "latents.npz");
  std::string damaged = text_of_file(copy / "runs" / kRuns[1] / "model.idem");
  damaged.resize(damaged.size() / 2);
  write_file_bytes(copy / "runs" / kRuns[1] / "model.idem", damaged);
  fs::remove(copy / "runs" / kRuns[1] / "latents.npz");
  const auto untouched = fs::last_write_time(copy / "runs" / kRuns[0] / "model.idem");
  const auto result = program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("1 of 4 runs to train"), std::string::npos) << result.errors;
  EXPECT_TRUE(text_of_file(copy / "runs" / kRuns[1] / "latents.npz") == wanted);
  EXPECT_EQ(fs::last_write_time(copy / "runs" / kRuns[0] / "model.idem"), untouched);
  EXPECT_EQ(json::parse(text_of_file(copy / "metrics.json")).at("runs").size(), 4u);
}

TEST_F(EndToEnd, ResumeWithAnotherConfigurationSaysWhatDiffers) {
  const auto result = program().run({"run", study().string(), "--out", first().string(), "--resume", "--set", "training.batch=50"});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.errors.find("training.batch differs"), std::string::npos) << result.errors;
}

TEST_F(EndToEnd, ControlCEndsAfterTheEpochAndResumeFinishesTheRest) {
  const auto out = folder().path() / "interrupted";
  const std::vector<std::string> arguments{"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", "training.epochs=100000",
                                           "--set", "models=[{\"objective\":{\"name\":\"encoder-elbo\"}}]"};
  const auto result = program().run_until(arguments, "epoch 1/", SIGINT);
  EXPECT_EQ(result.code, 5) << result.errors;
  EXPECT_NE(result.errors.find("interrupted: 0 of 2 runs are finished and kept, what was still training is lost; go on with: idem run"), std::string::npos) << result.errors;
  EXPECT_TRUE(json::parse(text_of_file(out / "metrics.json")).at("runs").empty());
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"event\":\"interrupted\""), std::string::npos);
  // The same folder takes the rest of the study.
  const auto resumed =
      program().run_until({"run", (out / "config.json").string(), "--out", out.string(), "--resume", "--device", "cpu"}, "epoch 1/", SIGTERM);
  EXPECT_EQ(resumed.code, 5) << resumed.errors;
}

TEST_F(EndToEnd, FinishedRunsOfAnInterruptedStudyAreKeptAndResumeCompletesItToTheSameBytes) {
  const auto out = folder().path() / "half";
  RunOptions options{.out = out, .device = "cpu", .n_threads = 2, .quiet = true};
  // As soon as the second model has logged an epoch.
  options.is_interrupted = [&] { return text_of_file(out / "log.jsonl").find("\"run\":\"" + kRuns[2] + "\"") != std::string::npos; };
  EXPECT_EQ(static_cast<int>(run_study(load_study(study().string()), options)), 5);
  const json half = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(half.at("runs").size(), 2u);
  EXPECT_EQ(half.at("runs")[0].at("run"), kRuns[0]);
  EXPECT_FALSE(fs::exists(out / "runs" / kRuns[2]));
  const auto kept = fs::last_write_time(out / "runs" / kRuns[1] / "model.idem");
  ASSERT_EQ(program().run({"report", out.string()}).code, 0);
  EXPECT_NE(text_of_file(out / "report.html").find("<b>2 of 4 runs are finished</b>"), std::string::npos);
  write_file_bytes(out / "log.jsonl", text_of_file(out / "log.jsonl") + R"({"event":"epo)");  // as a killed program leaves it

  const auto resumed = program().run({"run", study().string(), "--out", out.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("2 of 4 runs to train"), std::string::npos) << resumed.errors;
  EXPECT_EQ(fs::last_write_time(out / "runs" / kRuns[1] / "model.idem"), kept);
  for (const auto& run : kRuns)
    for (const char* file : {"latents.npz", "model.idem"})
      EXPECT_TRUE(text_of_file(out / "runs" / run / file) == text_of_file(first() / "runs" / run / file)) << run << file;
  EXPECT_EQ(text_of_file(out / "report.html").find("runs are finished</b>"), std::string::npos);
}

TEST_F(EndToEnd, AFolderThatAnotherProgramWritesToIsLeftAlone) {
  const auto copy = folder().path() / "shared";
  fs::copy(first(), copy, fs::copy_options::recursive);
  const std::string log = text_of_file(copy / "log.jsonl");
  const auto resume = [&] { return program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"}); };
  {
    const RunLog other(copy / "log.jsonl", true);
    const auto refused = resume();
    EXPECT_EQ(refused.code, 3);
    EXPECT_NE(refused.errors.find("another idem is writing to this folder"), std::string::npos) << refused.errors;
    EXPECT_EQ(text_of_file(copy / "log.jsonl"), log);
  }
  EXPECT_EQ(resume().code, 0);
}

TEST_F(EndToEnd, ResumeRefusesRunsOfAnotherRecordingAndWarnsOfAnotherDevice) {
  const auto copy = folder().path() / "copy";
  fs::copy(first(), copy, fs::copy_options::recursive);
  const std::vector<std::string> resume{"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"};
  json metrics = json::parse(text_of_file(copy / "metrics.json"));
  EXPECT_EQ(metrics.at("runs")[0].at("device"), "cpu");
  EXPECT_EQ(metrics.at("device").get<std::string>().find("cpu ("), 0u);
  metrics.erase("crc32");  // or the change would be taken for damage
  metrics.at("runs")[0]["device"] = "some GPU";
  metrics.at("runs")[3]["version"] = "0.0.1";
  write_file_bytes(copy / "metrics.json", metrics.dump());
  auto result = program().run(resume);
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("warning: 1 of the 4 runs kept were trained on some GPU by idem "), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("warning: 1 of the 4 runs kept were trained on cpu by idem 0.0.1, "), std::string::npos) << result.errors;
  metrics = json::parse(text_of_file(copy / "metrics.json"));
  EXPECT_EQ(metrics.at("device"), "cpu and some GPU");
  EXPECT_EQ(metrics.at("runs")[0].at("device"), "some GPU");
  EXPECT_NE(metrics.at("version").get<std::string>().find("0.0.1 and "), std::string::npos);

  // A file whose counts change under the same configuration.
  const auto file = folder().path() / "track.npz", changed = folder().path() / "changed";
  const auto simulated = [&](std::uint64_t seed) { write_recording_npz(simulate({.seed = seed, .n_times = 1500, .n_neurons = 12}), file); };
  simulated(1);
  std::vector<std::string> run{"run", study().string(), "--out", changed.string(), "--device", "cpu", "--quiet", "--set",
                               "recording={\"file\":\"" + file.string() + "\"}", "--set", "models=[]", "--set", "seeds=[1]"};
  result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  simulated(2);
  run.push_back("--resume");
  result = program().run(run);
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.errors.find("was trained on other counts or labels of "), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("track.npz holds now; give another --out"), std::string::npos) << result.errors;
  simulated(1);
  result = program().run(run);
  EXPECT_EQ(result.code, 0) << result.errors;
}

TEST_F(EndToEnd, TransformGivesTheLatentsThatTheRunWrote) {
  const auto out = folder().path() / "again.npz";
  const auto result =
      program().run({"transform", (first() / "runs" / kRuns[2] / "model.idem").string(), study().string(), "--out", out.string(), "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.output.find("posterior_mean, with labels"), std::string::npos) << result.output;
  const auto before = read_npz(first() / "runs" / kRuns[2] / "latents.npz"), after = read_npz(out);
  for (const char* name : {"encoder_mean", "posterior_mean"}) EXPECT_EQ(after.at(name).as<float>(), before.at(name).as<float>()) << name;
}

TEST_F(EndToEnd, TransformWithoutTheLabelsIsLabelFreeAndSaysSo) {
  const auto recording = folder().path() / "unlabelled.json", out = folder().path() / "free.npz";
  const auto counts = folder().path() / "counts.npy";
  const std::vector<float> zeros_and_ones = [] {
    std::vector<float> values(100 * 12, 0);
    for (std::size_t i = 0; i < values.size(); i += 7) values[i] = 1;
    return values;
  }();
  write_npy(counts, NumpyArray::of<float>({100, 12}, zeros_and_ones));
  write_file_bytes(recording, R"({"recording": {"counts": "counts.npy", "bin_width_ms": 25, "subject": "other"}})");
  const std::string model = (first() / "runs" / kRuns[0] / "model.idem").string();
  const auto result = program().run({"transform", model, recording.string(), "--out", out.string(), "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.output.find("the recording lacks position, direction"), std::string::npos) << result.output;
  EXPECT_FALSE(read_npz(out).count("posterior_mean"));

  write_file_bytes(recording, R"({"recording": {"counts": "counts.npy", "bin_width_ms": 50, "subject": "other"}})");
  const auto other_width = program().run({"transform", model, recording.string(), "--out", out.string()});
  EXPECT_EQ(other_width.code, 3);
  EXPECT_NE(other_width.errors.find("has bins of 50 ms"), std::string::npos) << other_width.errors;
  write_npy(counts, NumpyArray::of<float>({120, 10}, zeros_and_ones));
  const auto other_neurons = program().run({"transform", model, recording.string(), "--out", out.string()});
  EXPECT_EQ(other_neurons.code, 3);
  EXPECT_NE(other_neurons.errors.find("has 10 neurons"), std::string::npos) << other_neurons.errors;
}

TEST_F(EndToEnd, CheckSaysWhatWouldRunAndWritesNothing) {
  const auto result = program().run({"check", study().string()});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.output.find("small: 4 runs\nsim-buddy: 1500 bins of 25 ms, 12 neurons"), 0u) << result.output;
  EXPECT_NE(result.output.find("split 0: 900 train, 300 valid, 300 test bins"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("model ci-ivae-paper: ci-ivae/paper, 2 runs together, "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("splits: time, 0.6 / 0.2 / 0.2\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("the windows around 18 bins read across the border"), std::string::npos) << result.output;
  EXPECT_NE(text_of_file(first() / "report.html").find("sim-buddy: the windows around 18 bins read across the border"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder().path() / "out"));
}

TEST_F(EndToEnd, CheckWarnsOfWhatIsAllowedAndHardlyMeant) {
  const auto result = program().run({"check", study().string(), "--set", "training.batch=5000", "--set", "training.patience=100", "--set", "model.latents=13"});
  EXPECT_EQ(result.code, 0) << result.errors;
  for (const char* warning : {"training.batch 5000 is more than the 900 training bins", "training.patience 100 is no less than training.epochs",
                              "13 latents of 12 neurons"})
    EXPECT_NE(result.output.find(warning), std::string::npos) << result.output;
}

TEST_F(EndToEnd, ABatchLargerThanTheTrainingBinsTrainsAsOneOfThemAll) {
  const auto large = folder().path() / "large", exact = folder().path() / "exact";
  for (const auto& [out, batch] : {std::pair{large, "5000"}, {exact, "900"}})
    ASSERT_EQ(program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set", "seeds=[1]", "--set", std::string("training.batch=") + batch}).code, 0);
  for (const auto& run : fs::directory_iterator(large / "runs"))
    EXPECT_EQ(text_of_file(run.path() / "latents.npz"), text_of_file(exact / "runs" / run.path().filename() / "latents.npz"));
}

TEST_F(EndToEnd, ARunThatWasStillLearningWhenItEndedSaysSo) {
  const auto run = [&](const char* out, const char* epochs) {
    return program().run({"run", study().string(), "--out", (folder().path() / out).string(), "--device", "cpu", "--quiet", "--set", "seeds=[1]", "--set",
                          "training.learning_rate=0.0003", "--set", std::string("training.epochs=") + epochs});
  };
  const auto short_run = run("short", "4");
  ASSERT_EQ(short_run.code, 0) << short_run.errors;
  EXPECT_NE(short_run.errors.find("still falling when training ended: raise training.epochs"), std::string::npos) << short_run.errors;
}

TEST_F(EndToEnd, TrialsSplitWhereTheRecordingHasADirectionAndTheSplitSaysSo) {
  const auto automatic = program().run({"check", study().string(), "--set", "splits={}", "--set", "recording.simulate={\"animal\":\"buddy\"}"});
  EXPECT_EQ(automatic.code, 0) << automatic.errors;
  EXPECT_NE(automatic.output.find("splits: three-fold trials, 28 round trips of direction (chosen by splits.kind \"auto\")"), std::string::npos)
      << automatic.output;
  const auto too_short = program().run({"check", study().string(), "--set", "splits={}"});
  EXPECT_NE(too_short.output.find("splits: time, 0.6 / 0.2 / 0.2 (chosen by splits.kind \"auto\": "), std::string::npos) << too_short.output;
}

TEST_F(EndToEnd, DataInfoAnnouncesTheSplitThatARunMakes) {
  const auto config = folder().path() / "split.json";
  const auto split_lines = [](const std::string& text) {
    std::string lines;
    std::stringstream stream(text);
    for (std::string line; std::getline(stream, line);)
      if (const auto at = line.find("split"); at != std::string::npos && line.find("windows") == std::string::npos) {
        line = line.substr(at);
        line.erase(std::unique(line.begin(), line.end(), [](char a, char b) { return a == ' ' && b == ' '; }), line.end());
        std::erase(line, ':');
        lines += line + "\n";
      }
    return lines;
  };
  const json short_one = {{"simulate", {{"animal", "buddy"}, {"n_times", 1500}, {"n_neurons", 12}}}};
  const json turning = {{"simulate", {{"animal", "buddy"}, {"n_neurons", 12}}}};
  std::vector<float> counts(200 * 2, 1);
  write_npz(folder().path() / "counts.npz", {{"counts", NumpyArray::of({200, 2}, counts)}});
  json declared = {{"counts", {{"file", "counts.npz"}}}, {"bin_width_ms", 25}, {"trials", json::array()}};
  for (int trial = 0; trial < 20; ++trial) declared["trials"].push_back(10 * trial);
  std::set<std::string> announced;
  for (const auto& [recording, splits] : {std::pair{short_one, json::object()},
                                          {turning, json::object()},
                                          {declared, json::object()},
                                          {short_one, json{{"kind", "time"}, {"fractions", {0.5, 0.25, 0.25}}}}}) {
    json study = small_study();
    study["recording"] = recording;
    study["splits"] = splits;
    study["models"] = {{{"preset", "vae"}}};
    write_study(config, study);
    const auto info = program().run({"data", "info", config.string()}), check = program().run({"check", config.string()});
    ASSERT_EQ(info.code, 0) << info.errors;
    ASSERT_EQ(check.code, 0) << check.errors;
    for (const std::string line : {"split 0 ", "splits "}) EXPECT_NE(split_lines(info.output).find(line), std::string::npos) << info.output;
    const auto of = [&](const std::string& text) {
      std::multiset<std::string> lines;
      std::stringstream stream(split_lines(text));
      for (std::string line; std::getline(stream, line);) lines.insert(line);
      return lines;
    };
    EXPECT_EQ(of(info.output), of(check.output));
    announced.insert(split_lines(info.output));
  }
  EXPECT_EQ(announced.size(), 4u);
  EXPECT_TRUE(std::any_of(announced.begin(), announced.end(), [](const std::string& text) {
    return text.find("three-fold trials, 20 declared (chosen by splits.kind \"auto\"") != std::string::npos;
  }));
}

TEST_F(EndToEnd, AKeySetForAllModelsThatOneHasItselfIsWarnedOfWithTheKeyThatWorks) {
  json study = small_study();
  study["models"][0]["latents"] = 3;
  study["models"][1]["training"] = {{"learning_rate", 0.01}};
  const auto config = folder().path() / "shadowed.json";
  write_study(config, study);
  const auto warned = [&](const std::string& assignment) {
    const auto check = program().run({"check", config.string(), "--set", assignment});
    EXPECT_EQ(check.code, 0) << check.errors;
    const auto at = check.output.find("warning: --set");
    return at == std::string::npos ? std::string() : check.output.substr(at, check.output.find('\n', at) - at);
  };
  EXPECT_EQ(warned("model.latents=4"),
            "warning: --set model.latents: changes nothing of model encoder-elbo, which has its own value, 3; use --set models.0.latents=4");
  EXPECT_EQ(warned("models.0.latents=4"), "");
  EXPECT_EQ(warned("model.latents=3"), "") << "it is 3 all the same";
  EXPECT_EQ(warned("model.encoder.widths=[5]"), "");
  EXPECT_EQ(warned("training.learning_rate=0.1"),
            "warning: --set training.learning_rate: changes nothing of model ci-ivae-paper, which has its own value, 0.01; use --set "
            "models.1.training.learning_rate=0.1");
  EXPECT_EQ(warned("training.epochs=3"), "");
  EXPECT_EQ(warned("model={\"latents\":5,\"encoder\":{\"widths\":[7]}}"),
            "warning: --set model.latents: changes nothing of model encoder-elbo, which has its own value, 3; use --set models.0.latents=5");

  study["models"] = json::array();
  study["model"] = {{"preset", "pi-vae"}};
  write_study(config, study);
  const std::string of_preset = warned("training.learning_rate=0.1");
  EXPECT_NE(of_preset.find("use --set model.training.learning_rate=0.1"), std::string::npos) << of_preset;
  EXPECT_EQ(warned("model.training.learning_rate=0.1"), "");
}

TEST_F(EndToEnd, AResultIsWrittenThroughALinkAndNeverOverItsOwnSource) {
  const auto model = first() / "runs" / kRuns[0] / "model.idem", copy = folder().path() / "copy.idem", link = folder().path() / "link.npz";
  fs::copy_file(model, copy);
  fs::create_symlink("real.npz", link);
  const auto transform = [&](const fs::path& out) {
    return program().run({"transform", copy.string(), study().string(), "--out", out.string(), "--device", "cpu"});
  };
  EXPECT_EQ(transform(copy).code, 2);
  EXPECT_EQ(text_of_file(copy), text_of_file(model));
  EXPECT_EQ(transform(link).code, 0);
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_NO_THROW(read_npz(folder().path() / "real.npz"));
}

TEST_F(EndToEnd, AWholeNumberThatThirtyTwoBitsDoNotHoldIsRefused) {
  const auto check = program().run({"check", study().string(), "--set", "recording.simulate.n_times=4294967596"});
  EXPECT_EQ(check.code, 2);
  EXPECT_NE(check.errors.find("recording.simulate.n_times: 4294967596 is too large"), std::string::npos) << check.errors;
}

TEST_F(EndToEnd, TheSchemaLiesBesideTheConfigurationOfARun) {
  const json config = json::parse(text_of_file(first() / "config.json"));
  EXPECT_EQ(config.at("$schema"), "./idem.schema.json");
  EXPECT_EQ(text_of_file(first() / "idem.schema.json"), text_of_file(fs::path(IDEM_SOURCE_DIR) / "configs/idem.schema.json"));
}

TEST_F(EndToEnd, EveryMistakeIsOneLineAndHasItsExitCode) {
  const auto expect = [&](const std::vector<std::string>& arguments, int code, const std::string& part) {
    const auto result = program().run(arguments);
    EXPECT_EQ(result.code, code) << result.errors;
    EXPECT_EQ(n_lines(result.errors), 1u) << result.errors;
    EXPECT_EQ(result.errors.find("idem: "), 0u) << result.errors;
    EXPECT_NE(result.errors.find(part), std::string::npos) << result.errors;
  };
  const std::string config = study().string(), out = (folder().path() / "new").string();
  expect({"run"}, 2, "CONFIG");
  expect({}, 2, "commands: run, check, ");
  expect({"fly"}, 2, "there is no command \"fly\"; commands: run, check, ");
  expect({"run", "nowhere.json"}, 2, "nowhere.json: cannot be read");
  expect({"run", config, "--out", out, "--set", "training.epoch=3"}, 2, "training.epoch: unknown key; did you mean \"epochs\"?");
  expect({"run", config, "--out", out, "--set", "windows.left=5000"}, 3, "longer than the segment of bins");
  expect({"run", config, "--out", out, "--set", "model.labels=[\"speed\"]"}, 2, "labels there: position, direction");
  expect({"run", config, "--out", out, "--set", "recording={\"file\":\"nowhere.npz\"}"}, 3, "nowhere.npz");
  expect({"run", config, "--out", out, "--device", "tpu"}, 4, "unknown device \"tpu\"");
  expect({"run", config, "--out", config}, 2, "is a file");
  expect({"transform", config, config}, 3, "is not a model of idem");
  expect({"transform", "nope.idem", config}, 3, "nope.idem: no such model; name the model.idem of a run, as out/STUDY/runs/RUN/model.idem");
  expect({"report", out}, 3, "not a folder");
  expect({"parity", config, "--out", out}, 3, "small.json");
  const std::string no_file = "nofile.npz: no such file; check the path (a relative one starts at the current folder)";
  expect({"parity", "nofile.npz", "--out", out}, 3, no_file);
  expect({"data", "info", "nofile.npz"}, 3, no_file);
  const std::string before = text_of_file(config);
  expect({"parity", config, "--out", config}, 2, "small.json itself; choose another file");
  EXPECT_EQ(text_of_file(config), before);
  expect({"simulate", "flight", "--out", out}, 2, "linear-track");
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(EndToEnd, TheSmallCommandsAnswer) {
  EXPECT_NE(program().run({"--version"}).output.find("idem 0."), std::string::npos);
  EXPECT_EQ(program().run({"devices"}).output.find("cpu ("), 0u);
  EXPECT_NE(program().run({"--help"}).output.find("transform"), std::string::npos);
  EXPECT_TRUE(program().run({"reference"}).output == text_of_file(IDEM_SOURCE_DIR "/configs/reference.md"));
  const auto file = (folder().path() / "track.npz").string();
  ASSERT_EQ(program().run({"simulate", "linear-track", "--out", file, "--animal", "gatsby", "--seed", "3"}).code, 0);
  const auto info = program().run({"data", "info", file});
  EXPECT_NE(info.output.find("gatsby"), std::string::npos) << info.output << info.errors;
}

TEST_F(EndToEnd, TheConfigurationsOfTheTreeAreValid) {
  for (const auto& file : fs::directory_iterator(IDEM_SOURCE_DIR "/configs")) {
    const std::string name = file.path().filename().string();
    if (file.path().extension() != ".json" || name == "idem.schema.json") continue;
    const auto result = program().run({"check", file.path().string()});
    EXPECT_EQ(result.code, 0) << name << ": " << result.errors;
  }
}

TEST_F(EndToEnd, ATemporalConvolutionRunsIsCheckedAndTransformsAsItRan) {
  const auto out = folder().path() / "convolution", again = folder().path() / "again.npz";
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet"};
  const std::vector<std::string> changes{"--set", "model.encoder={\"kind\":\"temporal-convolution\",\"channels\":6}", "--set", "seeds=[1]"};
  run.insert(run.end(), changes.begin(), changes.end());
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entry = json::parse(text_of_file(out / "metrics.json")).at("runs")[1];
  EXPECT_EQ(entry.at("run"), kRuns[2]);
  EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number());
  // Encoders of 12 neurons, 6 channels, 2 latents; priors of 3 label features; a decoder.
  const int n_parameters = 2 * (2 * 12 * 6 + 6 + 3 * (3 * 6 * 6 + 6) + 3 * 6 * 2 + 2) + 2 * (3 * 4 + 4 + 4 * 2 + 2) + (2 * 6 + 6 + 6 * 12 + 12);
  EXPECT_EQ(entry.at("training").at("parameters"), n_parameters);
  std::vector<std::string> check{"check", study().string()};
  check.insert(check.end(), changes.begin(), changes.end());
  EXPECT_NE(program().run(check).output.find(std::to_string(n_parameters) + " parameters each"), std::string::npos);

  const auto transformed =
      program().run({"transform", (out / "runs" / kRuns[2] / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
  ASSERT_EQ(transformed.code, 0) << transformed.errors;
  const auto before = read_npz(out / "runs" / kRuns[2] / "latents.npz"), after = read_npz(again);
  for (const char* name : {"encoder_mean", "posterior_mean"}) EXPECT_EQ(after.at(name).as<float>(), before.at(name).as<float>()) << name;
}

TEST_F(EndToEnd, APiVaeOfWindowsAndOfOneLabelRunIsCheckedAndTransformsAsItRan) {
  const auto out = folder().path() / "pi-vae", again = folder().path() / "pi-vae.npz";
  const std::vector<std::string> changes{
      "--set", R"(models=[{"preset":"conv-pi-vae"},{"preset":"pi-vae","labels":["direction"],"prior":{"kind":"embedding"},"decoder":{"tie_couplings":true}}])",
      "--set", "seeds=[1]"};
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet"}, check{"check", study().string()};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  ASSERT_EQ(program().run(check).code, 0) << program().run(check).errors;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  for (const auto& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number()) << name;
    const auto transformed =
        program().run({"transform", (out / "runs" / name / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    const auto before = read_npz(out / "runs" / name / "latents.npz"), after = read_npz(again);
    for (const char* array : {"encoder_mean", "posterior_mean"}) EXPECT_EQ(after.at(array).as<float>(), before.at(array).as<float>()) << name;
  }
  const auto refused = program().run({"check", study().string(), "--set", "model.prior.kind=embedding"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("an embedding is of one categorical label"), std::string::npos) << refused.errors;
  EXPECT_NE(program().run({"check", study().string(), "--set", "model.decoder.kind=gin", "--set", "model.latents=12"}).errors.find("more outputs than latents"),
            std::string::npos);
}

TEST_F(EndToEnd, AnMlpMayExplainTheWholeWindow) {
  const auto out = folder().path() / "window", again = folder().path() / "window.npz";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set", "seeds=[1]", "--set",
                                     R"(model.observation={"kind":"poisson","target":"window"})"});
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 2u);
  for (const auto& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_EQ(entry.at("target"), "window") << name;
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number()) << name;
    EXPECT_TRUE(entry.at("metrics").at("marginal").at("test").at("position_error_cm").is_number()) << name;
    // The decoder's last layer: 10 bins of 12 neurons.
    EXPECT_EQ(read_model(out / "runs" / name / "model.idem").parameters.at("decoder.1.bias").values.size(), 120u) << name;
    const auto transformed =
        program().run({"transform", (out / "runs" / name / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    const auto before = read_npz(out / "runs" / name / "latents.npz"), after = read_npz(again);
    for (const char* array : {"encoder_mean", "posterior_mean"}) EXPECT_EQ(after.at(array).as<float>(), before.at(array).as<float>()) << name;
  }
}

TEST_F(EndToEnd, ModelsWithoutLabelsWithTimeAloneAndWithShuffledLabelsRunAndTransform) {
  const auto out = folder().path() / "labels", again = folder().path() / "labels.npz";
  const std::string models = R"(models=[{"preset":"vae"},{"preset":"pi-vae-without-labels"},{"name":"time","labels":["time"]},{"name":"shuffled","shuffle_labels":7},{"name":"true"},{"name":"all-and-time","labels":["position","direction","time"]}])";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", models, "--set", "seeds=[1]"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("model vae sees no label"), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("model shuffled is a control"), std::string::npos) << result.errors;
  std::map<std::string, std::map<std::string, NumpyArray>> latents;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  for (const auto& entry : entries) {
    const std::string name = entry.at("run"), model = entry.at("model");
    latents[model] = read_npz(out / "runs" / name / "latents.npz");
    EXPECT_EQ(latents[model].at("labels").shape, latents["vae"].at("labels").shape) << model;
    const bool sees_labels = model != "vae" && model != "pi-vae-without-labels";
    EXPECT_EQ(entry.at("sees_labels"), sees_labels) << model;
    const auto transformed =
        program().run({"transform", (out / "runs" / name / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(transformed.output.find("trained on shuffled labels") != std::string::npos, model == "shuffled") << transformed.output;
    EXPECT_EQ(transformed.output.find("with labels") != std::string::npos, sees_labels) << transformed.output;
    if (model == "shuffled") continue;  // its posterior was of other labels than the recording's
    for (const char* array : {"encoder_mean", "posterior_mean"})
      EXPECT_EQ(read_npz(again).at(array).as<float>(), latents[model].at(array).as<float>()) << name << " " << array;
  }
  EXPECT_NE(latents.at("shuffled").at("posterior_mean").as<float>(), latents.at("true").at("posterior_mean").as<float>());
  EXPECT_EQ(latents.at("shuffled").at("labels").as<double>(), latents.at("true").at("labels").as<double>());
  EXPECT_NE(text_of_file(out / "report.html").find("vae and pi-vae-without-labels see no label, so they have no latents with labels."), std::string::npos);

  const auto refused = program().run({"check", study().string(), "--set", "model.preset=vae", "--set", R"(model.labels=["position"])"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("sees no label"), std::string::npos) << refused.errors;
}

TEST_F(EndToEnd, AnEncoderThatSeesLabelsHasNoLabelFreeLatentsAnywhere) {
  const auto out = folder().path() / "joined", again = folder().path() / "joined.npz";
  const std::string models = R"(models=[{"preset":"ivae"},{"name":"other"}])";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", models});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("model ivae has no label-free latents"), std::string::npos) << result.errors;
  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  for (const auto& entry : metrics.at("runs")) {
    const bool joined = entry.at("model") == "ivae";
    const std::string name = entry.at("run");
    EXPECT_EQ(entry.at("metrics").contains("encoder"), !joined);
    EXPECT_TRUE(entry.at("metrics").contains("posterior") && entry.at("metrics").contains("marginal"));
    EXPECT_EQ(entry.contains("agreement"), !joined);
    EXPECT_EQ(entry.at("collapse").at("test").contains("label_weight"), !joined);
    EXPECT_GT(entry.at("collapse").at("test").at("kl_posterior"), 0);
    const auto latents = read_npz(out / "runs" / name / "latents.npz");
    EXPECT_EQ(latents.count("encoder_mean") + latents.count("encoder_log_var"), joined ? 0u : 2u);
    if (!joined) continue;
    for (const float value : latents.at("decoded_position").as<float>()) ASSERT_TRUE(std::isnan(value));
    const auto transformed =
        program().run({"transform", (out / "runs" / name / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(transformed.output.find("label-free"), std::string::npos) << transformed.output;
    EXPECT_EQ(read_npz(again).at("posterior_mean").as<float>(), latents.at("posterior_mean").as<float>());
    EXPECT_FALSE(read_npz(again).count("encoder_mean"));
  }
  for (const auto& entry : metrics.at("consistency").at("runs")) EXPECT_EQ(entry.contains("encoder"), entry.at("model") != "ivae");
  EXPECT_NE(text_of_file(out / "report.html").find("<b>ivae</b> has no label-free latents"), std::string::npos);

  const auto unlabelled = folder().path() / "unlabelled.json";
  write_npy(folder().path() / "counts.npy", NumpyArray::of<float>({100, 12}, std::vector<float>(1200, 1)));
  write_file_bytes(unlabelled, R"({"recording": {"counts": "counts.npy", "bin_width_ms": 25, "subject": "other"}})");
  const auto refused =
      program().run({"transform", (out / "runs" / "sim-buddy-ivae-s1-f0" / "model.idem").string(), unlabelled.string(), "--out", again.string()});
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.errors.find("other: lacks position, direction, which the encoder of"), std::string::npos) << refused.errors;
}

TEST_F(EndToEnd, EveryKindOfCebraRunsBesideAVaeResumesAndTransformsAsItRan) {
  const auto out = folder().path() / "cebra", again = folder().path() / "cebra.npz";
  const std::string models =
      R"(models=[{"preset":"cebra-behavior"},{"preset":"cebra-time"},{"preset":"cebra-hybrid","latents":4},
                 {"name":"delta","preset":"cebra-behavior","contrastive":{"positives":"delta","delta_sd":0.1,"learn_temperature":true}},
                 {"name":"discrete","preset":"cebra-behavior","labels":["direction"],"contrastive":{"positives":"discrete","batch":null}},
                 {"name":"mixed","preset":"cebra-behavior","contrastive":{"positives":"mixed","similarity":"euclidean","normalise":false}},
                 {"name":"session","preset":"cebra-time","contrastive":{"fit":"session","batch":null}},
                 {"name":"shuffled","preset":"cebra-behavior","shuffle_labels":1,"contrastive":{"batch":5000}},{"name":"vae"}])";
  const std::vector<std::string> changes{"--set", models, "--set", "model.contrastive={\"steps\":6,\"steps_per_record\":3,\"width\":8,\"batch\":64}"};
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--threads", "2"}, check{"check", study().string()};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  const auto checked = program().run(check);
  ASSERT_EQ(checked.code, 0) << checked.errors;
  EXPECT_NE(checked.output.find("model discrete: InfoNCE (cosine), positives by discrete, 2 runs together, "), std::string::npos) << checked.output;
  EXPECT_NE(checked.output.find(" parameters each, 6 steps, batch 64, learning rate 0.0003 (the model's own; training has "), std::string::npos)
      << checked.output;
  EXPECT_NE(checked.output.find(" parameters each, 6 steps, every bin in each step, learning rate "), std::string::npos) << checked.output;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("cebra-behavior split 0  step 3/6  InfoNCE "), std::string::npos) << result.errors;

  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(metrics.at("runs").size(), 18u);
  EXPECT_NE(text_of_file(out / "report.html").find("model session was fitted on every bin of the session"), std::string::npos);
  for (const json& entry : metrics.at("runs")) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("cosine").at("test").at("total_r2").is_number()) << name;
    const bool is_cebra = entry.at("model") != "vae";
    EXPECT_EQ(entry.at("metrics").contains("posterior"), !is_cebra) << name;
    EXPECT_EQ(entry.contains("agreement"), !is_cebra) << name;
    EXPECT_EQ(entry.contains("collapse"), !is_cebra) << name;
    if (!is_cebra) continue;
    EXPECT_EQ(entry.at("training").at("steps"), 6);
    EXPECT_EQ(entry.at("training").at("batch"), entry.at("model") == "discrete"  ? 900
                                                   : entry.at("model") == "session"  ? 1490  // all bins but the last ten have one ten later
                                                   : entry.at("model") == "shuffled" ? 5000
                                                                                     : 64)
        << name;
    const json& fit = entry.at("fit");
    EXPECT_EQ(fit.at("valid").at("info_nce").is_null(), entry.at("model") == "session") << name;
    for (const char* part : {"train", "valid"}) {
      if (fit.at(part).at("info_nce").is_null()) continue;
      const double batch = entry.at("training").at("batch"), info_nce = fit.at(part).at("info_nce");
      EXPECT_NEAR(fit.at(part).at("goodness_of_fit_bits").get<double>(), (std::log(batch) - info_nce) / std::log(2.0), 1e-9) << name;
      EXPECT_EQ(fit.at(part).contains("behaviour"), entry.at("model") == "cebra-hybrid") << name;
    }
    const auto arrays = read_npz(out / "runs" / name / "latents.npz");
    EXPECT_FALSE(arrays.count("posterior_mean") || arrays.count("encoder_log_var")) << name;
    const NumpyArray& embedding = arrays.at("encoder_mean");
    const std::int64_t n_latents = entry.at("model") == "cebra-hybrid" ? 4 : 3;
    EXPECT_EQ(embedding.shape, (std::vector<std::int64_t>{1500, n_latents})) << name;
    const auto values = embedding.as<float>();
    double squares = 0;
    for (std::int64_t i = 0; i < n_latents; ++i) squares += double{values[static_cast<std::size_t>(i)]} * values[static_cast<std::size_t>(i)];
    EXPECT_EQ(std::abs(squares - 1) < 1e-5, entry.at("model") != "mixed") << name << squares;
  }
  for (const json& entry : metrics.at("consistency").at("runs")) {
    EXPECT_TRUE(entry.at("encoder_train").is_number());
    EXPECT_EQ(entry.contains("posterior"), entry.at("model") == "vae");
  }
  const std::string report = text_of_file(out / "report.html");
  EXPECT_NE(report.find("InfoNCE (Euclidean), positives by mixed"), std::string::npos);
  EXPECT_NE(report.find("goodness of fit bits"), std::string::npos);

  for (const char* name : {"sim-buddy-cebra-behavior-s1-f0", "sim-buddy-cebra-time-s7-f0"}) {
    const auto model = out / "runs" / name / "model.idem";
    const auto transformed = program().run({"transform", model.string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_NE(transformed.output.find("the embedding, label-free"), std::string::npos) << transformed.output;
    EXPECT_EQ(read_npz(again).at("encoder_mean").as<float>(), read_npz(out / "runs" / name / "latents.npz").at("encoder_mean").as<float>()) << name;
  }

  // What resume trains again, alone now, has the same bytes.
  const auto one = out / "runs" / "sim-buddy-shuffled-s7-f0";
  const std::string before = text_of_file(one / "latents.npz");
  fs::remove_all(one);
  const auto resumed = program().run({"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("1 of 18 runs to train"), std::string::npos) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "latents.npz"), before);

  const auto refused = [&](const std::string& one_model) { return program().run({"check", study().string(), "--set", "models=[" + one_model + "]"}).errors; };
  EXPECT_NE(refused(R"({"preset":"cebra-behavior","contrastive":{"positives":"discrete"}})").find("model cebra-behavior: contrastive.positives: \"discrete\" takes categorical"),
            std::string::npos);
  EXPECT_NE(refused(R"({"preset":"cebra-behavior","labels":["position"],"contrastive":{"positives":"mixed"}})").find("needs a categorical label"),
            std::string::npos);
  EXPECT_NE(refused(R"({"preset":"cebra-time","contrastive":{"time_offset":900}})").find("contrastive.time_offset: no training bin"), std::string::npos);
}

TEST_F(EndToEnd, TwoAnimalsAreComparedByTheLatentsOfLikeLabels) {
  const auto out = folder().path() / "animals";
  json of_two = small_study();
  json animal = of_two["recording"];
  animal["simulate"]["animal"] = "achilles";
  animal["simulate"]["n_neurons"] = 9;
  of_two["recording"] = json::array({of_two["recording"], animal});
  of_two["models"] = json::array({{{"name", "vae"}}, {{"preset", "cebra-behavior"}}});
  of_two["model"]["contrastive"] = {{"steps", 4}, {"width", 8}, {"batch", 64}};
  const auto path = folder().path() / "two.json";
  write_study(path, of_two);
  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--quiet"});
  ASSERT_EQ(result.code, 0) << result.errors;
  const json animals = json::parse(text_of_file(out / "metrics.json")).at("consistency").at("animals");
  ASSERT_EQ(animals.size(), 4u);
  EXPECT_EQ(animals[0].at("from"), "sim-buddy");
  EXPECT_EQ(animals[0].at("to"), "sim-achilles");
  EXPECT_EQ(animals[1].at("from"), "sim-achilles");
  for (const json& entry : animals) {
    const json& split = entry.at("splits").at(0);
    for (const char* score : {"train", "test", "train_published", "test_published"})
      EXPECT_TRUE(split.at("encoder").at(score).get<double>() <= 1) << entry.dump();
    EXPECT_EQ(split.contains("posterior"), entry.at("model") == "vae");
    EXPECT_NE(split.at("encoder").at("train"), split.at("encoder").at("test"));
  }
  EXPECT_NE(text_of_file(out / "report.html").find("sim-buddy → sim-achilles"), std::string::npos);
}

// The same weights, hardly moved, with and without shuffled training labels: both are asked of the true labels of the
// same validation bins.
TEST_F(EndToEnd, ACebraOfShuffledLabelsIsValidatedByTheTrueOnesSoThatTheControlCanFail) {
  const auto out = folder().path() / "control";
  const std::string models =
      R"(models=[{"preset":"cebra-behavior"},{"name":"shuffled","preset":"cebra-behavior","shuffle_labels":1}])";
  const auto result = program().run(
      {"run", study().string(), "--out", out.string(), "--device", "cpu", "--threads", "2", "--set", models, "--set",
       R"(model.contrastive={"steps":2,"width":8,"batch":64})", "--set", "model.training.learning_rate=1e-12"});
  ASSERT_EQ(result.code, 0) << result.errors;
  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(metrics.at("runs").size(), 4u);
  for (const std::size_t seed : {0u, 1u}) {
    const json &own = metrics.at("runs")[seed].at("fit"), &shuffled = metrics.at("runs")[2 + seed].at("fit");
    EXPECT_NEAR(own.at("valid").at("info_nce").get<double>(), shuffled.at("valid").at("info_nce").get<double>(), 1e-6);
    EXPECT_NE(own.at("train").at("info_nce"), shuffled.at("train").at("info_nce"));
    EXPECT_GT(own.at("valid").at("info_nce_error"), 0);
    EXPECT_EQ(metrics.at("runs")[seed].at("training").at("valid_batches"), 500);
    EXPECT_NEAR(metrics.at("runs")[seed].at("training").at("kept_valid_loss_error").get<double>(),
                own.at("valid").at("info_nce_error").get<double>(), 1e-6);
  }
}

TEST_F(EndToEnd, AJointCebraOfTwoAnimalsRunsResumesAndItsTrunkIsAdaptedToAThird) {
  const auto out = folder().path() / "joint", adapted = folder().path() / "adapted", path = folder().path() / "joint.json";
  json joint = small_study();
  const json animal = joint["recording"];
  joint["recording"] = json::array({animal, animal});
  joint["recording"][1]["simulate"].update({{"animal", "achilles"}, {"n_neurons", 9}, {"n_times", 1200}});
  joint["model"] = {{"contrastive", {{"steps", 4}, {"width", 8}, {"batch", 48}}}, {"joint", true}};
  joint["models"] = json::parse(R"([{"preset": "cebra-behavior"}, {"preset": "cebra-behavior", "name": "classes", "labels": ["direction"],
                                     "contrastive": {"positives": "discrete", "learn_temperature": true}}])");
  write_study(path, joint);
  const auto checked = program().run({"check", path.string()});
  ASSERT_EQ(checked.code, 0) << checked.errors;
  EXPECT_NE(checked.output.find("4 runs together"), std::string::npos) << checked.output;
  EXPECT_NE(checked.output.find("model classes: together with sim-buddy"), std::string::npos) << checked.output;
  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--threads", "2"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy + sim-..behavior split 0  step 4/4"), std::string::npos) << result.errors;
  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(metrics.at("runs").size(), 8u);
  for (const json& entry : metrics.at("runs")) {
    EXPECT_EQ(entry.at("training").at("batch"), 96);
    const std::string name = entry.at("run");
    const auto latents = read_npz(out / "runs" / name / "latents.npz");
    EXPECT_EQ(latents.at("encoder_mean").shape[0], entry.at("subject") == "sim-buddy" ? 1500 : 1200);
  }
  EXPECT_NE(metrics.at("runs")[0].at("training").at("parameters"), metrics.at("runs")[4].at("training").at("parameters"));
  EXPECT_EQ(metrics.at("runs")[0].at("fit"), metrics.at("runs")[4].at("fit"));  // one InfoNCE of both animals
  EXPECT_EQ(metrics.at("consistency").at("animals").size(), 4u);

  const auto one = out / "runs" / "sim-achilles-cebra-behavior-s7-f0", other = out / "runs" / "sim-buddy-cebra-behavior-s7-f0";
  const std::string before = text_of_file(one / "model.idem"), of_other = text_of_file(other / "model.idem");
  fs::remove_all(one);
  const auto resumed = program().run({"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "model.idem"), before);
  EXPECT_EQ(text_of_file(other / "model.idem"), of_other);

  json third = small_study();
  third["recording"]["simulate"].update({{"animal", "gatsby"}, {"n_neurons", 7}});
  third["model"] = {{"preset", "cebra-behavior"}, {"contrastive", {{"steps", 3}, {"width", 8}, {"batch", 48}, {"adapt_from", "joint/runs/sim-buddy-cebra-behavior-s1-f0/model.idem"}}}};
  third["models"] = json::array();
  third["seeds"] = {1};
  const auto third_path = folder().path() / "third.json";
  write_study(third_path, third);
  const auto adapts = program().run({"run", third_path.string(), "--out", adapted.string(), "--device", "cpu", "--quiet"});
  ASSERT_EQ(adapts.code, 0) << adapts.errors;
  const SavedModel from = read_model(out / "runs" / "sim-buddy-cebra-behavior-s1-f0" / "model.idem"),
                   to = read_model(adapted / "runs" / "sim-gatsby-cebra-behavior-s1-f0" / "model.idem");
  EXPECT_EQ(n_neurons_of(to), 7);
  std::size_t n_same = 0;
  for (const auto& [name, tensor] : to.parameters) n_same += tensor.values == from.parameters.at(name).values;
  EXPECT_EQ(n_same, to.parameters.size() - 2);
  third["model"]["contrastive"]["width"] = 6;
  write_study(third_path, third);
  const auto refused = program().run({"check", third_path.string()});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("has a window of 10, width 8 and 3 latents, this model 10, 6 and 3; make them alike"), std::string::npos) << refused.errors;

  const auto wrong = [&](const char* key, const json& value) {
    json changed = joint;
    changed[json::json_pointer(key)] = value;
    write_study(path, changed);
    return program().run({"check", path.string()}).errors;
  };
  EXPECT_NE(wrong("/recording", json::array({animal})).find("joint: needs two recordings or more"), std::string::npos);
  json other_labels = joint["recording"];
  other_labels[1]["simulate"] = {{"name", "continuous-label"}, {"n_times", 900}};
  joint["models"] = json::parse(R"([{"preset": "cebra-behavior", "contrastive": {"positives": "delta", "delta_sd": 0.1}}])");
  joint["windows"] = {{"left", 0}, {"right", 1}};  // its bins are each for themselves
  EXPECT_NE(wrong("/recording", other_labels).find("sim-continuous-label has the labels [u"), std::string::npos) << wrong("/recording", other_labels);
  EXPECT_NE(wrong("/models/0", {{"preset", "cebra-time"}}).find("recordings meet by labels"), std::string::npos);
  EXPECT_NE(wrong("/model/contrastive/batch", nullptr).find("a joint model draws its bins"), std::string::npos);
}

TEST_F(EndToEnd, AJointVaeOfTwoAnimalsSharesItsPriorResumesAndIsMeasuredWithoutAMap) {
  const auto out = folder().path() / "joint", path = folder().path() / "joint.json";
  json joint = small_study();
  joint["recording"] = json::array({joint["recording"], joint["recording"]});
  joint["recording"][1]["simulate"].update({{"animal", "achilles"}, {"n_neurons", 9}, {"n_times", 1200}});
  joint["models"] = json::parse(R"([{"name": "joint", "joint": true, "standardise_labels": true}, {"name": "alone", "standardise_labels": true}])");
  write_study(path, joint);
  const auto checked = program().run({"check", path.string()});
  ASSERT_EQ(checked.code, 0) << checked.errors;
  EXPECT_NE(checked.output.find("model joint: together with sim-buddy"), std::string::npos) << checked.output;
  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--threads", "2"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy + sim-achilles joint  epoch"), std::string::npos) << result.errors;

  const auto saved = [&](const std::string& run) { return read_model(out / "runs" / run / "model.idem"); };
  const SavedModel buddy = saved("sim-buddy-joint-s1-f0"), achilles = saved("sim-achilles-joint-s1-f0"), other_seed = saved("sim-buddy-joint-s7-f0");
  EXPECT_EQ(n_neurons_of(achilles), 9);
  EXPECT_EQ(buddy.scaling.mean, achilles.scaling.mean);
  EXPECT_NE(saved("sim-buddy-alone-s1-f0").scaling.mean, saved("sim-achilles-alone-s1-f0").scaling.mean);
  std::size_t n_shared = 0;
  for (const auto& [name, tensor] : buddy.parameters) {
    if (name.rfind("prior.", 0) != 0) continue;
    ++n_shared;
    EXPECT_EQ(tensor.values, achilles.parameters.at(name).values) << name;
    EXPECT_NE(tensor.values, other_seed.parameters.at(name).values) << name;
  }
  EXPECT_GE(n_shared, 4u);

  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  EXPECT_EQ(metrics.at("runs")[0].at("objective"), "encoder-elbo, one label prior for all animals");
  ASSERT_EQ(metrics.at("consistency").at("animals").size(), 4u);
  for (const json& entry : metrics.at("consistency").at("animals")) {
    const json& encoder = entry.at("splits")[0].at("encoder");
    EXPECT_TRUE(encoder.at("test_unmapped") <= encoder.at("test")) << entry.dump();  // the best map is no worse than none
    EXPECT_TRUE(encoder.at("across_position_error_cm") > 0 && encoder.at("across_position_r2") < 1) << entry.dump();
  }
  EXPECT_NE(text_of_file(out / "report.html").find("without a map, mean"), std::string::npos);

  const auto one = out / "runs" / "sim-achilles-joint-s7-f0";
  const std::string before = text_of_file(one / "model.idem");
  fs::remove_all(one);
  const auto resumed = program().run({"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "model.idem"), before);

  const auto wrong = [&](const json& model) {
    json changed = joint;
    changed["models"] = json::array({model});
    write_study(path, changed);
    return program().run({"check", path.string()}).errors;
  };
  EXPECT_NE(wrong({{"preset", "vae"}, {"joint", true}}).find("joint: recordings share the label prior"), std::string::npos);
  EXPECT_NE(wrong({{"preset", "gcl"}, {"joint", true}}).find("joint: generalized contrastive learning has nothing"), std::string::npos);
  joint["recording"] = json::array({joint["recording"][0]});
  EXPECT_NE(wrong({{"joint", true}}).find("joint: needs two recordings or more"), std::string::npos);
}

TEST_F(EndToEnd, PresetsHaveThePublishedSizesAndTheFlowsPublishedPermutations) {
  const auto path = folder().path() / "presets.json", out = folder().path() / "presets";
  json presets = {{"name", "presets"},
                  {"recording", {{"simulate", {{"name", "linear-track"}, {"animal", "achilles"}, {"n_times", 1500}}}}},
                  {"splits", {{"kind", "time"}}},
                  {"model", {{"labels", {"position", "direction"}}}},
                  {"models", {{{"preset", "conv-pi-vae"}}}}};
  write_study(path, presets);
  auto checked = program().run({"check", path.string()});
  EXPECT_NE(checked.output.find(" 3012814 parameters each"), std::string::npos) << checked.output << checked.errors;
  presets["models"][0]["preset"] = "pi-vae";
  presets["windows"] = {{"left", 0}, {"right", 1}};
  presets["smoothing"] = {{"kind", "none"}};
  presets["training"] = {{"epochs", 1}};
  presets["evaluation"] = {{"marginal_draws", 0}};
  write_study(path, presets);
  checked = program().run({"check", path.string()});
  EXPECT_NE(checked.output.find(" 53142 parameters each"), std::string::npos) << checked.output << checked.errors;

  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--threads", "2"});
  ASSERT_EQ(result.code, 0) << result.errors;
  const auto flow = read_model(out / "runs/sim-achilles-pi-vae-s1-f0/model.idem").design.flow;
  ASSERT_EQ(flow.permutations.size(), 2u);
  for (const std::uint32_t block : {0u, 1u}) EXPECT_EQ(flow.permutations[block], NumpyRandom(block).permutation(120));
}

TEST_F(EndToEnd, EveryFamilyTrainsOnTimeAloneOrOnShuffledLabelsAsAControl) {
  const auto out = folder().path() / "controls", path = folder().path() / "controls.json", again = folder().path() / "controls.npz";
  json controls = small_study();
  controls["recording"] = json::array({controls["recording"], controls["recording"]});
  controls["recording"][1]["simulate"].update({{"animal", "achilles"}, {"n_neurons", 9}, {"n_times", 1200}});
  controls["seeds"] = json::array({1});
  controls["training"]["input_noise"] = 0;
  controls["evaluation"]["marginal_draws"] = 0;
  controls["models"] = json::parse(R"([
    {"name": "cebra", "preset": "cebra-behavior", "labels": ["time"], "contrastive": {"steps": 6, "width": 8, "batch": 64}},
    {"name": "ivae", "preset": "ivae", "labels": ["time"]},
    {"name": "ivae-shuffled", "preset": "ivae", "shuffle_labels": 2},
    {"name": "pi-vae", "preset": "pi-vae", "labels": ["time"]}, {"name": "pi-vae-shuffled", "preset": "pi-vae", "shuffle_labels": 5},
    {"name": "conv-pi-vae", "preset": "conv-pi-vae", "labels": ["time"], "encoder": {"channels": 4}, "decoder": {"flow_width": 6}},
    {"name": "joint-cebra-shuffled", "preset": "cebra-behavior", "joint": true, "shuffle_labels": 4, "contrastive": {"steps": 6, "width": 8, "batch": 64}},
    {"name": "gcl", "preset": "gcl"}, {"name": "gcl-shuffled", "preset": "gcl", "shuffle_labels": 7},
    {"name": "joint", "joint": true}, {"name": "joint-shuffled", "joint": true, "shuffle_labels": 3}
  ])");
  for (auto& model : controls["models"])
    if (model.contains("joint") && !model.contains("preset")) model["standardise_labels"] = true;
  write_study(path, controls);
  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--threads", "2"});
  ASSERT_EQ(result.code, 0) << result.errors;
  for (const char* control : {"ivae-shuffled", "pi-vae-shuffled", "joint-cebra-shuffled", "gcl-shuffled", "joint-shuffled"})
    EXPECT_NE(result.errors.find(std::string("model ") + control + " is a control"), std::string::npos) << result.errors;

  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 22u);
  for (const json& entry : entries) {
    const std::string model = entry.at("model"), latents = model.starts_with("ivae") ? "posterior" : "encoder";
    EXPECT_TRUE(entry.at("metrics").at(latents).at("euclidean").at("test").at("position_error_cm").is_number()) << entry.at("run");
  }
  const auto saved = [&](const std::string& run) { return read_model(out / "runs" / (run + "-s1-f0") / "model.idem"); };
  const auto latents_of = [&](const std::string& run) { return read_npz(out / "runs" / (run + "-s1-f0") / "latents.npz"); };
  for (const std::string model : {"cebra", "ivae"}) {
    const std::string run = "sim-buddy-" + model, array = model == "ivae" ? "posterior_mean" : "encoder_mean";
    EXPECT_EQ(saved(run).preparation.labels, std::vector<std::string>{"time"}) << model;
    const auto transformed = program().run(
        {"transform", (out / "runs" / (run + "-s1-f0") / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(read_npz(again).at(array).as<float>(), latents_of(run).at(array).as<float>()) << model;
  }
  for (const std::string animal : {"sim-buddy-", "sim-achilles-"})
    for (const std::string model : {"gcl", "joint"}) {
      const auto with_true = latents_of(animal + model), shuffled = latents_of(animal + model + "-shuffled");
      EXPECT_NE(with_true.at("encoder_mean").as<float>(), shuffled.at("encoder_mean").as<float>()) << animal << model;
      EXPECT_EQ(with_true.at("labels").as<double>(), shuffled.at("labels").as<double>()) << animal << model;
    }
  // Shuffled labels are still shared by the animals through one prior, another than that of the true ones.
  const auto prior = [&](const std::string& run) { return saved(run).parameters.at("prior.mean.0.weight").values; };
  EXPECT_EQ(prior("sim-buddy-joint-shuffled"), prior("sim-achilles-joint-shuffled"));
  EXPECT_NE(prior("sim-buddy-joint-shuffled"), prior("sim-buddy-joint"));
}

TEST_F(EndToEnd, GeneralizedContrastiveLearningRunsIsCheckedAndTransformsAsItRan) {
  const auto out = folder().path() / "gcl", again = folder().path() / "gcl.npz";
  const std::vector<std::string> changes{"--set", R"(models=[{"preset":"gcl"},{"name":"time-contrastive","preset":"gcl","labels":["time"],"latents":3}])",
                                         "--set", "seeds=[1]"};
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", "training.input_noise=0"};
  std::vector<std::string> check{"check", study().string(), "--set", "training.input_noise=0"};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  // h of 12 neurons, 8 hidden units, 2 latents; two psi of a latent and 3 label features, 4 hidden units.
  const int n_parameters = 12 * 8 + 8 + 8 * 2 + 2 + 2 * (4 * 4 + 4 + 4 + 1);
  const auto checked = program().run(check);
  EXPECT_NE(checked.output.find("model gcl: generalized contrastive learning, 1 run, " + std::to_string(n_parameters) + " parameters each, 2 epochs"),
            std::string::npos)
      << checked.output << checked.errors;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("% told right"), std::string::npos) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 2u);
  for (const json& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number());
    EXPECT_TRUE(entry.at("identifiability").at("encoder").at("true_latent").at("strong_mcc").is_number());
    EXPECT_FALSE(entry.at("metrics").contains("posterior") || entry.contains("collapse"));
    EXPECT_EQ(entry.at("training").at("epochs"), 2);
    EXPECT_EQ(entry.at("training").at("kept_valid_loss"), entry.at("training").at("best_valid_loss"));
    const auto transformed =
        program().run({"transform", (out / "runs" / name / "model.idem").string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(read_npz(again).at("encoder_mean").as<float>(), read_npz(out / "runs" / name / "latents.npz").at("encoder_mean").as<float>()) << name;
  }
  EXPECT_NE(text_of_file(out / "report.html").find("generalized contrastive learning"), std::string::npos);
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"accuracy\""), std::string::npos);
  EXPECT_NE(program().run({"check", study().string(), "--set", "models=[{\"preset\":\"gcl\"}]"}).errors.find("training.input_noise"), std::string::npos);
}

TEST_F(EndToEnd, ASigmoidDecoderOnCountsWarnsThatItCannotReachThem) {
  const auto out = folder().path() / "sigmoid";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set",
                                     "model.decoder.output=sigmoid", "--set", "models=[]", "--set", "seeds=[1]", "--set", "training.epochs=1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.errors.find("idem: warning: model encoder-elbo: decoder.output sigmoid stays below 1, but "), 0u) << result.errors;
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"event\":\"warning\""), std::string::npos);
}

TEST_F(EndToEnd, RunsThatDivergeAreTellingFailuresAndTheRestStillHasItsReport) {
  const auto out = folder().path() / "diverged";
  // At this rate an exponential of unbounded samples overflows in every batch; a softplus of bounded ones does not.
  const std::vector<std::string> arguments{
      "run", study().string(), "--device", "cpu", "--quiet", "--set", "training.learning_rate=300", "--set", "seeds=[1]", "--set",
      "models=[{\"name\":\"sane\"},{\"name\":\"wild\",\"decoder\":{\"output\":\"exponential\"},\"log_variance\":{\"bound\":\"none\"}}]"};
  auto some = arguments;
  some.insert(some.end(), {"--out", out.string()});
  const auto result = program().run(some);
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy-wild-s1-f0 FAILED: its validation loss was never finite; it is in no result; lower training.learning_rate"),
            std::string::npos)
      << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy-sane-s1-f0: its validation loss ("), std::string::npos) << result.errors;
  EXPECT_NE(result.errors.find("1 of 2 runs FAILED"), std::string::npos) << result.errors;
  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  EXPECT_FALSE(metrics.at("runs")[0].contains("failed"));
  EXPECT_NE(text_of_file(out / "report.html").find("<span class=\"tag diverged\">diverged</span>"), std::string::npos);
  EXPECT_EQ(metrics.at("runs")[1].at("failed"), true);
  EXPECT_EQ(metrics.at("runs")[1].at("reason"), "its validation loss was never finite");
  EXPECT_FALSE(metrics.at("runs")[1].contains("metrics"));
  EXPECT_FALSE(fs::exists(out / "runs" / "sim-buddy-wild-s1-f0"));
  EXPECT_NE(text_of_file(out / "report.html").find("1 of 2 runs failed"), std::string::npos);
  some.push_back("--resume");
  EXPECT_EQ(text_of_file(out / "log.jsonl").find("0 of 2 runs to train"), std::string::npos);
  EXPECT_EQ(program().run(some).code, 0);
  EXPECT_NE(text_of_file(out / "log.jsonl").find("0 of 2 runs to train"), std::string::npos);

  auto all = arguments;
  all.insert(all.end(), {"--out", (folder().path() / "all").string(), "--set", "training.learning_rate=1e9"});
  const auto none = program().run(all);
  EXPECT_EQ(none.code, 1) << none.errors;
  EXPECT_NE(none.errors.find("2 of 2 runs FAILED"), std::string::npos) << none.errors;
  EXPECT_TRUE(fs::exists(folder().path() / "all" / "report.html"));
}

TEST_F(EndToEnd, WindowsCutAfterJoiningASplitRunToo) {
  const auto out = folder().path() / "joined";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set",
                                     "windows.edges=clamped-concatenated", "--set", "models=[]", "--set", "seeds=[1]", "--set", "training.epochs=1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(read_npz(out / "runs" / kRuns[0] / "latents.npz").at("encoder_mean").shape, (std::vector<std::int64_t>{1500, 2}));
  const auto transformed = program().run({"transform", (out / "runs" / kRuns[0] / "model.idem").string(), study().string(), "--threads", "1"});
  EXPECT_NE(transformed.output.find("windows.edges: segment-clamped in place of the model's clamped-concatenated"), std::string::npos)
      << transformed.output << transformed.errors;
}

}  // namespace
}  // namespace idem
