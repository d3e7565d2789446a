// What the program says of a study before it runs, and of mistakes in one.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
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

TEST_F(EndToEnd, CheckSaysWhatWouldRunAndWritesNothing) {
  const auto result = program().run({"check", study().string()});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.output.find("small: 4 runs\nsim-buddy: 1500 bins of 25 ms, 12 neurons"), 0u) << result.output;
  EXPECT_NE(result.output.find("split 0: 900 train, 300 valid, 300 test bins"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("model ci-ivae-paper: ci-ivae/paper, 2 runs together, "), std::string::npos)
      << result.output;
  EXPECT_NE(result.output.find("splits: time, 0.6 / 0.2 / 0.2\n"), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("the windows around 18 bins read across the border"), std::string::npos)
      << result.output;
  EXPECT_NE(text_of_file(first() / "report.html").find("sim-buddy: the windows around 18 bins read across the border"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder().path() / "out"));
}

TEST_F(EndToEnd, CheckWarnsOfWhatIsAllowedAndHardlyMeant) {
  const auto result = program().run({"check", study().string(), "--set", "training.batch=5000", "--set",
                                     "training.patience=100", "--set", "model.latents=13"});
  EXPECT_EQ(result.code, 0) << result.errors;
  for (const char* warning : {"training.batch 5000 is more than the 900 training bins",
                              "training.patience 100 is no less than training.epochs", "13 latents of 12 neurons"})
    EXPECT_NE(result.output.find(warning), std::string::npos) << result.output;
}

TEST_F(EndToEnd, DataInfoAnnouncesTheSplitThatARunMakes) {
  const auto config = folder().path() / "split.json";
  const auto split_lines = [](const std::string& text) {
    std::string lines;
    std::stringstream stream(text);
    for (std::string line; std::getline(stream, line);)
      if (const auto at = line.find("split"); at != std::string::npos && line.find("windows") == std::string::npos) {
        line = line.substr(at);
        line.erase(std::unique(line.begin(), line.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
                   line.end());
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
    const auto info = program().run({"data", "info", config.string()}),
               check = program().run({"check", config.string()});
    ASSERT_EQ(info.code, 0) << info.errors;
    ASSERT_EQ(check.code, 0) << check.errors;
    for (const std::string line : {"split 0 ", "splits "})
      EXPECT_NE(split_lines(info.output).find(line), std::string::npos) << info.output;
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
            "warning: --set model.latents: changes nothing of model encoder-elbo, which has its own value, 3; use "
            "--set models.0.latents=4");
  EXPECT_EQ(warned("models.0.latents=4"), "");
  EXPECT_EQ(warned("model.latents=3"), "") << "it is 3 all the same";
  EXPECT_EQ(warned("model.encoder.widths=[5]"), "");
  EXPECT_EQ(warned("training.learning_rate=0.1"),
            "warning: --set training.learning_rate: changes nothing of model ci-ivae-paper, which has its own value, "
            "0.01; use --set "
            "models.1.training.learning_rate=0.1");
  EXPECT_EQ(warned("training.epochs=3"), "");
  EXPECT_EQ(warned("model={\"latents\":5,\"encoder\":{\"widths\":[7]}}"),
            "warning: --set model.latents: changes nothing of model encoder-elbo, which has its own value, 3; use "
            "--set models.0.latents=5");

  study["models"] = json::array();
  study["model"] = {{"preset", "pi-vae"}};
  write_study(config, study);
  const std::string of_preset = warned("training.learning_rate=0.1");
  EXPECT_NE(of_preset.find("use --set model.training.learning_rate=0.1"), std::string::npos) << of_preset;
  EXPECT_EQ(warned("model.training.learning_rate=0.1"), "");
}

TEST_F(EndToEnd, AWholeNumberThatThirtyTwoBitsDoNotHoldIsRefused) {
  const auto check = program().run({"check", study().string(), "--set", "recording.simulate.n_times=4294967596"});
  EXPECT_EQ(check.code, 2);
  EXPECT_NE(check.errors.find("recording.simulate.n_times: 4294967596 is too large"), std::string::npos)
      << check.errors;
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
  expect({"run", config, "--out", out, "--set", "training.epoch=3"}, 2,
         "training.epoch: unknown key; did you mean \"epochs\"?");
  expect({"run", config, "--out", out, "--set", "windows.left=5000"}, 3, "longer than the segment of bins");
  expect({"run", config, "--out", out, "--set", "model.labels=[\"speed\"]"}, 2, "labels there: position, direction");
  expect({"run", config, "--out", out, "--set", "recording={\"file\":\"nowhere.npz\"}"}, 3, "nowhere.npz");
  expect({"run", config, "--out", out, "--device", "tpu"}, 4, "unknown device \"tpu\"");
  expect({"run", config, "--out", config}, 2, "is a file");
  expect({"transform", config, config}, 3, "is not a model of idem");
  expect({"transform", "nope.idem", config}, 3,
         "nope.idem: no such model; name that of a run, as out/STUDY/runs/RUN/model.safetensors");
  expect({"report", out}, 3, "not a folder");
  expect({"parity", config, "--out", out}, 3, "small.json");
  const std::string no_file = "nofile.npz: no such file; check the path (a relative one starts at the current folder)";
  expect({"parity", "nofile.npz", "--out", out}, 3, no_file);
  expect({"data", "info", "nofile.npz"}, 3, no_file);
  const std::string before = text_of_file(config);
  expect({"parity", config, "--out", config}, 2, "small.json itself; choose another file");
  EXPECT_EQ(text_of_file(config), before);
  expect({"simulate", "linear-track", "--out", config}, 2,
         "small.json: holds something that idem simulate did not write; choose another file, or remove it");
  EXPECT_EQ(text_of_file(config), before);
  expect({"run", config, "--recording", "nofile.npz"}, 3, "--recording " + no_file);
  expect({"report", folder().path().string()}, 3, "is no folder that idem run wrote: it has no config.json");
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

TEST_F(EndToEnd, ASigmoidDecoderOnCountsWarnsThatItCannotReachThem) {
  const auto out = folder().path() / "sigmoid";
  const auto result = program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet",
                                     "--set", "model.decoder.output=sigmoid", "--set", "models=[]", "--set",
                                     "seeds=[1]", "--set", "training.epochs=1"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_EQ(result.errors.find("idem: warning: model encoder-elbo: decoder.output sigmoid stays below 1, but "), 0u)
      << result.errors;
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"event\":\"warning\""), std::string::npos);
}

}  // namespace
}  // namespace idem
