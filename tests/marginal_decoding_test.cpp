#include "host/marginal_decoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/ci_ivae.h"

namespace idem {
namespace {

// One neuron whose mean is the label as the model sees it: prior mean = label, hardly any variance, decoder = latent.
struct CopyingModel {
  Recording recording;
  Split split;
  Preparation preparation;
  LabelScaling scaling{{"position"}, {0.5}, {2}};
  ModelDesign design;
  NamedTensors parameters;
  FleetData data;
  std::unique_ptr<Device> device = make_cpu_device(1);

  CopyingModel() {
    recording.subject = "rat";
    recording.n_times = 60;
    recording.n_neurons = 1;
    recording.counts.resize(60);
    recording.segments = {{0, 60}};
    LabelColumn position{.name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
    for (int time = 0; time < 60; ++time) {
      position.values.push_back(time % 40 * 0.04);
      (time < 40 ? split.train : time < 50 ? split.valid : split.test).push_back(time);
    }
    recording.labels = {position};
    preparation.labels = {"position"};
    design.n_neurons = design.n_labels = design.n_latents = 1;
    design.encoder.widths = {2};
    design.observation = Observation::gaussian_fixed;
    design.output = OutputMap::identity;
    design.gaussian_variance = 1e-4;
    design.alphas = {1};
    parameters = CiIvae<float>(*device, design, 1, 1, false, {1}).parameters().get(0);
    for (auto& [name, tensor] : parameters) {
      const bool copies = tensor.shape.size() == 2 && (name.starts_with("prior.mean") || name.starts_with("decoder"));
      const bool is_spread = tensor.shape.size() == 1 && name.starts_with("prior.log_var");
      for (double& value : tensor.values) value = copies ? 1 : is_spread ? -20 : 0;
    }
    data.n_rows = 60;
    for (const double value : position.values) data.targets.push_back(static_cast<float>((value - 0.5) / 2));
    data.inputs.resize(60);
  }
  nlohmann::json decode(const DecodingOptions& options) const {
    return decode_by_marginal_likelihood(*device, {design, preparation, scaling, parameters, 3}, data, split, recording, split, options);
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
  EXPECT_NEAR(model.decode({.marginal_draws = 5, .marginal_candidates = 2})["test"]["position_error_cm"].get<double>(), 58, 1e-9);
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

TEST(MarginalDecoding, TheGridHoldsEveryCombinationOnce) {
  Recording recording;
  recording.n_times = 3;
  recording.labels = {{.name = "x", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {-1, 3, 100}},
                      {.name = "task", .kind = LabelKind::categorical, .unit = {}, .period = 0, .categories = {"a", "b", "c"}, .values = {0, 0, 0}},
                      {.name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360, .categories = {}, .values = {5, 5, 5}}};
  const Recording grid = label_grid(recording, {0, 1}, 25);  // 5 of x, 5 of heading
  ASSERT_EQ(grid.n_times, 5 * 3 * 5);
  std::set<std::vector<double>> points;
  for (std::size_t i = 0; i < 75; ++i) points.insert({grid.labels[0].values[i], grid.labels[1].values[i], grid.labels[2].values[i]});
  EXPECT_EQ(points.size(), 75u);
  EXPECT_EQ(*points.begin(), (std::vector<double>{-1, 0, 0}));
  EXPECT_EQ(*points.rbegin(), (std::vector<double>{3, 2, 288}));  // bin 2 is not asked for
  EXPECT_TRUE(std::is_sorted(grid.labels[0].values.begin(), grid.labels[0].values.end()));
}

}  // namespace
}  // namespace idem
