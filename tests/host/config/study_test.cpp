#include "host/config/study.h"
#include "host/families/vae/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/config/json_text.h"
#include "host/config/schema.h"
#include "tests/host/config/config_messages.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

using nlohmann::json;

TEST(Config, AMisspeltKeyIsNamedWithWhereItIsAndTheNearestKeyThatExists) {
  const std::string message = message_for("training.learnig_rate=0.1");
  EXPECT_EQ(message.find("s.json: training.learnig_rate: unknown key; did you mean \"learning_rate\"? keys here: "), 0u)
      << message;
  EXPECT_NE(message.find(", patience, "), std::string::npos) << message;
}

TEST(Config, ANumberThatNoDoubleHoldsIsNamedByItsKey) {
  const auto refused = [](const std::string& text) { return message_of([&] { parse_json(text, "s.json"); }); };
  for (const char* number : {"1e999", "-1e999", "1e400", "123456789e9999"}) {
    const std::string in = std::string(R"({"windows": {"left": 0, "right": )") + number + "}}";
    EXPECT_EQ(refused(in).find("s.json: windows.right: holds a number beyond"), 0u) << refused(in);
    const std::string in_list =
        std::string(R"({"model": {"latents": 2}, "splits": {"fractions": [0.5, )") + number + "]}}";
    EXPECT_EQ(refused(in_list).find("s.json: splits.fractions: "), 0u) << refused(in_list);
    EXPECT_EQ(refused(number).find("s.json: "), 0u) << refused(number);
  }
  const std::filesystem::path shared = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "config_22.json";
  if (!std::filesystem::exists(shared)) GTEST_SKIP() << shared << " is not on this machine";
  EXPECT_NE(message_of([&] { load_study(shared.string(), {}); }).find(": windows.right: "), std::string::npos);
}

TEST(Config, ANameThatHidesAFolderOrLeavesItIsRefused) {
  for (const char* name : {".", "..", ".hidden", "..."}) {
    json config = minimal();
    config["recording"]["subject"] = name;
    EXPECT_NE(message_of([&] {
                resolve_study(config, "s.json");
              }).find("s.json: recording.subject: expected a text that matches"),
              std::string::npos)
        << name;
    EXPECT_NE(message_for(std::string("model.name=") + name).find("s.json: model.name: expected"), std::string::npos)
        << name;
  }
  EXPECT_EQ(message_for("model.name=a.b-c"), "no error");
}

TEST(Config, AKeyInTheWrongSectionIsPointedToItsOwn) {
  EXPECT_NE(message_for("learning_rate=0.1").find("did you mean \"training.learning_rate\"?"), std::string::npos);
}

TEST(Config, AMisspeltKeyInTheWrongSectionIsPointedToTheNearestAnywhere) {
  EXPECT_NE(message_for("learning_rat=0.1").find("did you mean \"training.learning_rate\"?"), std::string::npos);
  EXPECT_NE(message_for("training.fraction=0.1").find("did you mean \"splits.fractions\"?"), std::string::npos);
}

TEST(Config, AModelsOwnTrainingIsLaidOverTheStudys) {
  json config = minimal();
  config["training"] = {{"batch", 100}, {"epochs", 7}};
  config["models"] = {{{"name", "a"}},
                      {{"name", "b"}, {"training", {{"batch", 64}, {"schedule", {{"kind", "cosine"}}}}}}};
  const Study study = resolve_study(config, "s.json");
  EXPECT_EQ(vae_of(study.models[0]).training.batch, 100);
  EXPECT_EQ(vae_of(study.models[1]).training.batch, 64);
  EXPECT_EQ(vae_of(study.models[1]).training.epochs, 7);
  EXPECT_EQ(vae_of(study.models[1]).training.schedule.kind, ScheduleKind::cosine);
  // What is written keeps only the difference, so that changing training still changes both.
  json again = study.resolved;
  again["training"]["epochs"] = 3;
  EXPECT_EQ(vae_of(resolve_study(again, "s.json").models[1]).training.epochs, 3);
  EXPECT_EQ(vae_of(resolve_study(again, "s.json").models[1]).training.batch, 64);
}

TEST(Config, SeedsMayBeAnyNumberOf64Bits) {
  json config = minimal();
  apply_override(config, "seeds=[18446744073709551615,18446744073709551614,9223372036854775807,0]", "s.json");
  EXPECT_EQ(resolve_study(config, "s.json").seeds,
            (std::vector<std::uint64_t>{18446744073709551615u, 18446744073709551614u, 9223372036854775807u, 0}));
  EXPECT_NE(message_for("seeds=[18446744073709551616]"), "no error");
  EXPECT_NE(message_for("seeds=[18446744073709551615,18446744073709551615]").find("different"), std::string::npos);
}

TEST(Config, AnUnknownKeyInsideAListItemIsFound) {
  const std::string message = message_for("models=[{\"latent\":3}]");
  EXPECT_EQ(message.find("s.json: models.0.latent: unknown key; did you mean \"latents\"?"), 0u) << message;
}

TEST(Config, AWrongTypeOrRangeSaysWhatIsExpectedAndWhatWasGiven) {
  EXPECT_EQ(message_for("model.latents=two"),
            "s.json: model.latents: expected a whole number of at least 1 and of at most 64, got \"two\"");
  EXPECT_EQ(message_for("model.latents=0"),
            "s.json: model.latents: expected a whole number of at least 1 and of at most 64, got 0");
  EXPECT_EQ(message_for("model.latents=2.5"),
            "s.json: model.latents: expected a whole number of at least 1 and of at most 64, got 2.5");
  EXPECT_EQ(message_for("model.objective.alpha=1.5"),
            "s.json: model.objective.alpha: expected a number of at least 0 and of at most 1, got 1.5");
  EXPECT_EQ(message_for("training.keep=newest"),
            "s.json: training.keep: expected one of \"best\", \"last\", got \"newest\"");
  EXPECT_EQ(message_for("seeds=[1,1]"),
            "s.json: seeds: expected a list of at least 1 different, each a whole number of at least 0, got [1,1]");
  EXPECT_EQ(message_for("seeds=[1,-1]"), "s.json: seeds.1: expected a whole number of at least 0, got -1");
  EXPECT_EQ(message_for("smoothing.sigma_ms=-1"),
            "s.json: smoothing.sigma_ms: expected a number above 0 or null, got -1");
}

TEST(Config, AMissingRecordingIsNamed) {
  EXPECT_EQ(message_of([] { resolve_study(json::object(), "s.json"); }).find("s.json: recording: missing; "), 0u);
}

TEST(Config, MistakesInsideARecordingAreLocated) {
  const auto message = [](const std::string& recording) {
    return message_of([&] { resolve_study({{"recording", json::parse(recording)}}, "s.json"); });
  };
  EXPECT_EQ(message(R"({"spikes": {"sampling_rate_hz": -1}})"),
            "s.json: recording.spikes.sampling_rate_hz: expected a number above 0, got -1");
  EXPECT_EQ(message(R"({"counts": {"array": 3}})"), "s.json: recording.counts.array: expected a text, got 3");
  EXPECT_EQ(message(R"({"counts": {"colum": 3}})"),
            "s.json: recording.counts.colum: unknown key; did you mean \"column\"? keys here: array, column, columns, "
            "file, transpose");
  EXPECT_EQ(message(R"([{"file": "a"}, {"labels": [{"name": "x", "kind": "round"}]}])"),
            "s.json: recording.1.labels.0.kind: expected one of \"continuous\", \"circular\", \"categorical\", got "
            "\"round\"");
  EXPECT_EQ(message(R"({"labels": [{"kind": "circular"}]})").find("s.json: recording.labels.0.name: missing; "), 0u);
  EXPECT_EQ(message(R"({"counts": 5})"),
            "s.json: recording.counts: expected a text that is not empty or an object, got 5");
}

TEST(Config, PathsOfARecordingAreSeenFromTheFolderOfTheConfiguration) {
  const json config = json::parse(
      R"({"recording": {"file": "a.npz", "counts": {"file": "../b.npy", "array": "x"}, "spikes": {"times": "/c.npy"},
    "gaps": [3], "trials": "t.csv", "labels": [{"name": "position", "file": "d.csv"}, {"name": "time", "times": {"column": 1}}]}})");
  const json section = resolve_study(config, "s.json", "/data/study").recordings.front();
  EXPECT_EQ(
      section,
      json::parse(
          R"({"file": "/data/study/a.npz", "counts": {"file": "/data/b.npy", "array": "x"}, "spikes": {"times": "/c.npy"},
    "gaps": [3], "trials": "/data/study/t.csv", "labels": [{"name": "position", "file": "/data/study/d.csv"},
    {"name": "time", "times": {"column": 1}}]})"));
}

TEST(Config, BrokenJsonIsLocatedByLineAndColumn) {
  const std::string message = message_of([] { parse_json("{\n  \"a\": 1,\n  \"b\": }\n", "s.json"); });
  EXPECT_EQ(message.find("s.json:3:8: not JSON: "), 0u) << message;
  EXPECT_EQ(message_of([] { parse_json("{", "s.json"); }).find("s.json:1:2: not JSON: "), 0u);
  EXPECT_EQ(message_of([] { parse_json("", "s.json"); }).find("s.json:1:1: not JSON: "), 0u);
}

TEST(Config, AKeyGivenTwiceIsAnErrorAndNotTheLastOneSilently) {
  EXPECT_EQ(message_of([] { parse_json(R"({"a": {"b": 1, "b": 2}})", "s.json"); }),
            "s.json: b: given twice in the same object; keep one");
  EXPECT_NO_THROW(parse_json(R"([{"b": 1}, {"b": 2}])", "s.json"));
}

TEST(Config, TheResolvedStudyHoldsEveryDefaultAndResolvesToItself) {
  json config = minimal();
  config["models"] = json::parse(
      R"([{"objective": {"name": "ivae"}}, {"name": "package", "convention": "ci-ivae-package", "objective": {"beta": 0.5}}])");
  const Study first = resolve_study(config, "s.json");
  EXPECT_EQ(first.resolved.at("training").at("beta2"), 0.999);
  EXPECT_EQ(first.resolved.at("model").at("decoder").at("widths"), json({64, 64}));
  const Study second = resolve_study(first.resolved, "s.json");
  EXPECT_EQ(first.resolved, second.resolved);
  ASSERT_EQ(second.models.size(), 2u);
  EXPECT_EQ(second.models[0].name, "ivae");
  EXPECT_EQ(second.models[1].name, "package");
  EXPECT_EQ(vae_of(second.models[1]).beta, 0.5);
  EXPECT_TRUE(vae_of(second.models[1]).design.mean_over_latents);
  EXPECT_FALSE(vae_of(second.models[0]).design.mean_over_latents);
}

TEST(Config, AChangeOfTheBaseModelOfAResolvedStudyReachesTheModelsLaidOverIt) {
  json config = minimal();
  config["models"] = json::parse(R"([{"objective": {"name": "ivae"}}, {"objective": {"name": "ci-ivae/paper"}}])");
  json resolved = resolve_study(config, "s.json").resolved;
  apply_override(resolved, "model.latents=3", "s.json");
  for (const auto& model : resolve_study(resolved, "s.json").models) EXPECT_EQ(vae_of(model).design.n_latents, 3);
}

TEST(Config, OverridesAreJsonWhereTheyParseAndTextOtherwise) {
  json config = minimal();
  apply_override(config, "seeds=[3,4]", "s.json");
  apply_override(config, "evaluation.position=a=b", "s.json");
  apply_override(config, "models=[{},{\"name\":\"x\"}]", "s.json");
  apply_override(config, "models.1.latents=5", "s.json");
  const Study study = resolve_study(config, "s.json");
  EXPECT_EQ(study.seeds, (std::vector<std::uint64_t>{3, 4}));
  EXPECT_EQ(study.resolved.at("evaluation").at("position"), "a=b");
  EXPECT_EQ(vae_of(study.models[1]).design.n_latents, 5);
  EXPECT_EQ(message_for("seeds"), "--set seeds: is not KEY=VALUE, as in --set training.epochs=20");
  EXPECT_EQ(message_of([&] { apply_override(config, "seeds.2=1", "s.json"); }),
            "s.json: --set seeds.2: \"2\" is not an item of a list of 2 (they count from 0)");
  EXPECT_EQ(message_of([&] { apply_override(config, "evaluation.position.x=1", "s.json"); }),
            "s.json: --set evaluation.position.x: what holds \"x\" is \"a=b\", not an object");
}

TEST(Config, DefaultsOfTheEngineAreThoseOfAConfiguration) {
  const ModelConfig config = resolve_study(minimal(), "s.json").models.front();
  const VaeModel& vae = vae_of(config);
  const TrainingPlan plan;
  EXPECT_EQ(vae.training.batch, plan.batch);
  EXPECT_EQ(vae.training.epochs, plan.epochs);
  EXPECT_EQ(vae.training.shuffle, plan.shuffle);
  EXPECT_EQ(vae.training.adam_beta1, plan.adam_beta1);
  EXPECT_EQ(vae.training.adam_beta2, plan.adam_beta2);
  EXPECT_EQ(vae.training.adam_epsilon, plan.adam_epsilon);
  EXPECT_EQ(vae.training.coupled_decay, plan.coupled_decay);
  EXPECT_EQ(vae.training.decoupled_decay, plan.decoupled_decay);
  EXPECT_EQ(vae.training.clip_norm, plan.clip_norm);
  EXPECT_EQ(vae.training.input_noise, plan.input_noise);
  EXPECT_EQ(vae.training.noisy_target, plan.noisy_target);
  EXPECT_EQ(vae.training.initialisation, plan.initialisation);
  EXPECT_EQ(vae.training.patience, plan.patience);
  EXPECT_EQ(vae.training.keep_best, plan.keep_best);
  EXPECT_EQ(vae.training.schedule.kind, plan.schedule.kind);
  EXPECT_EQ(vae.training.schedule.warmup_epochs, plan.schedule.warmup_epochs);
  EXPECT_EQ(vae.training.schedule.milestones, plan.schedule.milestones);
  EXPECT_EQ(vae.training.schedule.factor, plan.schedule.factor);
  EXPECT_EQ(vae.training.schedule.final_fraction, plan.schedule.final_fraction);
  const ModelDesign design;
  EXPECT_EQ(vae.design.n_latents, design.n_latents);
  EXPECT_EQ(vae.design.encoder_kind, design.encoder_kind);
  EXPECT_EQ(vae.design.window, design.window);
  EXPECT_EQ(vae.design.channels, design.channels);
  EXPECT_EQ(vae.design.encoder.activation, design.encoder.activation);
  EXPECT_EQ(vae.design.encoder.slope, design.encoder.slope);
  EXPECT_EQ(vae.design.log_var_bound, design.log_var_bound);
  EXPECT_EQ(vae.design.log_var_low, design.log_var_low);
  EXPECT_EQ(vae.design.log_var_high, design.log_var_high);
  EXPECT_EQ(vae.design.observation, design.observation);
  EXPECT_EQ(vae.design.output, design.output);
  EXPECT_EQ(vae.design.gaussian_variance, design.gaussian_variance);
  EXPECT_EQ(vae.design.mean_over_neurons, design.mean_over_neurons);
  EXPECT_EQ(vae.design.mean_over_latents, design.mean_over_latents);
  EXPECT_EQ(vae.design.keep_constants, design.keep_constants);
  EXPECT_EQ(vae.design.objective, design.objective);
  EXPECT_EQ(vae.design.n_samples, design.n_samples);
  EXPECT_EQ(vae.design.common_random_numbers, design.common_random_numbers);
  const MemberPlan member;
  EXPECT_EQ(config.learning_rate, member.learning_rate);
  EXPECT_EQ(vae.beta, member.beta);
}

TEST(Config, TheReferencePageIsTheOneGeneratedFromTheSchema) {
  EXPECT_TRUE(file_text(IDEM_SOURCE_DIR "/configs/reference.md") == config_reference())
      << "run: idem reference > configs/reference.md";
}

TEST(Config, EveryKeyOfTheSchemaHasADescription) {
  const json schema = json::parse(file_text(IDEM_SOURCE_DIR "/configs/idem.schema.json"));
  const std::function<void(const json&, const std::string&)> walk = [&](const json& node, const std::string& path) {
    if (!node.contains("properties")) return;
    EXPECT_EQ(node.value("additionalProperties", json(true)), json(false)) << path;
    for (const auto& [key, property] : node.at("properties").items()) {
      const json* target = &property;
      while (target->contains("$ref"))
        target = &schema.at(json::json_pointer(target->at("$ref").get<std::string>().substr(1)));
      EXPECT_TRUE(property.contains("description") || target->contains("description")) << path << "." << key;
      walk(*target, path + "." + key);
    }
  };
  walk(schema, "");
  for (const auto& [name, definition] : schema.at("definitions").items()) walk(definition, name);
}

}  // namespace
}  // namespace idem
