// Contrastive models through the program: run, check, resume, transform.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "host/families/model_file.h"
#include "host/formats/npz.h"
#include "host/recordings/simulators.h"
#include "kernels/common/to_size.h"
#include "tests/program/end_to_end.h"

namespace idem {
namespace {

using nlohmann::json;

TEST_F(EndToEnd, EveryKindOfCebraRunsBesideAVaeResumesAndTransformsAsItRan) {
  const auto out = folder().path() / "cebra", again = folder().path() / "cebra.npz";
  const std::string models =
      R"(models=[{"preset":"cebra-behavior"},{"preset":"cebra-time"},{"preset":"cebra-hybrid","latents":4},
                 {"name":"delta","preset":"cebra-behavior","contrastive":{"positives":"delta","delta_sd":0.1,"learn_temperature":true}},
                 {"name":"discrete","preset":"cebra-behavior","labels":["direction"],"contrastive":{"positives":"discrete","batch":null}},
                 {"name":"mixed","preset":"cebra-behavior","contrastive":{"positives":"mixed","similarity":"euclidean","normalise":false}},
                 {"name":"session","preset":"cebra-time","contrastive":{"fit":"session","batch":null}},
                 {"name":"shuffled","preset":"cebra-behavior","shuffle_labels":1,"contrastive":{"batch":5000}},{"name":"vae"}])";
  const std::vector<std::string> changes{
      "--set", models, "--set", "model.contrastive={\"steps\":6,\"steps_per_record\":3,\"width\":8,\"batch\":64}"};
  std::vector<std::string> run{"run", study().string(), "--out", out.string(), "--device", "cpu", "--threads", "2"},
      check{"check", study().string()};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  const auto checked = program().run(check);
  ASSERT_EQ(checked.code, 0) << checked.errors;
  EXPECT_NE(checked.output.find("model discrete: InfoNCE (cosine), positives by discrete, 2 runs together, "),
            std::string::npos)
      << checked.output;
  EXPECT_NE(
      checked.output.find(" parameters each, 6 steps, batch 64, learning rate 0.0003 (the model's own; training has "),
      std::string::npos)
      << checked.output;
  EXPECT_NE(checked.output.find(" parameters each, 6 steps, every bin in each step, learning rate "), std::string::npos)
      << checked.output;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("cebra-behavior split 0  step 3/6  InfoNCE "), std::string::npos) << result.errors;

  const json metrics = json::parse(text_of_file(out / "metrics.json"));
  ASSERT_EQ(metrics.at("runs").size(), 18u);
  EXPECT_NE(text_of_file(out / "report.html").find("model session was fitted on every bin of the session"),
            std::string::npos);
  for (const json& entry : metrics.at("runs")) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("cosine").at("test").at("total_r2").is_number()) << name;
    const bool is_cebra = entry.at("model") != "vae";
    EXPECT_EQ(entry.at("metrics").contains("posterior"), !is_cebra) << name;
    EXPECT_EQ(entry.contains("agreement"), !is_cebra) << name;
    EXPECT_EQ(entry.contains("collapse"), !is_cebra) << name;
    if (!is_cebra) continue;
    EXPECT_EQ(entry.at("training").at("steps"), 6);
    EXPECT_EQ(entry.at("training").at("batch"), entry.at("model") == "discrete" ? 900
                                                : entry.at("model") == "session"
                                                    ? 1490  // all bins but the last ten have one ten later
                                                : entry.at("model") == "shuffled" ? 5000
                                                                                  : 64)
        << name;
    const json& fit = entry.at("fit");
    EXPECT_EQ(fit.at("valid").at("info_nce").is_null(), entry.at("model") == "session") << name;
    for (const char* part : {"train", "valid"}) {
      if (fit.at(part).at("info_nce").is_null()) continue;
      const double batch = entry.at("training").at("batch"), info_nce = fit.at(part).at("info_nce");
      EXPECT_NEAR(fit.at(part).at("goodness_of_fit_bits").get<double>(), (std::log(batch) - info_nce) / std::log(2.0),
                  1e-9)
          << name;
      EXPECT_EQ(fit.at(part).contains("behaviour"), entry.at("model") == "cebra-hybrid") << name;
    }
    const auto arrays = read_npz(out / "runs" / name / "latents.npz");
    EXPECT_FALSE(arrays.count("posterior_mean") || arrays.count("encoder_log_var")) << name;
    const NumpyArray& embedding = arrays.at("encoder_mean");
    const std::int64_t n_latents = entry.at("model") == "cebra-hybrid" ? 4 : 3;
    EXPECT_EQ(embedding.shape, (std::vector<std::int64_t>{1500, n_latents})) << name;
    const auto values = embedding.as<float>();
    double squares = 0;
    for (std::int64_t i = 0; i < n_latents; ++i) squares += double{values[to_size(i)]} * values[to_size(i)];
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
    const auto model = out / "runs" / name / "model.safetensors";
    const auto transformed =
        program().run({"transform", model.string(), study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_NE(transformed.output.find("the embedding, label-free"), std::string::npos) << transformed.output;
    EXPECT_EQ(read_npz(again).at("encoder_mean").as<float>(),
              read_npz(out / "runs" / name / "latents.npz").at("encoder_mean").as<float>())
        << name;
  }

  // What resume trains again, alone now, has the same bytes.
  const auto one = out / "runs" / "sim-buddy-shuffled-s7-f0";
  const std::string before = text_of_file(one / "latents.npz");
  fs::remove_all(one);
  const auto resumed = program().run(
      {"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_NE(resumed.errors.find("1 of 18 runs to train"), std::string::npos) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "latents.npz"), before);

  const auto refused = [&](const std::string& one_model) {
    return program().run({"check", study().string(), "--set", "models=[" + one_model + "]"}).errors;
  };
  EXPECT_NE(refused(R"({"preset":"cebra-behavior","contrastive":{"positives":"discrete"}})")
                .find("model cebra-behavior: contrastive.positives: \"discrete\" takes categorical"),
            std::string::npos);
  EXPECT_NE(refused(R"({"preset":"cebra-behavior","labels":["position"],"contrastive":{"positives":"mixed"}})")
                .find("needs a categorical label"),
            std::string::npos);
  EXPECT_NE(refused(R"({"preset":"cebra-time","contrastive":{"time_offset":900}})")
                .find("contrastive.time_offset: no training bin"),
            std::string::npos);
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
  const auto out = folder().path() / "joint", adapted = folder().path() / "adapted",
             path = folder().path() / "joint.json";
  json joint = small_study();
  const json animal = joint["recording"];
  joint["recording"] = json::array({animal, animal});
  joint["recording"][1]["simulate"].update({{"animal", "achilles"}, {"n_neurons", 9}, {"n_times", 1200}});
  joint["model"] = {{"contrastive", {{"steps", 4}, {"width", 8}, {"batch", 48}}}, {"joint", true}};
  joint["models"] = json::parse(
      R"([{"preset": "cebra-behavior"}, {"preset": "cebra-behavior", "name": "classes", "labels": ["direction"],
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
  EXPECT_NE(metrics.at("runs")[0].at("training").at("parameters"),
            metrics.at("runs")[4].at("training").at("parameters"));
  EXPECT_EQ(metrics.at("runs")[0].at("fit"), metrics.at("runs")[4].at("fit"));  // one InfoNCE of both animals
  EXPECT_EQ(metrics.at("consistency").at("animals").size(), 4u);

  const auto one = out / "runs" / "sim-achilles-cebra-behavior-s7-f0",
             other = out / "runs" / "sim-buddy-cebra-behavior-s7-f0";
  const std::string before = text_of_file(one / "model.safetensors"),
                    of_other = text_of_file(other / "model.safetensors");
  fs::remove_all(one);
  const auto resumed = program().run(
      {"run", (out / "config.json").string(), "--out", out.string(), "--device", "cpu", "--threads", "1", "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_EQ(text_of_file(one / "model.safetensors"), before);
  EXPECT_EQ(text_of_file(other / "model.safetensors"), of_other);

  json third = small_study();
  third["recording"]["simulate"].update({{"animal", "gatsby"}, {"n_neurons", 7}});
  third["model"] = {{"preset", "cebra-behavior"},
                    {"contrastive",
                     {{"steps", 3},
                      {"width", 8},
                      {"batch", 48},
                      {"adapt_from", "joint/runs/sim-buddy-cebra-behavior-s1-f0/model.safetensors"}}}};
  third["models"] = json::array();
  third["seeds"] = {1};
  const auto third_path = folder().path() / "third.json";
  write_study(third_path, third);
  const auto adapts =
      program().run({"run", third_path.string(), "--out", adapted.string(), "--device", "cpu", "--quiet"});
  ASSERT_EQ(adapts.code, 0) << adapts.errors;
  const SavedModel from = read_model(out / "runs" / "sim-buddy-cebra-behavior-s1-f0" / "model.safetensors"),
                   to = read_model(adapted / "runs" / "sim-gatsby-cebra-behavior-s1-f0" / "model.safetensors");
  EXPECT_EQ(to.design->n_neurons(), 7);
  std::size_t n_same = 0;
  for (const auto& [name, tensor] : to.parameters) n_same += tensor.values == from.parameters.at(name).values;
  EXPECT_EQ(n_same, to.parameters.size() - 2);
  // Of a model that an older program wrote.
  const std::string old = IDEM_SOURCE_DIR "/tests/golden/models/cebra_v2.idem";
  json of_old = third;
  of_old["model"]["contrastive"]["adapt_from"] = old;
  write_study(third_path, of_old);
  const auto adapts_old = program().run(
      {"run", third_path.string(), "--out", (folder().path() / "adapted-old").string(), "--device", "cpu", "--quiet"});
  ASSERT_EQ(adapts_old.code, 0) << adapts_old.errors;
  const SavedModel of_sample = read_model(old),
                   adapted_old = read_model(folder().path() /
                                            "adapted-old/runs/sim-gatsby-cebra-behavior-s1-f0/model.safetensors");
  n_same = 0;
  for (const auto& [name, tensor] : adapted_old.parameters)
    n_same += tensor.values == of_sample.parameters.at(name).values;
  EXPECT_EQ(n_same, adapted_old.parameters.size() - 2);

  third["model"]["contrastive"]["width"] = 6;
  write_study(third_path, third);
  const auto refused = program().run({"check", third_path.string()});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.errors.find("has a window of 10, width 8 and 3 latents, this model 10, 6 and 3; make them alike"),
            std::string::npos)
      << refused.errors;

  const auto wrong = [&](const char* key, const json& value) {
    json changed = joint;
    changed[json::json_pointer(key)] = value;
    write_study(path, changed);
    return program().run({"check", path.string()}).errors;
  };
  EXPECT_NE(wrong("/recording", json::array({animal})).find("joint: needs two recordings or more"), std::string::npos);
  json other_labels = joint["recording"];
  other_labels[1]["simulate"] = {{"name", "continuous-label"}, {"n_times", 900}};
  joint["models"] =
      json::parse(R"([{"preset": "cebra-behavior", "contrastive": {"positives": "delta", "delta_sd": 0.1}}])");
  joint["windows"] = {{"left", 0}, {"right", 1}};  // its bins are each for themselves
  EXPECT_NE(wrong("/recording", other_labels).find("sim-continuous-label has the labels [u"), std::string::npos)
      << wrong("/recording", other_labels);
  EXPECT_NE(wrong("/models/0", {{"preset", "cebra-time"}}).find("recordings meet by labels"), std::string::npos);
  EXPECT_NE(wrong("/model/contrastive/batch", nullptr).find("a joint model draws its bins"), std::string::npos);
}

TEST_F(EndToEnd, EveryFamilyTrainsOnTimeAloneOrOnShuffledLabelsAsAControl) {
  const auto out = folder().path() / "controls", path = folder().path() / "controls.json",
             again = folder().path() / "controls.npz";
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
  for (const char* control :
       {"ivae-shuffled", "pi-vae-shuffled", "joint-cebra-shuffled", "gcl-shuffled", "joint-shuffled"})
    EXPECT_NE(result.errors.find(std::string("model ") + control + " is a control"), std::string::npos)
        << result.errors;

  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 22u);
  for (const json& entry : entries) {
    const std::string model = entry.at("model"), latents = model.starts_with("ivae") ? "posterior" : "encoder";
    EXPECT_TRUE(entry.at("metrics").at(latents).at("euclidean").at("test").at("position_error_cm").is_number())
        << entry.at("run");
  }
  const auto saved = [&](const std::string& run) {
    return read_model(out / "runs" / (run + "-s1-f0") / "model.safetensors");
  };
  const auto latents_of = [&](const std::string& run) {
    return read_npz(out / "runs" / (run + "-s1-f0") / "latents.npz");
  };
  for (const std::string model : {"cebra", "ivae"}) {
    const std::string run = "sim-buddy-" + model, array = model == "ivae" ? "posterior_mean" : "encoder_mean";
    EXPECT_EQ(saved(run).preparation.labels, std::vector<std::string>{"time"}) << model;
    const auto transformed =
        program().run({"transform", (out / "runs" / (run + "-s1-f0") / "model.safetensors").string(), study().string(),
                       "--out", again.string(), "--device", "cpu"});
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
  const std::vector<std::string> changes{
      "--set", R"(models=[{"preset":"gcl"},{"name":"time-contrastive","preset":"gcl","labels":["time"],"latents":3}])",
      "--set", "seeds=[1]"};
  std::vector<std::string> run{"run",   study().string(),        "--out", out.string(), "--device", "cpu",
                               "--set", "training.input_noise=0"};
  std::vector<std::string> check{"check", study().string(), "--set", "training.input_noise=0"};
  run.insert(run.end(), changes.begin(), changes.end());
  check.insert(check.end(), changes.begin(), changes.end());
  // h of 12 neurons, 8 hidden units, 2 latents; two psi of a latent and 3 label features, 4 hidden units.
  const int n_parameters = 12 * 8 + 8 + 8 * 2 + 2 + 2 * (4 * 4 + 4 + 4 + 1);
  const auto checked = program().run(check);
  EXPECT_NE(checked.output.find("model gcl: generalized contrastive learning, 1 run, " + std::to_string(n_parameters) +
                                " parameters each, 2 epochs"),
            std::string::npos)
      << checked.output << checked.errors;
  const auto result = program().run(run);
  ASSERT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.errors.find("valid 0."), std::string::npos) << result.errors;
  const json entries = json::parse(text_of_file(out / "metrics.json")).at("runs");
  ASSERT_EQ(entries.size(), 2u);
  for (const json& entry : entries) {
    const std::string name = entry.at("run");
    EXPECT_TRUE(entry.at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number());
    EXPECT_TRUE(entry.at("identifiability").at("encoder").at("true_latent").at("strong_mcc").is_number());
    EXPECT_FALSE(entry.at("metrics").contains("posterior") || entry.contains("collapse"));
    EXPECT_EQ(entry.at("training").at("epochs"), 2);
    EXPECT_EQ(entry.at("training").at("kept_valid_loss"), entry.at("training").at("best_valid_loss"));
    const auto transformed = program().run({"transform", (out / "runs" / name / "model.safetensors").string(),
                                            study().string(), "--out", again.string(), "--device", "cpu"});
    ASSERT_EQ(transformed.code, 0) << transformed.errors;
    EXPECT_EQ(read_npz(again).at("encoder_mean").as<float>(),
              read_npz(out / "runs" / name / "latents.npz").at("encoder_mean").as<float>())
        << name;
  }
  EXPECT_NE(text_of_file(out / "report.html").find("generalized contrastive learning"), std::string::npos);
  EXPECT_NE(text_of_file(out / "log.jsonl").find("\"accuracy\""), std::string::npos);
  EXPECT_NE(program()
                .run({"check", study().string(), "--set", "models=[{\"preset\":\"gcl\"}]"})
                .errors.find("training.input_noise"),
            std::string::npos);
}

}  // namespace
}  // namespace idem
