#include "host/config/json_text.h"
#include "host/config/study.h"
#include "host/families/cebra/model.h"
#include "host/families/family.h"
#include "host/families/vae/model.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/host/config/config_messages.h"

namespace idem {
namespace {

using nlohmann::json;

TEST(Config, AConventionSetsReductionsConstantsAndBetaUnlessTheyAreGiven) {
  json config = minimal();
  config["model"] = {{"convention", "ci-ivae-package"}};
  const ModelConfig package = resolve_study(config, "s.json").models.front();
  EXPECT_TRUE(vae_of(package).design.mean_over_neurons && vae_of(package).design.mean_over_latents &&
              !vae_of(package).design.keep_constants);
  EXPECT_EQ(vae_of(package).beta, 0.01);
  config["model"]["objective"] = {{"beta", 2}, {"over_neurons", "sum"}};
  const ModelConfig mixed = resolve_study(config, "s.json").models.front();
  EXPECT_TRUE(!vae_of(mixed).design.mean_over_neurons && vae_of(mixed).design.mean_over_latents);
  EXPECT_EQ(vae_of(mixed).beta, 2);
  config["model"] = {{"convention", "emnist"}};
  const ModelConfig emnist = resolve_study(config, "s.json").models.front();
  EXPECT_TRUE(vae_of(emnist).design.mean_over_neurons && !vae_of(emnist).design.mean_over_latents);
  EXPECT_EQ(vae_of(emnist).beta, 0.001);
  EXPECT_EQ(vae_of(emnist).training.beta_warmup, 0);
  config["model"] = {{"convention", "abcd"}};
  const ModelConfig abcd = resolve_study(config, "s.json").models.front();
  EXPECT_TRUE(vae_of(abcd).design.mean_over_neurons && vae_of(abcd).design.mean_over_latents &&
              !vae_of(abcd).design.keep_constants);
  EXPECT_EQ(vae_of(abcd).beta, 0.01);
  EXPECT_EQ(vae_of(abcd).training.beta_warmup, 0.1);
}

TEST(Config, TheAlphaGridOfThePaperIncludesBothEndsAndThePublishedOneNeither) {
  json config = minimal();
  config["models"] =
      json::parse(R"([{"objective": {"name": "ci-ivae/paper"}}, {"objective": {"name": "ci-ivae/published"}},
    {"objective": {"name": "ci-ivae/fixed", "alpha": 0.3}}, {"objective": {"name": "encoder-elbo"}}, {"objective": {"name": "ivae"}}])");
  const Study study = resolve_study(config, "s.json");
  ASSERT_EQ(vae_of(study.models[0]).design.alphas.size(), 41u);
  EXPECT_EQ(vae_of(study.models[0]).design.alphas.front(), 0);
  EXPECT_EQ(vae_of(study.models[0]).design.alphas.back(), 1);
  ASSERT_EQ(vae_of(study.models[1]).design.alphas.size(), 39u);
  EXPECT_EQ(vae_of(study.models[1]).design.alphas.front(), 0.025);
  EXPECT_NEAR(vae_of(study.models[1]).design.alphas.back(), 0.975, 1e-12);
  EXPECT_EQ(vae_of(study.models[2]).design.alphas, std::vector<double>{0.3});
  EXPECT_EQ(vae_of(study.models[3]).design.alphas, std::vector<double>{1});
  EXPECT_EQ(vae_of(study.models[4]).design.alphas, std::vector<double>{0});
}

TEST(Config, SettingsThatMakeNoSenseTogetherAreErrors) {
  const auto message = [](const std::string& text) {
    return message_of([&] {
      json config = minimal();
      lay_over(config, json::parse(text));
      resolve_study(config, "s.json");
    });
  };
  EXPECT_NE(
      message(
          R"({"smoothing": {"kind": "gaussian", "sigma_bins": 2}, "model": {"observation": {"target": "smoothed"}}})")
          .find("smoothed counts are not whole numbers, so they are not Poisson"),
      std::string::npos);
  EXPECT_NE(message(R"({"model": {"decoder": {"output": "identity"}}})").find("negative rate"), std::string::npos);
  EXPECT_NE(
      message(R"({"smoothing": {"kind": "gaussian"}})").find("needs one width, sigma_bins or sigma_ms; none given"),
      std::string::npos);
  EXPECT_NE(message(R"({"smoothing": {"kind": "gaussian", "sigma_bins": 1, "sigma_ms": 1}})").find("both given"),
            std::string::npos);
  EXPECT_NE(message(R"({"smoothing": {"sigma_bins": 1}})").find("a boxcar has no sigma"), std::string::npos);
  EXPECT_NE(message(R"({"smoothing": {"kind": "causal-half-gaussian", "sigma_bins": 1}})").find("would look ahead"),
            std::string::npos);
  EXPECT_NE(message(R"({"training": {"noisy_target": true}})").find("noisy targets are not counts"), std::string::npos);
  EXPECT_NE(message(R"({"training": {"noisy_target": true}, "model": {"observation": {"kind": "gaussian"}}})")
                .find("must be \"smoothed\""),
            std::string::npos);
  EXPECT_NE(message(R"({"training": {"input_noise": 0.1}, "model": {"input": {"transform": "square-root"}}})")
                .find("square root"),
            std::string::npos);
  EXPECT_NE(message(R"({"model": {"log_variance": {"low": 7}}})").find("must be below"), std::string::npos);
  EXPECT_NE(message(R"({"models": [{}, {}]})").find("two are called \"encoder-elbo\""), std::string::npos);
  EXPECT_NE(message(R"({"splits": {"kind": "time", "fractions": [0.9, 0.2, 0.2]}})").find("more than 1"),
            std::string::npos);
  EXPECT_NE(message(R"({"splits": {"kind": "ranges"}})").find("nothing to train"), std::string::npos);
  EXPECT_NE(message(R"({"training": {"schedule": {"kind": "multi-step"}}})").find("never steps"), std::string::npos);
  EXPECT_NE(
      message(R"({"training": {"epochs": 3, "schedule": {"warmup_epochs": 3}}})").find("not below training.epochs"),
      std::string::npos);
}

TEST(Config, AutoChoosesAnOutputThatCanReachEveryCount) {
  json config = minimal();
  config["models"] = json::parse(
      R"([{"name": "p"}, {"name": "g", "observation": {"kind": "gaussian"}}, {"name": "s", "decoder": {"output": "sigmoid"}}])");
  const Study study = resolve_study(config, "s.json");
  EXPECT_EQ(vae_of(study.models[0]).design.output, OutputMap::softplus);
  EXPECT_EQ(vae_of(study.models[1]).design.output, OutputMap::identity);
  EXPECT_EQ(vae_of(study.models[2]).design.output, OutputMap::sigmoid);
}

TEST(Config, ATemporalConvolutionSeesTheWindowAndHasItsOwnActivationUnlessOneIsGiven) {
  json config = minimal();
  config["windows"] = {{"left", 4}, {"right", 3}};
  config["model"] = {{"encoder", {{"kind", "temporal-convolution"}, {"channels", 16}}}};
  config["models"] = json::parse(
      R"([{"name": "a"}, {"name": "b", "encoder": {"activation": "gelu"}}, {"name": "c", "encoder": {"kind": "mlp"}}])");
  const Study study = resolve_study(config, "s.json");
  const auto& models = study.models;
  EXPECT_EQ(vae_of(models[0]).design.encoder_kind, EncoderKind::temporal_convolution);
  EXPECT_EQ(vae_of(models[0]).design.window, 7);
  EXPECT_EQ(vae_of(models[0]).design.channels, 16);
  EXPECT_EQ(vae_of(models[0]).design.encoder.activation, Activation::gelu_tanh);
  EXPECT_EQ(vae_of(models[0]).design.prior.activation, Activation::leaky_relu);
  EXPECT_TRUE(models[0].preparation.windowed_input);
  EXPECT_EQ(vae_of(models[1]).design.encoder.activation, Activation::gelu_erf);
  EXPECT_EQ(vae_of(models[2]).design.encoder_kind, EncoderKind::mlp);
  EXPECT_EQ(vae_of(models[2]).design.window, 1);
  EXPECT_EQ(vae_of(models[2]).design.encoder.activation, Activation::leaky_relu);
  EXPECT_FALSE(models[2].preparation.windowed_input);
  EXPECT_EQ(resolve_study(study.resolved, "s.json").resolved, study.resolved);

  const std::string convolution = "model.encoder.kind=temporal-convolution";
  const auto message = [&](json changes) {
    return message_of([&] {
      json changed = minimal();
      apply_override(changed, convolution, "s.json");
      lay_over(changed, changes);
      resolve_study(changed, "s.json");
    });
  };
  EXPECT_NE(message({{"windows", {{"left", 1}, {"right", 1}}}}).find("at least 3 bins, not 2"), std::string::npos);
  EXPECT_NE(
      message(
          json::parse(
              R"({"training": {"noisy_target": true}, "model": {"observation": {"kind": "gaussian", "target": "smoothed"}}})"))
          .find("model encoder-elbo: encoder.kind: training.noisy_target"),
      std::string::npos);
}

TEST(Config, AnyEncodersDecoderMayExplainTheWholeWindow) {
  json config = minimal();
  config["windows"] = {{"left", 4}, {"right", 3}};
  config["model"] = {{"observation", {{"kind", "poisson"}, {"target", "window"}}},
                     {"objective", {{"name", "ci-ivae/paper"}}}};
  config["models"] = json::parse(R"([{"name": "a"}, {"name": "b", "encoder": {"kind": "separate-mlps"}}])");
  const Study study = resolve_study(config, "s.json");
  for (const auto& model : study.models) {
    EXPECT_EQ(vae_of(model).design.window, 7);
    EXPECT_EQ(vae_of(model).design.encoder_window(), 1);
    EXPECT_TRUE(vae_of(model).design.decodes_window && vae_of(model).design.mean_over_window);
    EXPECT_EQ(vae_of(model).design.window_weight(), 1.0 / 7);
    EXPECT_FALSE(model.preparation.windowed_input);
    EXPECT_TRUE(model.preparation.gathers_windows());
  }
  const auto refused = message_of([&] {
    config["windows"] = {{"left", 0}, {"right", 1}};
    resolve_study(config, "s.json");
  });
  EXPECT_NE(refused.find("observation.target: the window is one bin"), std::string::npos) << refused;
}

TEST(Config, APresetIsAPublishedModelUnderTheKeysBesideIt) {
  json config = minimal();
  config["model"] = {{"preset", "pi-vae"}};
  config["models"] = json::parse(R"([{}, {"preset": "conv-pi-vae", "training": {"clip_norm": 2}},
                                     {"name": "wide", "encoder": {"widths": [99]}, "decoder": {"flow_width": 12, "blocks": 3, "tie_couplings": true}},
                                     {"preset": "none"}])");
  const Study study = resolve_study(config, "s.json");
  const auto& models = study.models;
  EXPECT_EQ(models[0].name, "pi-vae");
  EXPECT_EQ(vae_of(models[0]).design.objective, Objective::ivae);
  EXPECT_EQ(vae_of(models[0]).design.encoder_kind, EncoderKind::separate_mlps);
  EXPECT_EQ(vae_of(models[0]).design.encoder.widths, (std::vector<std::int32_t>{60, 60}));
  EXPECT_EQ(vae_of(models[0]).design.encoder.activation, Activation::tanh);
  EXPECT_EQ(vae_of(models[0]).design.prior_kind, PriorKind::shared_mlp);
  EXPECT_EQ(vae_of(models[0]).design.decoder_kind, DecoderKind::gin);
  EXPECT_EQ(vae_of(models[0]).design.flow.permutations.size(), 2u);
  EXPECT_EQ(vae_of(models[0]).design.prior.widths, (std::vector<std::int32_t>{20, 20}));
  EXPECT_EQ(vae_of(models[0]).design.prior.activation, Activation::tanh);
  EXPECT_FALSE(vae_of(models[0]).design.keep_constants);
  EXPECT_FALSE(models[0].preparation.standardise_labels);
  EXPECT_FALSE(vae_of(models[0]).training.shuffle);
  EXPECT_EQ(vae_of(models[0]).training.clip_norm, 0);
  EXPECT_EQ(vae_of(models[0]).training.adam_epsilon, 1e-7);
  EXPECT_EQ(models[0].learning_rate, 5e-4);
  EXPECT_EQ(vae_of(models[0]).training.initialisation, Initialisation::glorot_uniform);
  EXPECT_EQ(models[1].name, "conv-pi-vae");
  EXPECT_EQ(vae_of(models[1]).design.encoder_kind, EncoderKind::temporal_convolution);
  EXPECT_EQ(vae_of(models[1]).design.encoder.activation, Activation::gelu_tanh);
  EXPECT_TRUE(vae_of(models[1]).design.decodes_window);
  EXPECT_FALSE(vae_of(models[1]).design.mean_over_window);
  EXPECT_EQ(models[1].learning_rate, 2.5e-4);
  EXPECT_EQ(vae_of(models[1]).training.clip_norm, 2);
  EXPECT_EQ(vae_of(models[2]).design.encoder.widths, std::vector<std::int32_t>{99});
  EXPECT_EQ(vae_of(models[2]).design.flow.width, 12);
  EXPECT_EQ(vae_of(models[2]).design.flow.permutations.size(), 3u);
  EXPECT_TRUE(vae_of(models[2]).design.flow.tie_couplings);
  EXPECT_EQ(models[3].name, "encoder-elbo");
  EXPECT_EQ(vae_of(models[3]).design.decoder_kind, DecoderKind::mlp);
  EXPECT_EQ(models[3].learning_rate, 1e-3);
  const Study again = resolve_study(study.resolved, "s.json");
  EXPECT_EQ(again.resolved, study.resolved);
  EXPECT_EQ(again.models[3].learning_rate, 1e-3);
  EXPECT_TRUE(vae_of(again.models[1]).design.decodes_window);
}

TEST(Config, AnEncoderThatSeesLabelsIsOfOneObjectiveAndOfAPriorOfLabels) {
  json config = minimal();
  config["models"] = json::parse(
      R"([{"preset": "ivae"}, {"name": "trunk", "objective": {"name": "ivae"}, "encoder": {"sees_labels": true}},
                                     {"objective": {"name": "ci-ivae/paper"}}])");
  const Study study = resolve_study(config, "s.json");
  const auto& preset = vae_of(study.models[0]).design;
  EXPECT_EQ(study.models[0].name, "ivae");
  EXPECT_EQ(study.models[0].objective(), "ivae");
  EXPECT_TRUE(preset.encoder_sees_labels && vae_of(study.models[1]).design.encoder_sees_labels);
  EXPECT_FALSE(vae_of(study.models[2]).design.encoder_sees_labels);
  EXPECT_EQ(preset.encoder_kind, EncoderKind::separate_mlps);
  for (const auto* layers : {&preset.encoder, &preset.prior, &preset.decoder}) {
    EXPECT_EQ(layers->widths, (std::vector<std::int32_t>{50, 50}));
    EXPECT_EQ(layers->activation, Activation::leaky_relu);
    EXPECT_EQ(layers->slope, 0.1);
  }
  EXPECT_EQ(vae_of(study.models[1]).design.encoder_kind, EncoderKind::mlp);
  const Study again = resolve_study(study.resolved, "s.json");
  EXPECT_EQ(again.resolved, study.resolved);
  EXPECT_TRUE(vae_of(again.models[0]).design.encoder_sees_labels);

  const auto message = [](const std::string& model) {
    return message_of([&] {
      json one = minimal();
      one["model"] = json::parse(model);
      resolve_study(one, "s.json");
    });
  };
  EXPECT_NE(message(R"({"preset": "ivae", "encoder": {"kind": "temporal-convolution"}})")
                .find("encoder.sees_labels: a temporal convolution"),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "ivae", "prior": {"kind": "global"}})")
                .find("encoder.sees_labels: a prior of kind \"global\""),
            std::string::npos);
  EXPECT_NE(message(R"({"encoder": {"sees_labels": true}})").find("\"encoder-elbo\" needs another"), std::string::npos);
}

TEST(Config, APresetOfCebraIsAContrastiveModelWithSettingsOfItsOwn) {
  json config = minimal();
  config["models"] =
      json::parse(R"([{"preset": "cebra-behavior", "contrastive": {"steps": 7, "batch": null, "temperature": 1.5}},
                                     {"preset": "cebra-time", "training": {"learning_rate": 0.01}},
                                     {"preset": "cebra-hybrid", "latents": 5},
                                     {"name": "mixed", "objective": {"name": "info-nce"}, "contrastive": {"positives": "mixed"}},
                                     {"name": "delta", "preset": "cebra-behavior", "contrastive": {"positives": "delta", "delta_sd": 0.1}},
                                     {"name": "class", "preset": "cebra-behavior", "contrastive": {"positives": "discrete", "equal_classes": true}},
                                     {}])");
  config["training"]["learning_rate"] = 0.5;
  const Study study = resolve_study(config, "s.json");
  const auto& models = study.models;
  std::vector<std::string> families;
  for (const auto& model : models) families.push_back(model.own->family().name());
  ASSERT_EQ(families, (std::vector<std::string>{"cebra", "cebra", "cebra", "cebra", "cebra", "cebra", "vae"}));
  EXPECT_EQ(models[0].name, "cebra-behavior");
  EXPECT_EQ(models[0].objective(), "InfoNCE (cosine), positives by time-delta");
  EXPECT_EQ(cebra_of(models[0]).design.n_features, 3);
  EXPECT_EQ(cebra_of(models[0]).design.window, 10);
  EXPECT_EQ(cebra_of(models[0]).plan.steps, 7);
  EXPECT_TRUE(cebra_of(models[0]).plan.is_full_batch);
  EXPECT_EQ(cebra_of(models[0]).temperature, 1.5);
  EXPECT_EQ(cebra_of(models[0]).plan.samples.time_offset, 10);
  EXPECT_EQ(models[0].learning_rate, 3e-4);
  EXPECT_FALSE(models[0].preparation.standardise_labels);
  EXPECT_TRUE(models[0].preparation.windowed_input);
  EXPECT_TRUE(models[0].sees_labels());
  EXPECT_FALSE(models[1].sees_labels());
  EXPECT_EQ(cebra_of(models[1]).plan.prior, ContrastivePrior::leads);
  EXPECT_EQ(models[1].learning_rate, 0.01);
  EXPECT_EQ(cebra_of(models[2]).design.n_behaviour_features, 3);
  EXPECT_EQ(cebra_of(models[2]).design.n_features, 5);
  EXPECT_EQ(cebra_of(models[2]).plan.prior, ContrastivePrior::leads);
  EXPECT_EQ(models[2].objective(), "InfoNCE (cosine), positives by time-delta and time");
  EXPECT_EQ(cebra_of(models[3]).plan.prior, ContrastivePrior::classes);
  EXPECT_EQ(cebra_of(models[3]).plan.positive, ContrastivePositive::time_delta);
  EXPECT_EQ(models[3].learning_rate, 0.5);
  EXPECT_EQ(cebra_of(models[4]).delta_sd, 0.1);
  EXPECT_EQ(cebra_of(models[5]).plan.positive, ContrastivePositive::same_class);
  EXPECT_EQ(cebra_of(models[5]).plan.prior, ContrastivePrior::classes);
  EXPECT_EQ(models[6].learning_rate, 0.5);
  const Study again = resolve_study(study.resolved, "s.json");
  EXPECT_EQ(again.resolved, study.resolved);
  EXPECT_EQ(cebra_of(again.models[3]).plan.prior, ContrastivePrior::classes);

  const auto message = [](const std::string& model, const std::string& windows = "{}") {
    return message_of([&] {
      json of_one = minimal();
      of_one["model"] = json::parse(model);
      of_one["windows"] = json::parse(windows);
      resolve_study(of_one, "s.json");
    });
  };
  EXPECT_NE(
      message(R"({"preset": "cebra-time", "labels": ["position"]})").find("labels: positives by \"time\" see no label"),
      std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-time", "shuffle_labels": 3})").find("shuffle_labels: positives by \"time\""),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-behavior", "contrastive": {"fit": "session"}})")
                .find("would learn the labels of test bins"),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-hybrid", "contrastive": {"positives": "time"}})").find("contrastive.hybrid"),
            std::string::npos);
  EXPECT_NE(
      message(R"({"preset": "cebra-hybrid", "latents": 2})").find("contrastive.behaviour_latents: 3 of 2 latents"),
      std::string::npos);
  EXPECT_NE(
      message(R"({"preset": "cebra-behavior", "contrastive": {"positives": "delta"}})").find("contrastive.delta_sd"),
      std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-behavior", "contrastive": {"delta_sd": 1}})").find("drop it"),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-behavior", "contrastive": {"positives": "mixed", "batch": null}})")
                .find("contrastive.batch"),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-behavior", "contrastive": {"learn_temperature": true, "temperature": 0.05}})")
                .find("smallest_temperature"),
            std::string::npos);
  EXPECT_NE(message(R"({"preset": "cebra-time"})", R"({"left": 7})").find("left half of it"), std::string::npos);
}

TEST(Config, WhatAModelSaysInVainIsAnErrorAndWhatItSharesWithOthersIsNot) {
  const auto message = [](const std::string& text) {
    return message_of([&] {
      json config = minimal();
      lay_over(config, json::parse(text));
      const Study study = resolve_study(config, "s.json");
      resolve_study(study.resolved, "s.json");  // as --resume reads it
    });
  };
  EXPECT_NE(message(R"({"model": {"contrastive": {"steps": 7}}})")
                .find("contrastive: is of objective.name \"info-nce\" alone"),
            std::string::npos);
  EXPECT_NE(message(R"({"model": {"preset": "cebra-time", "encoder": {"widths": [9]}}})")
                .find("model cebra-time: encoder: CEBRA's encoder follows"),
            std::string::npos);
  EXPECT_NE(message(R"({"models": [{}, {"preset": "cebra-time", "decoder": {"kind": "gin"}}]})")
                .find("decoder: a model that maximises InfoNCE"),
            std::string::npos);
  EXPECT_NE(message(R"({"models": [{"preset": "cebra-time", "training": {"epochs": 3}}]})")
                .find("training.epochs: CEBRA trains by"),
            std::string::npos);
  EXPECT_NE(message(R"({"model": {"preset": "gcl", "observation": {"kind": "gaussian"}}})").find("explains no counts"),
            std::string::npos);
  EXPECT_NE(
      message(R"({"model": {"preset": "gcl", "training": {"batch": 1}}})").find("training.batch: true labels are told"),
      std::string::npos);
  EXPECT_NE(
      message(
          R"({"model": {"preset": "cebra-behavior", "contrastive": {"adapt_from": "m.idem", "learn_temperature": true}}})")
          .find("trains its first layer alone"),
      std::string::npos);
  EXPECT_NE(message(R"({"model": {"preset": "cebra-behavior", "standardise_labels": true, "joint": true}})")
                .find("standardise_labels"),
            std::string::npos);
  EXPECT_EQ(message(R"({"model": {"contrastive": {"steps": 7}, "encoder": {"widths": [9]}, "decoder": {"widths": [8]}},
                        "models": [{"preset": "cebra-time"}, {"name": "vae"}, {"preset": "gcl", "prior": {"widths": [5]}}]})"),
            "no error");
}

}  // namespace
}  // namespace idem
