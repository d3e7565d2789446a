#include "host/families/vae/marginal_decoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine/families/vae/ci_ivae.h"
#include "host/config/study.h"
#include "host/support/errors.h"
#include "host/evaluation/scores.h"
#include "host/study/subjects.h"
#include "kernels/common/to_size.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

// Neurons whose means are latents, each around the label as the model sees it: prior mean = label, decoder = latent.
// Without a spread the counts are the label; with one they are drawn as the model says.
struct CopyingModel {
  Recording recording;
  Split split;
  Preparation preparation;
  LabelScaling scaling{{"position"}, {0.5}, {2}};
  ModelDesign design;
  NamedTensors parameters;
  FleetData data;
  std::unique_ptr<Device> device = make_cpu_device(1);

  explicit CopyingModel(std::int32_t n_latents = 1, double prior_log_variance = -20, double noise_variance = 1e-4,
                        std::int32_t n_times = 60) {
    recording.subject = "rat";
    recording.n_times = n_times;
    recording.n_neurons = n_latents;
    recording.counts.resize(to_size(n_times * n_latents));
    recording.segments = {{0, n_times}};
    LabelColumn position{
        .name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
    for (int time = 0; time < n_times; ++time) {
      position.values.push_back(time % 40 * 0.04);
      (time < 40 ? split.train : time < 20 + n_times / 2 ? split.valid : split.test).push_back(time);
    }
    recording.labels = {position};
    preparation.labels = {"position"};
    design.n_neurons = design.n_latents = n_latents;
    design.n_labels = 1;
    design.encoder.widths = {2};
    design.observation = Observation::gaussian_fixed;
    design.output = OutputMap::identity;
    design.gaussian_variance = noise_variance;
    design.alphas = {1};
    parameters = CiIvae<float>(*device, design, 1, 1, false, {1}).parameters().get(0);
    for (auto& [name, tensor] : parameters)
      for (std::size_t i = 0; i < tensor.values.size(); ++i) {
        const bool is_weight = tensor.shape.size() == 2, is_diagonal = i % (to_size(n_latents) + 1) == 0;
        const bool copies =
            is_weight && (name.starts_with("prior.mean") || (name.starts_with("decoder") && is_diagonal));
        const bool is_spread = !is_weight && name.starts_with("prior.log_var");
        tensor.values[i] = copies ? 1 : is_spread ? prior_log_variance : 0;
      }
    data.n_rows = n_times;
    std::mt19937_64 random(11);
    std::normal_distribution<double> normal(0, 1);
    const double spread = prior_log_variance > -20 ? std::sqrt(std::exp(prior_log_variance) + noise_variance) : 0;
    for (const double value : position.values)
      for (std::int32_t latent = 0; latent < n_latents; ++latent)
        data.targets.push_back(static_cast<float>((value - 0.5) / 2 + spread * normal(random)));
    data.inputs.resize(data.targets.size());
  }
  // By the likelihood in closed form: of the candidates the one nearest to the mean of a bin's counts.
  double exact_error_cm(const std::vector<std::int32_t>& bins, int n_candidates) const {
    std::vector<double> errors;
    for (const auto bin : bins) {
      double mean = 0;
      for (std::int32_t i = 0; i < design.n_latents; ++i)
        mean += static_cast<double>(data.targets[to_size(bin * design.n_latents + i)]) / design.n_latents;
      const double spacing = 1.56 / (n_candidates - 1),
                   decoded = spacing * std::clamp(std::round((2 * mean + 0.5) / spacing), 0.0, n_candidates - 1.0);
      errors.push_back(100 * std::abs(decoded - recording.labels[0].values[to_size(bin)]));
    }
    return median(errors);
  }
  nlohmann::json decode(const DecodingOptions& options) const {
    return decode_by_marginal_likelihood(*device, {design, preparation, scaling, parameters, 3}, data, split, recording,
                                         split, options);
  }
};

TEST(MarginalDecoding, FindsTheLabelsUnderWhichTheModelExpectsTheCounts) {
  const CopyingModel model;
  const nlohmann::json result = model.decode({.marginal_draws = 5, .marginal_candidates = 40});
  EXPECT_EQ(result["candidates"], 40);
  EXPECT_EQ(result["draws"], 5);
  // 40 candidates from 0 to 1.56 m are the very places of the bins.
  EXPECT_NEAR(result["valid"]["position_error_cm"].get<double>(), 0, 1e-9);
  EXPECT_NEAR(result["test"]["position_error_cm"].get<double>(), 0, 1e-9);
  EXPECT_NEAR(result["test"]["total_r2"].get<double>(), 1, 1e-12);
  // Two candidates: 0 and 1.56 m; the test bins, 0.40 to 0.76 m, are nearer to 0.
  EXPECT_NEAR(model.decode({.marginal_draws = 5, .marginal_candidates = 2})["test"]["position_error_cm"].get<double>(),
              58, 1e-9);
}

TEST(MarginalDecoding, LeftOpenTakesAsManyNodesAsItNeedsAndTellsWhatIsLeft) {
  struct Case {
    std::int32_t n_latents;
    double prior_log_variance, noise_variance;  // of the latents' labels, which span 0.78
  };
  for (const auto& of : {Case{1, -3, 1e-4}, Case{2, -3, 4e-4}, Case{3, -3, 4e-3}, Case{4, -3, 5e-2}}) {
    SCOPED_TRACE(testing::Message() << of.n_latents << " latents");
    const CopyingModel model(of.n_latents, of.prior_log_variance, of.noise_variance, 640);
    const nlohmann::json open = model.decode({.marginal_candidates = 200}),
                         drawn = model.decode({.marginal_draws = 100, .marginal_candidates = 200});
    const nlohmann::json& error = open.at("numerical_error");
    EXPECT_EQ(error.at("of"), "position_error_cm");
    EXPECT_EQ(error.at("is_converged"), true) << open.dump();
    EXPECT_TRUE(open.at("draws") > 100 && open.at("draws") <= 1.1 * kMostNodes) << open.at("draws");
    for (const auto& [part, bins] : {std::pair("valid", &model.split.valid), {"test", &model.split.test}}) {
      const auto cm = [&](const nlohmann::json& result) {
        return result.at(part).at("position_error_cm").get<double>();
      };
      const double exact = model.exact_error_cm(*bins, 200);
      EXPECT_LE(error.at(part).get<double>(), 1.2 * kLargestChange * cm(open)) << part;
      EXPECT_NEAR(cm(open), exact, 0.03 * exact) << part;
      if (of.n_latents == 2) {
        EXPECT_GT(std::abs(cm(drawn) - exact), 0.05 * exact) << part;
      }
    }
    EXPECT_FALSE(drawn.contains("numerical_error"));
    EXPECT_EQ(drawn.at("draws"), 100);
  }
}

TEST(MarginalDecoding, WithoutAPositionIsJudgedByTheShareOfBinsThatChangeCategory) {
  CopyingModel model(2, -3, 1e-3, 240);
  LabelColumn place{.name = "place",
                    .kind = LabelKind::categorical,
                    .unit = {},
                    .period = 0,
                    .categories = {"left", "right"},
                    .values = {}};
  for (const double position : model.recording.labels[0].values) place.values.push_back(position > 0.78 ? 1 : 0);
  model.recording.labels = {place};
  model.preparation.labels = {"place"};
  model.scaling = {{"place=left", "place=right"}, {0, 0}, {1, 1}};
  model.design.n_labels = 2;
  model.parameters = CiIvae<float>(*model.device, model.design, 1, 1, false, {1}).parameters().get(0);
  for (auto& [name, tensor] : model.parameters)
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const bool is_weight = tensor.shape.size() == 2;
      // Weights of the prior's mean [latents x categories]: around -0.05 and 0.33, the means of either half.
      tensor.values[i] = is_weight && name.starts_with("prior.mean")              ? (i % 2 == 0 ? -0.05 : 0.33)
                         : is_weight && name.starts_with("decoder") && i % 3 == 0 ? 1
                         : !is_weight && name.starts_with("prior.log_var")        ? -3
                                                                                  : 0;
    }
  const nlohmann::json open = model.decode({});
  EXPECT_EQ(open.at("candidates"), 2);
  EXPECT_EQ(open.at("numerical_error").at("of"), "direction_accuracy");
  EXPECT_EQ(open.at("numerical_error").at("is_converged"), true);
  EXPECT_LE(open.at("numerical_error").at("test"), kLargestChange);
  EXPECT_GT(open.at("test").at("direction_accuracy"), 0.7);
}

TEST(MarginalDecoding, IsLeftOutWhereItIsNotAskedForOrTheModelMissesALabel) {
  CopyingModel model;
  EXPECT_TRUE(model.decode({.marginal_draws = 0}).empty());
  EXPECT_TRUE(model.decode({.marginal_candidates = 20001}).empty());
  LabelColumn unseen = model.recording.labels[0];
  unseen.name = "unseen";
  model.recording.labels.push_back(unseen);
  EXPECT_TRUE(model.decode({}).empty());
}

TEST(MarginalDecoding, DrawsAreLeftOpenUnlessAStudyGivesTheirNumber) {
  const auto draws = [](const nlohmann::json& evaluation) {
    return resolve_study({{"recording", {{"file", "counts.npz"}}}, {"evaluation", evaluation}}, "study.json")
        .decoding.marginal_draws;
  };
  EXPECT_FALSE(draws(nlohmann::json::object()).has_value());
  EXPECT_FALSE(draws({{"marginal_draws", "auto"}}).has_value());
  EXPECT_EQ(draws({{"marginal_draws", 100}}), 100);
  EXPECT_EQ(draws({{"marginal_draws", 0}}), 0);
  for (const nlohmann::json& wrong : {nlohmann::json("many"), nlohmann::json(-1), nlohmann::json(1.5)})
    EXPECT_MESSAGE(ConfigError, draws({{"marginal_draws", wrong}}),
                   "evaluation.marginal_draws: expected one of \"auto\" or a whole number of at least 0");
}

TEST(MarginalDecoding, TheGridHoldsEveryCombinationOnce) {
  Recording recording;
  recording.n_times = 3;
  recording.labels = {
      {.name = "x", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {-1, 3, 100}},
      {.name = "task",
       .kind = LabelKind::categorical,
       .unit = {},
       .period = 0,
       .categories = {"a", "b", "c"},
       .values = {0, 0, 0}},
      {.name = "heading",
       .kind = LabelKind::circular,
       .unit = "deg",
       .period = 360,
       .categories = {},
       .values = {5, 5, 5}}};
  const Recording grid = label_grid(recording, {0, 1}, 25);  // 5 of x, 5 of heading
  ASSERT_EQ(grid.n_times, 5 * 3 * 5);
  std::set<std::vector<double>> points;
  for (std::size_t i = 0; i < 75; ++i)
    points.insert({grid.labels[0].values[i], grid.labels[1].values[i], grid.labels[2].values[i]});
  EXPECT_EQ(points.size(), 75u);
  EXPECT_EQ(*points.begin(), (std::vector<double>{-1, 0, 0}));
  EXPECT_EQ(*points.rbegin(), (std::vector<double>{3, 2, 288}));  // bin 2 is not asked for
  EXPECT_TRUE(std::is_sorted(grid.labels[0].values.begin(), grid.labels[0].values.end()));
}

}  // namespace
}  // namespace idem
