#include "host/evaluation/collapse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "host/support/errors.h"
#include "tests/support/reproducible_values.h"

namespace idem {
namespace {

struct Networks {
  int n_latents = 1;
  std::vector<float> encoder_mean, encoder_log_var, prior_mean, prior_log_var;

  void add(double m, double l, double prior_mean_value, double r) {
    encoder_mean.push_back(static_cast<float>(m));
    encoder_log_var.push_back(static_cast<float>(l));
    prior_mean.push_back(static_cast<float>(prior_mean_value));
    prior_log_var.push_back(static_cast<float>(r));
  }
  LatentDistributions view() const {
    return {static_cast<std::int64_t>(encoder_mean.size()) / n_latents,
            n_latents,
            encoder_mean,
            encoder_log_var,
            prior_mean,
            prior_log_var};
  }
  CollapseScores measure(const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& bins) const {
    return measure_collapse(view(), rows, bins, 7);
  }
};

std::vector<std::int32_t> all_rows(std::size_t n) {
  std::vector<std::int32_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

// The divergences of three pairs of Gaussians, found by quadrature.
TEST(Collapse, DivergencesEqualQuadrature) {
  struct Golden {
    double m, l, prior_mean, r, label_weight, kl_encoder, kl_posterior, kl_encoder_posterior, kl_posterior_encoder;
  };
  const Golden golden[] = {{.7, -1.2, -.4, .3, .182425524, .809760104, .741505515, .092620653, .0763405747},
                           {-2, 1.5, 1, -.5, .880797078, 9.61377377, .109285104, 9.16591399, 1.40203868},
                           {5, -14, 4, 1, 3.05902227e-7, 7.18393987, 7.18393991, 5.62675936e-8, 5.62675764e-8}};
  for (const auto& g : golden) {
    Networks networks;
    networks.add(g.m, g.l, g.prior_mean, g.r);
    const LatentCollapse latent = networks.measure({0}, {0}).latents[0];
    const auto expect_close = [](double got, double want) {
      EXPECT_NEAR(got, want, 2e-7 * std::abs(want) + 1e-14);
    };  // the inputs are float32
    expect_close(latent.label_weight, g.label_weight);
    expect_close(latent.kl_encoder, g.kl_encoder);
    expect_close(latent.kl_posterior, g.kl_posterior);
    expect_close(latent.kl_encoder_posterior, g.kl_encoder_posterior);
    expect_close(latent.kl_posterior_encoder, g.kl_posterior_encoder);
  }
}

TEST(Collapse, APosteriorThatIsThePriorIsFoundOut) {
  Networks networks;
  std::vector<std::int32_t> bins;
  for (int row = 0; row < 2000; ++row) {
    const int label = row % 8;
    networks.add(reproducible_value(row, 0), 20, label, -10);  // a wide encoder: only the label speaks
    bins.push_back(label);
  }
  const CollapseScores scores = networks.measure(all_rows(2000), bins);
  EXPECT_NEAR(scores.latents[0].label_weight, 1, 1e-6);
  EXPECT_NEAR(scores.latents[0].kl_posterior, 0, 1e-6);
  EXPECT_EQ(scores.active_units, 1);  // what active units alone would not have noticed
  EXPECT_EQ(scores.conditional_active_units, 0);
  EXPECT_NEAR(scores.latents[0].between_labels, 5.25, 1e-6);  // the variance of 0 ... 7
  EXPECT_NEAR(scores.label_swap_reliance, 2, 0.15);
}

TEST(Collapse, AnEncoderThatIgnoresTheLabelRelianceIsZero) {
  Networks networks;
  std::vector<std::int32_t> bins;
  for (int row = 0; row < 500; ++row) {
    networks.add(reproducible_value(row, 0), -12, row % 8, 10);
    bins.push_back(row % 8);
  }
  const CollapseScores scores = networks.measure(all_rows(500), bins);
  EXPECT_NEAR(scores.latents[0].label_weight, 0, 1e-8);
  EXPECT_NEAR(scores.label_swap_reliance, 0, 1e-8);
  EXPECT_NEAR(scores.latents[0].encoder_variance, scores.latents[0].within_labels + scores.latents[0].between_labels,
              1e-6);
  EXPECT_EQ(scores.latents[0].conditional_activity > 0.01, scores.conditional_active_units == 1);
}

TEST(Collapse, VarianceSplitsIntoBetweenAndWithinLabels) {
  Networks networks;
  for (double m : {1.0, 3.0, 10.0, 14.0, 100.0})
    networks.add(m, -30, 0, std::log(2.0));  // posterior mean = encoder mean
  const CollapseScores scores = networks.measure({0, 1, 2, 3}, {0, 0, 5, 5, 9});
  EXPECT_NEAR(scores.latents[0].between_labels, 25, 1e-6);  // bin means 2 and 12
  EXPECT_NEAR(scores.latents[0].within_labels, 2.5, 1e-6);  // (1 + 1 + 4 + 4) / 4
  EXPECT_NEAR(scores.latents[0].encoder_variance, 27.5, 1e-6);
  EXPECT_NEAR(scores.latents[0].conditional_activity, 1.25, 1e-6);
  EXPECT_EQ(scores.conditional_active_units, 1);
}

TEST(Collapse, OfAPosteriorThatIsNoProductIsMeasuredWhatNeedsNoEncoderOfSpikesAlone) {
  Networks networks;
  networks.add(.7, -1.2, -.4, .3);
  networks.add(2.7, -1.2, -.4, .3);
  LatentDistributions posterior = networks.view();
  posterior.is_product = false;
  const CollapseScores scores = measure_collapse(posterior, all_rows(2), std::vector<std::int32_t>{0, 0}, 7);
  const CollapseScores of_product = networks.measure(all_rows(2), {0, 0});
  // The KL of the Gaussian that is given, which a product would take for the encoder's.
  EXPECT_NEAR(scores.latents[0].kl_posterior, of_product.latents[0].kl_encoder, 1e-12);
  EXPECT_NEAR(scores.latents[0].within_labels, 1, 1e-6);
  EXPECT_NEAR(scores.latents[0].conditional_activity, std::exp(-.3), 1e-6);
  EXPECT_EQ(scores.conditional_active_units, 1);
  const nlohmann::json report = to_json(scores);
  for (const char* key : {"conditional_active_units", "kl_posterior", "latents"})
    EXPECT_TRUE(report.contains(key)) << key;
  EXPECT_EQ(report.size(), 3u);
  EXPECT_EQ(report["latents"][0].size(), 4u);
  EXPECT_EQ(to_json(of_product).size(), 7u);
  EXPECT_EQ(to_json(of_product)["latents"][0].size(), 9u);
}

TEST(Collapse, EachLatentIsMeasuredOnItsOwnAndOnlyOnTheRowsAsked) {
  Networks networks;
  networks.n_latents = 2;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (int row = 0; row < 6; ++row) {
    const bool asked = row % 2 == 0;
    networks.add(asked ? row : nan, -2, 0, 0);
    networks.add(asked ? 0.001 * row : nan, -2, 0, 0);
  }
  const CollapseScores scores = networks.measure({0, 2, 4}, {0, 0, 0, 0, 0, 0});
  ASSERT_EQ(scores.latents.size(), 2u);
  EXPECT_NEAR(scores.latents[0].encoder_variance, 8.0 / 3, 1e-6);
  EXPECT_NEAR(scores.latents[1].encoder_variance, 8e-6 / 3, 1e-10);
  EXPECT_EQ(scores.active_units, 1);
  const nlohmann::json report = to_json(scores);
  EXPECT_EQ(report["latents"].size(), 2u);
  EXPECT_NEAR(report["kl_encoder"].get<double>(), scores.latents[0].kl_encoder + scores.latents[1].kl_encoder, 1e-12);
}

TEST(Collapse, ExtremeLogVariancesStayFinite) {
  for (double l : {-120.0, 0.0, 120.0})
    for (double r : {-120.0, 0.0, 120.0}) {
      Networks networks;
      networks.add(1, l, -1, r);
      networks.add(2, l, 3, r);
      const nlohmann::json report = to_json(networks.measure({0, 1}, {0, 0}));
      for (const auto& [key, value] : report["latents"][0].items())
        EXPECT_TRUE(value.is_number() && std::isfinite(value.get<double>())) << key << " at l " << l << ", r " << r;
    }
}

TEST(Collapse, LabelBinsAreEqualPartsOfThePositionOnceForEachDirection) {
  Recording recording;
  recording.n_times = 5;
  LabelColumn position{.name = "position",
                       .kind = LabelKind::continuous,
                       .unit = "m",
                       .period = 0,
                       .categories = {},
                       .values = {1, 1.39, 1.41, 2.6, 1.8}};
  LabelColumn direction{.name = "direction",
                        .kind = LabelKind::categorical,
                        .unit = {},
                        .period = 0,
                        .categories = {"left", "right"},
                        .values = {0, 0, 0, 0, 1}};
  recording.labels = {position, direction};
  EXPECT_EQ(label_bins(recording, {}, 4), (std::vector<std::int32_t>{0, 0, 1, 3, 6}));
  recording.labels[0].kind = LabelKind::circular;
  recording.labels[0].period = 3.2;
  EXPECT_EQ(label_bins(recording, {}, 4), (std::vector<std::int32_t>{1, 1, 1, 3, 6}));
  recording.labels.clear();
  EXPECT_EQ(label_bins(recording, {}, 4), (std::vector<std::int32_t>(5, 0)));
}

TEST(Collapse, NothingToMeasureOrWrongSizesAreRefused) {
  Networks networks;
  networks.add(0, 0, 0, 0);
  EXPECT_THROW(networks.measure({}, {0}), ConfigError);
  EXPECT_THROW(networks.measure({0}, {0, 0}), DataError);
  networks.prior_mean.clear();
  EXPECT_THROW(networks.measure({0}, {0}), DataError);
}

}  // namespace
}  // namespace idem
