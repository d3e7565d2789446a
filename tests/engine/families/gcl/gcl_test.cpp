#include "engine/families/gcl/gcl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "engine/families/gcl/gcl_fleet.h"
#include "kernels/common/to_size.h"
#include "tests/support/finite_differences.h"

namespace idem {
namespace {

constexpr std::int32_t kGclBatch = 9, kGclRows = 7;  // two rows are no rows

class WholeGcl : public testing::TestWithParam<std::int32_t> {
 protected:
  WholeGcl()
      : design_{.n_neurons = 6,
                .n_labels = 2,
                .n_latents = GetParam(),
                .features = {{8, 5}, Activation::tanh, 0},
                .psi = {{7}, Activation::gelu_erf, 0}},
        device_(make_cpu_device(2)),
        model_(*device_, design_, 1, kGclBatch, true) {
    model_.parameters().initialise(0, 5, Initialisation::torch_linear);
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (std::int32_t row = 0; row < kGclBatch; ++row) {
      for (std::int32_t i = 0; i < design_.n_neurons; ++i) model_.x().row(0, row)[i] = normal(random);
      for (std::int32_t i = 0; i < design_.n_labels; ++i) model_.label().row(0, row)[i] = normal(random);
      model_.row_weight().data()[row] = row < kGclRows ? 1.0 / kGclRows : 0;
    }
  }

  double loss() {
    model_.forward({});
    double sum = 0;
    for (std::int32_t row = 0; row < kGclRows; ++row) sum += model_.loss().data()[row] / kGclRows;
    return sum;
  }

  GclDesign design_;
  std::unique_ptr<Device> device_;
  Gcl<double> model_;
};

TEST_P(WholeGcl, GradientAgreesWithFiniteDifferencesAlongRandomDirections) {
  loss();
  model_.backward({});
  std::mt19937 random(9);
  expect_gradients_of_tensors(model_.parameters(), model_.parameters().get_gradients(0), random, 1e-6, 1e-8,
                              [&] { return loss(); });
}

// The same from its formulas alone, one pair after the other.
TEST_P(WholeGcl, LossAndAccuracyAreThoseOfLogisticRegressionOnTrueAndShuffledPairs) {
  const auto tensors = model_.parameters().get(0);
  const auto linear = [&](const std::string& name, const std::vector<double>& x) {
    const auto& weight = tensors.at(name + ".weight").values;
    std::vector<double> y = tensors.at(name + ".bias").values;
    for (std::size_t out = 0; out < y.size(); ++out)
      for (std::size_t in = 0; in < x.size(); ++in) y[out] += weight[out * x.size() + in] * x[in];
    return y;
  };
  const auto score = [&](std::int32_t row, std::int32_t labels_of) {
    const double* x = model_.x().row(0, row);
    std::vector<double> h(x, x + design_.n_neurons);
    for (const char* layer : {"features.0", "features.1"}) {
      h = linear(layer, h);
      for (double& value : h) value = std::tanh(value);
    }
    h = linear("features.2", h);
    double r = 0;
    for (std::int32_t latent = 0; latent < design_.n_latents; ++latent) {
      const std::string psi = "psi." + std::to_string(latent);
      std::vector<double> pair{h[to_size(latent)]};
      for (std::int32_t i = 0; i < design_.n_labels; ++i) pair.push_back(model_.label().row(0, labels_of)[i]);
      pair = linear(psi + ".0", pair);
      for (double& value : pair) value *= 0.5 * std::erfc(-value / std::sqrt(2.0));
      r += linear(psi + ".1", pair)[0];
    }
    return r;
  };
  loss();
  for (std::int32_t row = 0; row < kGclBatch; ++row) {
    const double together = score(row, row), apart = score(row, (row + 1) % kGclBatch);
    EXPECT_NEAR(model_.loss().data()[row], 0.5 * (std::log1p(std::exp(-together)) + std::log1p(std::exp(apart))), 1e-13)
        << row;
    EXPECT_EQ(model_.accuracy().data()[row], 0.5 * (together > 0) + 0.5 * (apart < 0)) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(, WholeGcl, testing::Values(1, 2, 3),
                         [](const auto& parameter) { return "latents_" + std::to_string(parameter.param); });

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n,
               mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double aa = 0, ab = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return ab / std::sqrt(aa * bb);
}

// Two sources whose means and widths vary with a label of their own, mixed by a rotation, a bend and another rotation.
TEST(Gcl, FindsTheSourcesOfANonlinearMixtureEachByItself) {
  constexpr std::int64_t n_rows = 4000;
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::normal_distribution<double> normal;
  FleetData data{.n_rows = n_rows, .inputs = {}, .targets = {}, .labels = {}};
  std::vector<double> sources[2], mixed[2];
  for (std::int64_t row = 0; row < n_rows; ++row) {
    double s[2];
    for (int i = 0; i < 2; ++i) {
      const double u = uniform(random);
      data.labels.push_back(static_cast<float>(u));
      s[i] = 1.5 * u + (0.15 + 0.4 * (u + 1) / 2) * normal(random);
      sources[i].push_back(s[i]);
    }
    const double a = 0.7 * (s[0] + s[1]), b = 0.7 * (s[1] - s[0]),
                 bent[2] = {a + 0.3 * std::tanh(2 * b), b + 0.3 * std::tanh(2 * a)};
    for (int i = 0; i < 2; ++i) {
      mixed[i].push_back(bent[i]);
      data.inputs.push_back(static_cast<float>(bent[i]));
    }
  }
  std::vector<std::int32_t> rows(n_rows);
  std::iota(rows.begin(), rows.end(), 0);
  const GclDesign design{.n_neurons = 2, .n_labels = 2, .n_latents = 2, .features = {{32, 32}}, .psi = {{32, 32}}};
  TrainingPlan plan{.batch = 256, .epochs = 60};
  const auto device = make_cpu_device(2);
  GclFleet fleet(*device, design, plan, data,
                 {{.name = "a", .seed = 3, .learning_rate = 5e-3, .train_rows = rows, .valid_rows = {}}});
  fleet.train([](auto) { return true; });
  const auto latents = gcl_latents(*device, design, fleet.parameters(0), data);
  std::vector<double> found[2];
  for (std::size_t i = 0; i < latents.size(); ++i) found[i % 2].push_back(static_cast<double>(latents[i]));
  const auto matched = [&](const std::vector<double>(&of)[2]) {  // the better of both ways to pair them
    const auto pair = [&](int i, int j) { return std::abs(correlation(of[i], sources[j])); };
    return std::max(std::min(pair(0, 0), pair(1, 1)), std::min(pair(0, 1), pair(1, 0)));
  };
  EXPECT_LT(matched(mixed), 0.8);
  EXPECT_GT(matched(found), 0.95);
}

TEST(Gcl, RefusesABatchWithoutAnotherRowAndADesignWithoutLabels) {
  const auto device = make_cpu_device(1);
  const GclDesign design{.n_neurons = 3, .n_labels = 1, .n_latents = 1, .features = {}, .psi = {{4}}};
  EXPECT_NO_THROW(Gcl<float>(*device, design, 1, 2, true));
  EXPECT_THROW(Gcl<float>(*device, design, 1, 1, true), std::invalid_argument);
  auto unlabelled = design;
  unlabelled.n_labels = 0;
  EXPECT_THROW(Gcl<float>(*device, unlabelled, 1, 2, true), std::invalid_argument);
}

}  // namespace
}  // namespace idem
