// A study that was broken off or changed, and goes on.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "host/formats/npz.h"
#include "host/profile/profile.h"
#include "host/recordings/recording_npz.h"
#include "host/recordings/simulators.h"
#include "host/study/run_study.h"
#include "host/support/run_log.h"
#include "tests/program/end_to_end.h"

namespace idem {
namespace {

using nlohmann::json;

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
  std::string damaged = text_of_file(copy / "runs" / kRuns[1] / "model.safetensors");
  damaged.resize(damaged.size() / 2);
  write_file_bytes(copy / "runs" / kRuns[1] / "model.safetensors", damaged);
  fs::remove(copy / "runs" / kRuns[1] / "latents.npz");
  const auto untouched = fs::last_write_time(copy / "runs" / kRuns[0] / "model.safetensors");
  const auto result = program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("1 of 4 runs to train"), std::string::npos) << result.errors;
  EXPECT_TRUE(text_of_file(copy / "runs" / kRuns[1] / "latents.npz") == wanted);
  EXPECT_EQ(fs::last_write_time(copy / "runs" / kRuns[0] / "model.safetensors"), untouched);
  EXPECT_EQ(json::parse(text_of_file(copy / "metrics.json")).at("runs").size(), 4u);
}

// The folder of a program before models were safetensors: whole models are kept, a damaged one gives way to a new one.
TEST_F(EndToEnd, ResumeTakesModelsOfAnOlderFormat) {
  const auto copy = folder().path() / "older";
  fs::copy(first(), copy, fs::copy_options::recursive);
  const std::string old = text_of_file(IDEM_SOURCE_DIR "/tests/golden/models/vae_v1.idem");
  for (const auto& [run, bytes] : {std::pair{kRuns[0], old}, {kRuns[1], old.substr(0, old.size() - 9)}}) {
    fs::remove(copy / "runs" / run / "model.safetensors");
    write_file_bytes(copy / "runs" / run / "model.idem", bytes);
  }
  const auto result = program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("1 of 4 runs to train"), std::string::npos) << result.errors;
  EXPECT_EQ(text_of_file(copy / "runs" / kRuns[0] / "model.idem"), old);
  EXPECT_FALSE(fs::exists(copy / "runs" / kRuns[0] / "model.safetensors"));
  EXPECT_FALSE(fs::exists(copy / "runs" / kRuns[1] / "model.idem"));
  EXPECT_EQ(text_of_file(copy / "runs" / kRuns[1] / "model.safetensors"),
            text_of_file(first() / "runs" / kRuns[1] / "model.safetensors"));
}

TEST_F(EndToEnd, ResumeWithAnotherConfigurationSaysWhatDiffers) {
  const auto result =
      program().run({"run", study().string(), "--out", first().string(), "--resume", "--set", "training.batch=50"});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.errors.find("training.batch differs"), std::string::npos) << result.errors;
}

TEST_F(EndToEnd, ControlCEndsAfterTheEpochAndResumeFinishesTheRest) {
  const auto out = folder().path() / "interrupted";
  const std::vector<std::string> arguments{"run",      study().string(),
                                           "--out",    out.string(),
                                           "--device", "cpu",
                                           "--set",    "training.epochs=100000",
                                           "--set",    "models=[{\"objective\":{\"name\":\"encoder-elbo\"}}]"};
  const auto result = program().run_until(arguments, "epoch 1/", SIGINT);
  EXPECT_EQ(result.code, 5) << result.errors;
  EXPECT_NE(
      result.errors.find(
          "interrupted: 0 of 2 runs are finished and kept, what was still training is lost; go on with: idem run"),
      std::string::npos)
      << result.errors;
  EXPECT_TRUE(json::parse(text_of_file(out / "metrics.json")).at("runs").empty());
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"event\":\"interrupted\""), std::string::npos);
  // The same folder takes the rest of the study.
  const auto resumed =
      program().run_until({"run", (out / "config.json").string(), "--out", out.string(), "--resume", "--device", "cpu"},
                          "epoch 1/", SIGTERM);
  EXPECT_EQ(resumed.code, 5) << resumed.errors;
}

TEST_F(EndToEnd, FinishedRunsOfAnInterruptedStudyAreKeptAndResumeCompletesItToTheSameBytes) {
  const auto out = folder().path() / "half";
  RunOptions options{.out = out, .device = "cpu", .n_threads = 2, .quiet = true, .profile = true};
  // As soon as the second model has logged an epoch.
  options.is_interrupted = [&] {
    return text_of_file(out / "log.jsonl").find("\"run\":\"" + kRuns[2] + "\"") != std::string::npos;
  };
  EXPECT_EQ(static_cast<int>(run_study(load_study(study().string()), options)), 5);
  const json half = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(half.at("runs").size(), 2u);
  EXPECT_EQ(half.at("runs")[0].at("run"), kRuns[0]);
  EXPECT_FALSE(read_profile(out).steps.empty());  // of what ran; it changes no byte of that
  EXPECT_FALSE(fs::exists(out / "runs" / kRuns[2]));
  const auto kept = fs::last_write_time(out / "runs" / kRuns[1] / "model.safetensors");
  ASSERT_EQ(program().run({"report", out.string()}).code, 0);
  EXPECT_NE(text_of_file(out / "report.html").find("<b>2 of 4 runs are finished</b>"), std::string::npos);
  write_file_bytes(out / "log.jsonl",
                   text_of_file(out / "log.jsonl") + R"({"event":"epo)");  // as a killed program leaves it

  const auto resumed = program().run({"run", study().string(), "--out", out.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("2 of 4 runs to train"), std::string::npos) << resumed.errors;
  EXPECT_EQ(fs::last_write_time(out / "runs" / kRuns[1] / "model.safetensors"), kept);
  for (const auto& run : kRuns)
    for (const char* file : {"latents.npz", "model.safetensors"})
      EXPECT_TRUE(text_of_file(out / "runs" / run / file) == text_of_file(first() / "runs" / run / file))
          << run << file;
  EXPECT_EQ(text_of_file(out / "report.html").find("runs are finished</b>"), std::string::npos);
}

TEST_F(EndToEnd, AFolderThatAnotherProgramWritesToIsLeftAlone) {
  const auto copy = folder().path() / "shared";
  fs::copy(first(), copy, fs::copy_options::recursive);
  const std::string log = text_of_file(copy / "log.jsonl");
  const auto resume = [&] {
    return program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"});
  };
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
  EXPECT_NE(result.errors.find("warning: 1 of the 4 runs kept were trained on some GPU by idem "), std::string::npos)
      << result.errors;
  EXPECT_NE(result.errors.find("warning: 1 of the 4 runs kept were trained on cpu by idem 0.0.1, "), std::string::npos)
      << result.errors;
  metrics = json::parse(text_of_file(copy / "metrics.json"));
  EXPECT_EQ(metrics.at("device"), "cpu and some GPU");
  EXPECT_EQ(metrics.at("runs")[0].at("device"), "some GPU");
  EXPECT_NE(metrics.at("version").get<std::string>().find("0.0.1 and "), std::string::npos);

  // A file whose counts change under the same configuration.
  const auto file = folder().path() / "track.npz", changed = folder().path() / "changed";
  const auto simulated = [&](std::uint64_t seed) {
    write_recording_npz(simulate({.seed = seed, .n_times = 1500, .n_neurons = 12}), file);
  };
  simulated(1);
  std::vector<std::string> run{"run",
                               study().string(),
                               "--out",
                               changed.string(),
                               "--device",
                               "cpu",
                               "--quiet",
                               "--set",
                               "recording={\"file\":\"" + file.string() + "\"}",
                               "--set",
                               "models=[]",
                               "--set",
                               "seeds=[1]"};
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

}  // namespace
}  // namespace idem
