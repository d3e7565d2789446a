// Drives the built program through a small study, as a user would.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "host/formats/npz.h"
#include "host/recordings/simulators.h"
#include "tests/program/end_to_end.h"

namespace idem {
namespace {

using nlohmann::json;

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
          for (const char* metric :
               {"position_error_cm", "position_r2", "direction_r2", "total_r2", "direction_accuracy"})
            EXPECT_TRUE(run.at("metrics").at(latents).at(decoder).at(part).at(metric).is_number())
                << latents << decoder << part << metric;
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
    EXPECT_TRUE(fs::exists(first() / "runs" / kRuns[i] / "model.safetensors"));
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
    EXPECT_EQ(event.at("valid").at("reconstruction_posterior").is_null(),
              event.at("run").get<std::string>().find("elbo") != std::string::npos);
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
  EXPECT_EQ(arrays.at("label_names").texts(),
            (std::vector<std::string>{"position", "direction=right", "direction=left"}));
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
  const auto result = program().run({"run", (first() / "config.json").string(), "--out", again.string(), "--device",
                                     "cpu", "--threads", "1", "--quiet"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(text_of_file(again / "config.json"), text_of_file(first() / "config.json"));
  for (const auto& run : kRuns) {
    EXPECT_TRUE(text_of_file(again / "runs" / run / "latents.npz") ==
                text_of_file(first() / "runs" / run / "latents.npz"))
        << run;
    EXPECT_TRUE(text_of_file(again / "runs" / run / "model.safetensors") ==
                text_of_file(first() / "runs" / run / "model.safetensors"))
        << run;
  }
}

TEST_F(EndToEnd, ARunAloneEqualsTheSameRunInAFleet) {
  const auto alone = folder().path() / "alone";
  const auto result =
      program().run({"run", study().string(), "--out", alone.string(), "--device", "cpu", "--quiet", "--set",
                     "seeds=[7]", "--set", "models=[{\"objective\":{\"name\":\"ci-ivae/paper\"}}]"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_TRUE(text_of_file(alone / "runs" / kRuns[3] / "latents.npz") ==
              text_of_file(first() / "runs" / kRuns[3] / "latents.npz"));
}

TEST_F(EndToEnd, TransformGivesTheLatentsThatTheRunWrote) {
  const auto out = folder().path() / "again.npz";
  const auto result = program().run({"transform", (first() / "runs" / kRuns[2] / "model.safetensors").string(),
                                     study().string(), "--out", out.string(), "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.output.find("posterior_mean, with labels"), std::string::npos) << result.output;
  const auto before = read_npz(first() / "runs" / kRuns[2] / "latents.npz"), after = read_npz(out);
  for (const char* name : {"encoder_mean", "posterior_mean"})
    EXPECT_EQ(after.at(name).as<float>(), before.at(name).as<float>()) << name;
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
  const std::string model = (first() / "runs" / kRuns[0] / "model.safetensors").string();
  const auto result = program().run({"transform", model, recording.string(), "--out", out.string(), "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.output.find("the recording lacks position, direction"), std::string::npos) << result.output;
  EXPECT_FALSE(read_npz(out).count("posterior_mean"));
  EXPECT_EQ(program().run({"transform", model, recording.string(), "--out", out.string(), "--device", "cpu"}).code, 0)
      << "over what the command wrote itself";

  // Files that the configuration names, and others, are not the command's to replace.
  const std::string before = text_of_file(counts);
  const auto over_counts = program().run({"transform", model, recording.string(), "--out", counts.string()});
  EXPECT_EQ(over_counts.code, 2);
  EXPECT_NE(over_counts.errors.find("counts.npy itself; choose another file"), std::string::npos) << over_counts.errors;
  EXPECT_EQ(text_of_file(counts), before);
  const auto mine = folder().path() / "mine.txt";
  write_file_bytes(mine, "mine");
  const auto over_mine = program().run({"transform", model, recording.string(), "--out", mine.string()});
  EXPECT_EQ(over_mine.code, 2);
  EXPECT_NE(over_mine.errors.find("holds something that idem transform did not write"), std::string::npos)
      << over_mine.errors;
  EXPECT_EQ(text_of_file(mine), "mine");

  write_file_bytes(recording, R"({"recording": {"counts": "counts.npy", "bin_width_ms": 50, "subject": "other"}})");
  const auto other_width = program().run({"transform", model, recording.string(), "--out", out.string()});
  EXPECT_EQ(other_width.code, 3);
  EXPECT_NE(other_width.errors.find("has bins of 50 ms"), std::string::npos) << other_width.errors;
  write_npy(counts, NumpyArray::of<float>({120, 10}, zeros_and_ones));
  const auto other_neurons = program().run({"transform", model, recording.string(), "--out", out.string()});
  EXPECT_EQ(other_neurons.code, 3);
  EXPECT_NE(other_neurons.errors.find("has 10 neurons"), std::string::npos) << other_neurons.errors;
}

TEST_F(EndToEnd, ABatchLargerThanTheTrainingBinsTrainsAsOneOfThemAll) {
  const auto large = folder().path() / "large", exact = folder().path() / "exact";
  for (const auto& [out, batch] : {std::pair{large, "5000"}, {exact, "900"}})
    ASSERT_EQ(program()
                  .run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set",
                        "seeds=[1]", "--set", std::string("training.batch=") + batch})
                  .code,
              0);
  for (const auto& run : fs::directory_iterator(large / "runs"))
    EXPECT_EQ(text_of_file(run.path() / "latents.npz"),
              text_of_file(exact / "runs" / run.path().filename() / "latents.npz"));
}

TEST_F(EndToEnd, ARunThatWasStillLearningWhenItEndedSaysSo) {
  const auto run = [&](const char* out, const char* epochs) {
    return program().run({"run", study().string(), "--out", (folder().path() / out).string(), "--device", "cpu",
                          "--quiet", "--set", "seeds=[1]", "--set", "training.learning_rate=0.0003", "--set",
                          std::string("training.epochs=") + epochs});
  };
  const auto short_run = run("short", "4");
  ASSERT_EQ(short_run.code, 0) << short_run.errors;
  EXPECT_NE(short_run.errors.find("still falling when training ended: raise training.epochs"), std::string::npos)
      << short_run.errors;
}

TEST_F(EndToEnd, TrialsSplitWhereTheRecordingHasADirectionAndTheSplitSaysSo) {
  const auto automatic = program().run(
      {"check", study().string(), "--set", "splits={}", "--set", "recording.simulate={\"animal\":\"buddy\"}"});
  EXPECT_EQ(automatic.code, 0) << automatic.errors;
  EXPECT_NE(
      automatic.output.find("splits: three-fold trials, 28 round trips of direction (chosen by splits.kind \"auto\")"),
      std::string::npos)
      << automatic.output;
  const auto too_short = program().run({"check", study().string(), "--set", "splits={}"});
  EXPECT_NE(too_short.output.find("splits: time, 0.6 / 0.2 / 0.2 (chosen by splits.kind \"auto\": "), std::string::npos)
      << too_short.output;
}

TEST_F(EndToEnd, AResultIsWrittenThroughALinkAndNeverOverItsOwnSource) {
  const auto model = first() / "runs" / kRuns[0] / "model.safetensors", copy = folder().path() / "copy.idem",
             link = folder().path() / "link.npz";
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

TEST_F(EndToEnd, TheSchemaLiesBesideTheConfigurationOfARun) {
  const json config = json::parse(text_of_file(first() / "config.json"));
  EXPECT_EQ(config.at("$schema"), "./idem.schema.json");
  EXPECT_EQ(text_of_file(first() / "idem.schema.json"),
            text_of_file(fs::path(IDEM_SOURCE_DIR) / "configs/idem.schema.json"));
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

TEST_F(EndToEnd, RunsThatDivergeAreTellingFailuresAndTheRestStillHasItsReport) {
  const auto out = folder().path() / "diverged";
  // At this rate an exponential of unbounded samples overflows in every batch; a softplus of bounded ones does not.
  const std::vector<std::string> arguments{"run",
                                           study().string(),
                                           "--device",
                                           "cpu",
                                           "--quiet",
                                           "--set",
                                           "training.learning_rate=300",
                                           "--set",
                                           "seeds=[1]",
                                           "--set",
                                           "models=[{\"name\":\"sane\"},{\"name\":\"wild\",\"decoder\":{\"output\":"
                                           "\"exponential\"},\"log_variance\":{\"bound\":\"none\"}}]"};
  auto some = arguments;
  some.insert(some.end(), {"--out", out.string()});
  const auto result = program().run(some);
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy-wild-s1-f0 FAILED: its validation loss was never finite; it is in no result; "
                               "lower training.learning_rate"),
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
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet",
                                     "--set", "windows.edges=clamped-concatenated", "--set", "models=[]", "--set",
                                     "seeds=[1]", "--set", "training.epochs=1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(read_npz(out / "runs" / kRuns[0] / "latents.npz").at("encoder_mean").shape,
            (std::vector<std::int64_t>{1500, 2}));
  const auto transformed = program().run(
      {"transform", (out / "runs" / kRuns[0] / "model.safetensors").string(), study().string(), "--threads", "1"});
  EXPECT_NE(transformed.output.find("windows.edges: segment-clamped in place of the model's clamped-concatenated"),
            std::string::npos)
      << transformed.output << transformed.errors;
}

}  // namespace
}  // namespace idem
