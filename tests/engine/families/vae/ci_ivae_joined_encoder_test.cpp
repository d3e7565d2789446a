#include "engine/families/vae/ci_ivae.h"

#include "engine/families/vae/label_prior.h"
#include "kernels/common/to_size.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace idem {
namespace {

// Of an encoder of [x, u], from its formulas alone: loss = -log p(x|z) + beta KL(q(z|x,u) || p(z|u)) at z = m + e^{l/2}
// noise.
class OneRow {
 public:
  OneRow(const NamedTensors& tensors, const ModelDesign& design) : tensors_(tensors), design_(design) {}

  std::vector<double> linear(const std::string& name, const std::vector<double>& x, bool is_hidden = false) const {
    const auto &weight = tensors_.at(name + ".weight"), &bias = tensors_.at(name + ".bias");
    std::vector<double> y = bias.values;
    for (std::size_t out = 0; out < y.size(); ++out) {
      for (std::size_t in = 0; in < x.size(); ++in) y[out] += weight.values[out * x.size() + in] * x[in];
      if (is_hidden) y[out] = std::tanh(y[out]);
    }
    return y;
  }
  // high - softplus(high - (low + softplus(raw - low)))
  double log_var(double raw) const {
    const auto softplus = [](double t) { return std::log1p(std::exp(t)); };
    return design_.log_var_high -
           softplus(design_.log_var_high - design_.log_var_low - softplus(raw - design_.log_var_low));
  }

  struct Values {
    std::vector<double> mean, log_var;
    double kl = 0, reconstruction = 0;
  };
  Values operator()(const std::vector<double>& x, const std::vector<double>& u, const std::vector<double>& target,
                    const std::vector<double>& noise) const {
    std::vector<double> joined = x;
    joined.insert(joined.end(), u.begin(), u.end());
    const auto hidden = linear("encoder.trunk.0", joined, true), raw = linear("encoder.log_var", hidden);
    const auto prior_mean = linear("prior.mean.1", linear("prior.mean.0", u, true));
    const auto prior_raw = linear("prior.log_var.1", linear("prior.log_var.0", u, true));
    Values values{.mean = linear("encoder.mean", hidden), .log_var = {}};
    std::vector<double> z;
    for (std::size_t latent = 0; latent < raw.size(); ++latent) {
      const double l = log_var(raw[latent]), r = log_var(prior_raw[latent]),
                   gap = values.mean[latent] - prior_mean[latent];
      values.log_var.push_back(l);
      values.kl += 0.5 * ((std::exp(l) + gap * gap) / std::exp(r) - 1 - l + r);
      z.push_back(values.mean[latent] + std::exp(l / 2) * noise[latent]);
    }
    const auto decoded = linear("decoder.1", linear("decoder.0", z, true));
    for (std::size_t neuron = 0; neuron < target.size(); ++neuron) {
      const double rate = std::log1p(std::exp(decoded[neuron]));
      values.reconstruction += rate - target[neuron] * std::log(rate) + std::lgamma(target[neuron] + 1);
    }
    return values;
  }

 private:
  const NamedTensors& tensors_;
  const ModelDesign& design_;
};

ModelDesign design_of_joined_encoder() {
  ModelDesign design{.n_neurons = 13,
                     .n_labels = 3,
                     .n_latents = 3,
                     .encoder = {{10}, Activation::tanh, 0},
                     .prior = {{8}, Activation::tanh, 0},
                     .decoder = {{11}, Activation::tanh, 0.2},
                     .log_var_bound = LogVarBound::smooth,
                     .observation = Observation::poisson,
                     .output = OutputMap::softplus,
                     .objective = Objective::ivae,
                     .n_samples = 6};
  design.encoder_sees_labels = true;
  design.alphas = {0};
  return design;
}

TEST(CiIvae, OfAnEncoderOfLabelsHasTheLossAndThePosteriorOfItsOwnGaussian) {
  const auto device = make_cpu_device(1);
  const auto design = design_of_joined_encoder();
  constexpr std::int32_t kBatch = 5;
  const double beta = 0.7;
  CiIvae<double> model(*device, design, 1, kBatch, true, {beta});
  model.parameters().initialise(0, 3, Initialisation::torch_linear);
  const auto tensors = model.parameters().get(0);
  EXPECT_EQ(tensors.at("encoder.trunk.0.weight").shape, (std::vector<std::int64_t>{10, 16}));  // 13 neurons, 3 labels
  const auto filled = [](const Activations<double>& to, std::int32_t n_features, double phase) {
    std::vector<std::vector<double>> rows(kBatch, std::vector<double>(to_size(n_features)));
    for (std::int32_t row = 0; row < kBatch; ++row)
      for (std::int32_t feature = 0; feature < n_features; ++feature) {
        double& value = rows[to_size(row)][to_size(feature)];
        value = std::sin(phase + 3 * row + 1.7 * feature);
        if (phase == 2) value = std::floor(3 + 3 * value);
        to.rows().row(0, row)[feature] = value;
      }
    return rows;
  };
  const auto x = filled(model.inputs().x, 13, 0), u = filled(model.inputs().label, 3, 1),
             target = filled(model.inputs().target, 13, 2), noise = filled(model.inputs().noise_encoder, 3, 3);
  model.forward({});
  const auto& out = model.outputs();
  for (std::size_t row = 0; row < kBatch; ++row) {
    const auto want = OneRow(tensors, design)(x[row], u[row], target[row], noise[row]);
    const auto at = static_cast<std::int64_t>(row);
    EXPECT_NEAR(out.kl_posterior.data()[row], want.kl, 1e-12);
    EXPECT_NEAR(model.reconstruction_posterior()[row], want.reconstruction, 1e-10);
    EXPECT_NEAR(out.loss.data()[row], want.reconstruction + beta * want.kl, 1e-10);
    for (std::size_t latent = 0; latent < 3; ++latent) {
      EXPECT_NEAR(model.posterior_mean().row(0, at)[latent], want.mean[latent], 1e-12);
      EXPECT_NEAR(out.posterior_log_var.rows().row(0, at)[latent], want.log_var[latent], 1e-12);
    }
  }
  EXPECT_FALSE(model.encoder_mean());
  EXPECT_EQ(model.reconstruction_encoder(), nullptr);
}

TEST(CiIvae, RefusesAnEncoderOfLabelsThatSeesWindowsOrHasNoPriorOfThemOrAnotherObjective) {
  const auto device = make_cpu_device(1);
  const auto good = design_of_joined_encoder();
  EXPECT_NO_THROW(CiIvae<float>(*device, good, 1, 8, false, {1}));
  auto window = good, prior = good;
  window.encoder_kind = EncoderKind::temporal_convolution;
  window.window = 10;
  prior.prior_kind = PriorKind::global;
  prior.n_labels = 0;
  for (const auto& bad : {window, prior})
    EXPECT_THROW(CiIvae<float>(*device, bad, 1, 8, false, {1}), std::invalid_argument);
  for (const auto objective :
       {Objective::encoder_elbo, Objective::ci_ivae_paper, Objective::ci_ivae_published, Objective::ci_ivae_fixed}) {
    auto bad = good;
    bad.objective = objective;
    EXPECT_THROW(CiIvae<float>(*device, bad, 1, 8, false, {1}), std::invalid_argument);
  }
}

}  // namespace
}  // namespace idem
