// Every kind of variational autoencoder through the program: run, check, transform.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "host/families/model_file.h"
#include "host/formats/npz.h"
#include "host/recordings/simulators.h"
#include "host/support/numpy_random.h"
#include "tests/program/end_to_end.h"
#include "tests/support/saved_models.h"

namespace idem {
namespace {

using nlohmann::json;

TEST_F(EndToEnd, ATemporalConvolutionRunsIsCheckedAndTransformsAsItRan) {
  const auto out = folder().path() / "convolution", again = folder().path() / "again.npz";
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet"};
  const std::vector<std::string> changes{"--set", "model.encoder={\"kind\":\"temporal-convolution\",\"channels\":6}",
                                         "--set", "seeds=[1]"};
  run.insert(run.end(), changes.begin(), changes.end());
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entry = json::parse(text_of_file(out / "metrics.json")).at("runs")[1];
  EXPECT_EQ(entry.at("run"), kRuns[2]);
  EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number());
  // Encoders of 12 neurons, 6 channels, 2 latents; priors of 3 label features; a decoder.
  const int n_parameters = 2 * (2 * 12 * 6 + 6 + 3 * (3 * 6 * 6 + 6) + 3 * 6 * 2 + 2) + 2 * (3 * 4 + 4 + 4 * 2 + 2) +
                           (2 * 6 + 6 + 6 * 12 + 12);
  EXPECT_EQ(entry.at("training").at("parameters"), n_parameters);
  std::vector<std::string> check{"check", study().string()};
  check.insert(check.end(), changes.begin(), changes.end());
  EXPECT_NE(program().run(check).output.find(std::to_string(n_parameters) + " parameters each"), std::string::npos);

  const auto transformed = program().run({"transform", (out / "runs" / kRuns[2] / "model.safetensors").string(),
                                          study().string(), "--out", again.string(), "--device", "cpu"});
  ASSERT_EQ(transformed.code, 0) << transformed.errors;
  const auto before = read_npz(out / "runs" / kRuns[2] / "latents.npz"), after = read_npz(again);
  for (const char* name : {"encoder_mean", "posterior_mean"})
    EXPECT_EQ(after.at(name).as<float>(), before.at(name).as<float>()) << name;
}

TEST_F(EndToEnd, APiVaeOfWindowsAndOfOneLabelRunIsCheckedAndTransformsAsItRan) {
  const auto out = folder().path() / "pi-vae", again = folder().path() / "pi-vae.npz";
  const std::vector<std::string> changes{
      "--set",
      R"(models=[{"preset":"conv-pi-vae"},{"preset":"pi-vae","labels":["direction"],"prior":{"kind":"embedding"},"decoder":{"tie_couplings":true}}])",
      "--set", "seeds=[1]"};
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet"},
      check{"check", study().string()};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  ASSERT_EQ(program().run(check).code, 0) << program().run(check).errors;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  for (const auto& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number())
        << name;
    const auto transformed = program().run({"transform", (out / "runs" / name / "model.safetensors").string(),
                                            study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    const auto before = read_npz(out / "runs" / name / "latents.npz"), after = read_npz(again);
    for (const char* array : {"encoder_mean", "posterior_mean"})
      EXPECT_EQ(after.at(array).as<float>(), before.at(array).as<float>()) << name;
  }
  const auto refused = program().run({"check", study().string(), "--set", "model.prior.kind=embedding"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("an embedding is of one categorical label"), std::string::npos) << refused.errors;
  EXPECT_NE(program()
                .run({"check", study().string(), "--set", "model.decoder.kind=gin", "--set", "model.latents=12"})
                .errors.find("more outputs than latents"),
            std::string::npos);
}

TEST_F(EndToEnd, AnMlpMayExplainTheWholeWindow) {
  const auto out = folder().path() / "window", again = folder().path() / "window.npz";
  const auto result =
      program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--quiet", "--set", "seeds=[1]",
                     "--set", R"(model.observation={"kind":"poisson","target":"window"})"});
  ASSERT_EQ(result.code, 0) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 2u);
  for (const auto& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_EQ(entry.at("target"), "window") << name;
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number())
        << name;
    EXPECT_TRUE(entry.at("metrics").at("marginal").at("test").at("position_error_cm").is_number()) << name;
    // The decoder's last layer: 10 bins of 12 neurons.
    EXPECT_EQ(read_model(out / "runs" / name / "model.safetensors").parameters.at("decoder.1.bias").values.size(), 120u)
        << name;
    const auto transformed = program().run({"transform", (out / "runs" / name / "model.safetensors").string(),
                                            study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    const auto before = read_npz(out / "runs" / name / "latents.npz"), after = read_npz(again);
    for (const char* array : {"encoder_mean", "posterior_mean"})
      EXPECT_EQ(after.at(array).as<float>(), before.at(array).as<float>()) << name;
  }
}

TEST_F(EndToEnd, ModelsWithoutLabelsWithTimeAloneAndWithShuffledLabelsRunAndTransform) {
  const auto out = folder().path() / "labels", again = folder().path() / "labels.npz";
  const std::string models =
      R"(models=[{"preset":"vae"},{"preset":"pi-vae-without-labels"},{"name":"time","labels":["time"]},{"name":"shuffled","shuffle_labels":7},{"name":"true"},{"name":"all-and-time","labels":["position","direction","time"]}])";
  const auto result = program().run(
      {"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", models, "--set", "seeds=[1]"});
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
    const auto transformed = program().run({"transform", (out / "runs" / name / "model.safetensors").string(),
                                            study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(transformed.output.find("trained on shuffled labels") != std::string::npos, model == "shuffled")
        << transformed.output;
    EXPECT_EQ(transformed.output.find("with labels") != std::string::npos, sees_labels) << transformed.output;
    if (model == "shuffled") continue;  // its posterior was of other labels than the recording's
    for (const char* array : {"encoder_mean", "posterior_mean"})
      EXPECT_EQ(read_npz(again).at(array).as<float>(), latents[model].at(array).as<float>()) << name << " " << array;
  }
  EXPECT_NE(latents.at("shuffled").at("posterior_mean").as<float>(),
            latents.at("true").at("posterior_mean").as<float>());
  EXPECT_EQ(latents.at("shuffled").at("labels").as<double>(), latents.at("true").at("labels").as<double>());
  EXPECT_NE(text_of_file(out / "report.html")
                .find("vae and pi-vae-without-labels see no label, so they have no latents with labels."),
            std::string::npos);

  const auto refused =
      program().run({"check", study().string(), "--set", "model.preset=vae", "--set", R"(model.labels=["position"])"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("sees no label"), std::string::npos) << refused.errors;
}

TEST_F(EndToEnd, AnEncoderThatSeesLabelsHasNoLabelFreeLatentsAnywhere) {
  const auto out = folder().path() / "joined", again = folder().path() / "joined.npz";
  const std::string models = R"(models=[{"preset":"ivae"},{"name":"other"}])";
  const auto result =
      program().run({"run", study().string(), "--out", out.string(), "--device", "cpu", "--set", models});
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
    const auto transformed = program().run({"transform", (out / "runs" / name / "model.safetensors").string(),
                                            study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(transformed.output.find("label-free"), std::string::npos) << transformed.output;
    EXPECT_EQ(read_npz(again).at("posterior_mean").as<float>(), latents.at("posterior_mean").as<float>());
    EXPECT_FALSE(read_npz(again).count("encoder_mean"));
  }
  for (const auto& entry : metrics.at("consistency").at("runs"))
    EXPECT_EQ(entry.contains("encoder"), entry.at("model") != "ivae");
  EXPECT_NE(text_of_file(out / "report.html").find("<b>ivae</b> has no label-free latents"), std::string::npos);

  const auto unlabelled = folder().path() / "unlabelled.json";
  write_npy(folder().path() / "counts.npy", NumpyArray::of<float>({100, 12}, std::vector<float>(1200, 1)));
  write_file_bytes(unlabelled, R"({"recording": {"counts": "counts.npy", "bin_width_ms": 25, "subject": "other"}})");
  const auto refused =
      program().run({"transform", (out / "runs" / "sim-buddy-ivae-s1-f0" / "model.safetensors").string(),
                     unlabelled.string(), "--out", again.string()});
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.errors.find("other: lacks position, direction, which the encoder of"), std::string::npos)
      << refused.errors;
}

TEST_F(EndToEnd, AJointVaeOfTwoAnimalsSharesItsPriorResumesAndIsMeasuredWithoutAMap) {
  const auto out = folder().path() / "joint", path = folder().path() / "joint.json";
  json joint = small_study();
  joint["recording"] = json::array({joint["recording"], joint["recording"]});
  joint["recording"][1]["simulate"].update({{"animal", "achilles"}, {"n_neurons", 9}, {"n_times", 1200}});
  joint["models"] = json::parse(
      R"([{"name": "joint", "joint": true, "standardise_labels": true}, {"name": "alone", "standardise_labels": true}])");
  write_study(path, joint);
  const auto checked = program().run({"check", path.string()});
  ASSERT_EQ(checked.code, 0) << checked.errors;
  EXPECT_NE(checked.output.find("model joint: together with sim-buddy"), std::string::npos) << checked.output;
  const auto result = program().run({"run", path.string(), "--out", out.string(), "--device", "cpu", "--threads", "2"});
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("sim-buddy + sim-achilles joint  epoch"), std::string::npos) << result.errors;

  const auto saved = [&](const std::string& run) { return read_model(out / "runs" / run / "model.safetensors"); };
  const SavedModel buddy = saved("sim-buddy-joint-s1-f0"), achilles = saved("sim-achilles-joint-s1-f0"),
                   other_seed = saved("sim-buddy-joint-s7-f0");
  EXPECT_EQ(achilles.design->n_neurons(), 9);
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
    EXPECT_TRUE(encoder.at("test_unmapped") <= encoder.at("test"))
        << entry.dump();  // the best map is no worse than none
    EXPECT_TRUE(encoder.at("across_position_error_cm") > 0 && encoder.at("across_position_r2") < 1) << entry.dump();
  }
  EXPECT_NE(text_of_file(out / "report.html").find("without a map, mean"), std::string::npos);

  const auto one = out / "runs" / "sim-achilles-joint-s7-f0";
  const std::string before = text_of_file(one / "model.safetensors");
  fs::remove_all(one);
  const auto resumed = program().run(
      {"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "model.safetensors"), before);

  const auto wrong = [&](const json& model) {
    json changed = joint;
    changed["models"] = json::array({model});
    write_study(path, changed);
    return program().run({"check", path.string()}).errors;
  };
  EXPECT_NE(wrong({{"preset", "vae"}, {"joint", true}}).find("joint: recordings share the label prior"),
            std::string::npos);
  EXPECT_NE(wrong({{"preset", "gcl"}, {"joint", true}}).find("joint: generalized contrastive learning has nothing"),
            std::string::npos);
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
  const auto flow = saved_models::vae_design(read_model(out / "runs/sim-achilles-pi-vae-s1-f0/model.safetensors")).flow;
  ASSERT_EQ(flow.permutations.size(), 2u);
  for (const std::uint32_t block : {0u, 1u}) EXPECT_EQ(flow.permutations[block], NumpyRandom(block).permutation(120));
}

}  // namespace
}  // namespace idem
