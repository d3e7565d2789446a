#include "engine/families/vae/ci_ivae.h"

#include "engine/families/vae/label_prior.h"
#include "tests/support/finite_differences.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace idem {
namespace {

struct Variant {
  std::string name;
  Objective objective;
  Observation observation;
  OutputMap output;
  bool means;  // over neurons and latents, else sums
  LogVarBound bound;
  std::vector<std::int32_t> encoder_widths;
  std::int32_t window = 1;  // above 1: a temporal convolution, unless:
  PriorKind prior = PriorKind::separate_mlps;
  bool is_flow = false;  // a GIN decoder of two blocks, and of all bins of a window; of one row: separate encoders
  bool encoder_sees_labels = false;
  bool only_decodes_window = false;  // an mlp of one row, whose decoder explains all bins
};
void PrintTo(const Variant& variant, std::ostream* to) { *to << variant.name; }

ModelDesign design_of(const Variant& variant) {
  ModelDesign design{.n_neurons = 13,
                     .n_labels = 3,
                     .n_latents = 3,
                     .encoder_kind = variant.window > 1 && !variant.only_decodes_window ? EncoderKind::temporal_convolution : EncoderKind::mlp,
                     .window = variant.window,
                     .channels = 7,
                     .encoder = {variant.encoder_widths, Activation::gelu_erf, 0},
                     .prior = {{8}, Activation::tanh, 0},
                     .decoder = {{11, 9}, Activation::leaky_relu, 0.2},
                     .log_var_bound = variant.bound,
                     .observation = variant.observation,
                     .output = variant.output,
                     .gaussian_variance = 0.7,
                     .mean_over_neurons = variant.means,
                     .mean_over_latents = variant.means,
                     .objective = variant.objective,
                     .n_samples = 6};
  design.prior_kind = variant.prior;
  design.decodes_window = variant.only_decodes_window;
  design.encoder_sees_labels = variant.encoder_sees_labels;
  if (!design.sees_labels()) design.n_labels = 0;
  if (variant.is_flow) {
    if (variant.window == 1) design.encoder_kind = EncoderKind::separate_mlps;
    design.decoder_kind = DecoderKind::gin;
    design.decodes_window = variant.window > 1;
    design.flow = {.width = 6, .permutations = {{}, {}}};
    for (std::int32_t j = 0; j < design.n_outputs(); ++j) {
      design.flow.permutations[0].push_back(design.n_outputs() - 1 - j);
      design.flow.permutations[1].push_back((j + 5) % design.n_outputs());
    }
  }
  design.alphas = variant.objective == Objective::encoder_elbo ? std::vector<double>{1}
                  : variant.objective == Objective::ivae       ? std::vector<double>{0}
                  : variant.objective == Objective::ci_ivae_fixed ? std::vector<double>{0.4}
                                                                  : std::vector<double>{0.1, 0.35, 0.6, 0.85};
  return design;
}

void fill(const Activations<double>& to, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(to.memory().size());
  for (auto& value : values) value = seed == 2 ? std::floor(2 * std::abs(normal(random))) : normal(random);
  to.memory().upload(values);
}

class WholeModel : public testing::TestWithParam<Variant> {
 protected:
  static constexpr std::int32_t kBatch = 17;

  WholeModel() : device_(make_cpu_device(2)), model_(*device_, design_of(GetParam()), 1, kBatch, true, {0.8}) {
    model_.parameters().initialise(0, 5, Initialisation::torch_linear);
    fill(model_.inputs().x, 1);
    fill(model_.inputs().target, 2);
    fill(model_.inputs().label, 3);
    fill(model_.inputs().noise_encoder, 4);
    fill(model_.inputs().noise_monte_carlo, 5);
    std::vector<double> weights(model_.inputs().row_weight.size(), 0.0);
    for (std::int32_t row = 0; row < kBatch - 2; ++row) weights[static_cast<std::size_t>(row)] = 1.0 / (kBatch - 2);  // two rows are no rows
    model_.inputs().row_weight.upload(weights);
  }

  double loss() {
    model_.forward({});
    const auto rows = model_.outputs().loss.download();
    double sum = 0;
    for (std::int32_t row = 0; row < kBatch - 2; ++row) sum += rows[static_cast<std::size_t>(row)] / (kBatch - 2);
    return sum;
  }

  std::unique_ptr<Device> device_;
  CiIvae<double> model_;
};

TEST_P(WholeModel, GradientAgreesWithFiniteDifferencesAlongRandomDirections) {
  loss();
  model_.backward({});
  std::mt19937 random(9);
  expect_gradients_of_tensors(model_.parameters(), model_.parameters().get_gradients(0), random, 1e-6, 1e-6, [&] { return loss(); });
}

// Its gradient is the sum of what the models would give a prior of their own, and theirs are what they would be alone.
TEST(CiIvae, SharesAPriorWithOthers) {
  constexpr std::int32_t batch = 17;
  const auto device = make_cpu_device(2);
  for (const bool joins : {false, true})
    for (const auto prior : {PriorKind::separate_mlps, PriorKind::shared_mlp}) {
      ModelDesign designs[2];
      for (auto& design : designs)
        design = design_of({"", joins ? Objective::ivae : Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false,
                            LogVarBound::smooth, {10}, 1, prior, false, joins});
      designs[1].n_neurons = 6;
      SharedPrior<double> shared(*device, designs[0], 1, batch, 2, true);
      shared.parameters.initialise(0, 99, Initialisation::torch_linear);
      fill(shared.label, 3);
      std::vector<std::unique_ptr<CiIvae<double>>> together, alone;
      const auto labels = shared.label.memory().download();
      for (const std::int32_t i : {0, 1}) {
        const auto seed = static_cast<unsigned>(10 * i);
        const auto of = static_cast<std::size_t>(i);
        together.push_back(std::make_unique<CiIvae<double>>(*device, designs[i], 1, batch, true, std::vector{0.8}, &shared, i));
        alone.push_back(std::make_unique<CiIvae<double>>(*device, designs[i], 1, batch, true, std::vector{0.8}));
        together[of]->parameters().initialise(0, 5 + seed, Initialisation::torch_linear);
        auto tensors = together[of]->parameters().get(0);
        tensors.merge(shared.parameters.get(0));
        alone[of]->parameters().set(0, tensors);
        for (auto* model : {together[of].get(), alone[of].get()}) {
          fill(model->inputs().x, 1 + seed);
          fill(model->inputs().target, 2);
          fill(model->inputs().noise_encoder, 4 + seed);
          fill(model->inputs().noise_monte_carlo, 5 + seed);
          model->inputs().row_weight.upload(std::vector<double>(model->inputs().row_weight.size(), 1.0 / (batch * (i + 1))));
        }
        const auto half = labels.begin() + i * static_cast<std::ptrdiff_t>(labels.size() / 2);
        alone[of]->inputs().label.memory().upload({half, half + static_cast<std::ptrdiff_t>(labels.size() / 2)});
      }
      shared.forward(*device, {});
      for (const auto* models : {&together, &alone})
        for (auto& model : *models) {
          model->forward({});
          model->backward({});
        }
      shared.backward(*device, {});
      device->join();
      auto sum = alone[0]->parameters().get_gradients(0);
      const auto other = alone[1]->parameters().get_gradients(0);
      // To rounding: products of more rows add in another order.
      for (const auto& [name, tensor] : shared.parameters.get_gradients(0))
        for (std::size_t i = 0; i < tensor.values.size(); ++i)
          EXPECT_NEAR(tensor.values[i], sum.at(name).values[i] + other.at(name).values[i], 1e-12) << name;
      for (const std::size_t of : {0u, 1u}) {
        const auto gradients = alone[of]->parameters().get_gradients(0);
        for (const auto& [name, tensor] : together[of]->parameters().get_gradients(0))
          for (std::size_t i = 0; i < tensor.values.size(); ++i) EXPECT_NEAR(tensor.values[i], gradients.at(name).values[i], 1e-12) << name;
      }
    }
}

TEST(CiIvae, HasTheParametersOfThePublishedModelOfTheRat) {
  const ModelDesign design{.n_neurons = 120,
                           .n_labels = 3,
                           .n_latents = 2,
                           .encoder = {{4096, 4096}, Activation::leaky_relu, 0.2},
                           .prior = {{128, 128}, Activation::leaky_relu, 0.2},
                           .decoder = {{4096, 4096}, Activation::leaky_relu, 0.2}};
  const auto count = [&](auto make) {
    ParameterLayout layout;
    make(layout, design);
    return layout.n_parameters();
  };
  EXPECT_EQ(count(make_encoder<float>), 17293316);
  EXPECT_EQ(count(make_label_prior<float>), 34564);
  EXPECT_EQ(count(make_decoder<float>), 17285480 - 240);  // the released package also holds a layer from 1 to 120 that nothing reads
}

TEST(CiIvae, RefusesAWindowThatItsEncoderCannotHave) {
  const auto device = make_cpu_device(1);
  auto design = design_of({"", Objective::ivae, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {4}});
  design.window = 10;
  EXPECT_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}), std::invalid_argument);
  design.encoder_kind = EncoderKind::temporal_convolution;
  EXPECT_NO_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}));
  design.decodes_window = true;
  EXPECT_NO_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}));
  design.window = 2;
  EXPECT_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}), std::invalid_argument);
  design.encoder_kind = EncoderKind::mlp;  // sees a row, whatever its decoder explains
  EXPECT_NO_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}));
  design.window = 1;
  EXPECT_THROW(CiIvae<float>(*device, design, 1, 8, false, {1}), std::invalid_argument);
}

// A window whose bins are alike, explained by a decoder that says the same of each, tells as much as its centre bin.
TEST(CiIvae, AMeanOverTheWindowCountsEverySpikeOnceAndASumAsOftenAsThereAreBins) {
  constexpr std::int32_t kBatch = 5, kWindow = 10;
  const auto device = make_cpu_device(1);
  const Variant variant{"", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}};
  for (const bool means : {false, true}) {
    auto of_bin = design_of(variant);
    of_bin.mean_over_neurons = means;
    CiIvae<double> bin(*device, of_bin, 1, kBatch, true, {0.8});
    bin.parameters().initialise(0, 5, Initialisation::torch_linear);
    const auto fill_inputs = [](CiIvae<double>& model) {
      fill(model.inputs().x, 1);
      fill(model.inputs().label, 3);
      fill(model.inputs().noise_encoder, 4);
      fill(model.inputs().noise_monte_carlo, 5);
    };
    fill_inputs(bin);
    fill(bin.inputs().target, 2);
    bin.forward({});
    for (const bool is_mean : {true, false}) {
      SCOPED_TRACE(testing::Message() << "means over neurons " << means << ", over the window " << is_mean);
      auto of_window = of_bin;
      of_window.window = kWindow;
      of_window.decodes_window = true;
      of_window.mean_over_window = is_mean;
      CiIvae<double> window(*device, of_window, 1, kBatch, true, {0.8});
      auto tensors = bin.parameters().get(0);
      for (const char* name : {"decoder.2.weight", "decoder.2.bias"}) {
        NamedTensor& tensor = tensors.at(name);
        const auto once = tensor.values;
        tensor.shape[0] *= kWindow;
        for (std::int32_t i = 1; i < kWindow; ++i) tensor.values.insert(tensor.values.end(), once.begin(), once.end());
      }
      window.parameters().set(0, tensors);
      fill_inputs(window);
      for (std::int32_t row = 0; row < kBatch; ++row)
        for (std::int32_t i = 0; i < kWindow; ++i)
          std::copy_n(bin.inputs().target.rows().row(0, row), of_bin.n_neurons, window.inputs().target.rows().row(0, row) + i * of_bin.n_neurons);
      window.forward({});
      const double factor = is_mean ? 1 : kWindow;
      for (std::int32_t row = 0; row < kBatch; ++row) {
        if (is_mean) {
          EXPECT_NEAR(window.outputs().loss.data()[row], bin.outputs().loss.data()[row], 1e-11);
        }
        EXPECT_NEAR(window.reconstruction_encoder()[row], factor * bin.reconstruction_encoder()[row], 1e-11);
        EXPECT_NEAR(window.reconstruction_posterior()[row], factor * bin.reconstruction_posterior()[row], 1e-11);
      }
    }
  }
}

TEST(CiIvae, OfAStandardNormalPriorHasTheKlTermOfAVaeWhateverBoundsTheLogVariances) {
  for (const auto bound : {LogVarBound::none, LogVarBound::smooth}) {
    const auto device = make_cpu_device(1);
    auto design = design_of({"", Objective::encoder_elbo, Observation::poisson, OutputMap::softplus, false, bound, {4}, 1, PriorKind::standard_normal});
    design.log_var_low = -3;
    design.log_var_high = 1;
    CiIvae<double> model(*device, design, 1, 3, true, {1});
    model.parameters().initialise(0, 2, Initialisation::torch_linear);
    std::vector<double> x(model.inputs().x.memory().size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
    model.inputs().x.memory().upload(x);
    model.forward({});
    const auto& out = model.outputs();
    for (std::int64_t row = 0; row < 3; ++row) {
      double kl = 0;
      for (std::int32_t latent = 0; latent < 3; ++latent) {
        const double mean = model.encoder_mean().row(0, row)[latent], log_var = out.encoder_log_var.rows().row(0, row)[latent];
        kl += 0.5 * (std::exp(log_var) + mean * mean - 1 - log_var);
      }
      EXPECT_NEAR(out.kl_encoder.data()[row], kl, 1e-12);
    }
    design.n_labels = 3;
    EXPECT_THROW(CiIvae<double>(*device, design, 1, 3, false, {1}), std::invalid_argument);
    design.log_var_low = 0.5;
    EXPECT_THROW(CiIvae<double>(*device, design, 1, 3, false, {1}), std::invalid_argument);
  }
}

// Of an encoder of [x, u], from its formulas alone: loss = -log p(x|z) + beta KL(q(z|x,u) || p(z|u)) at z = m + e^{l/2} noise.
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
    return design_.log_var_high - softplus(design_.log_var_high - design_.log_var_low - softplus(raw - design_.log_var_low));
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
      const double l = log_var(raw[latent]), r = log_var(prior_raw[latent]), gap = values.mean[latent] - prior_mean[latent];
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
  auto design = design_of({"", Objective::ivae, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}});
  design.encoder_sees_labels = true;
  design.encoder.activation = design.prior.activation = design.decoder.activation = Activation::tanh;
  design.decoder.widths = {11};
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
    std::vector<std::vector<double>> rows(kBatch, std::vector<double>(static_cast<std::size_t>(n_features)));
    for (std::int32_t row = 0; row < kBatch; ++row)
      for (std::int32_t feature = 0; feature < n_features; ++feature) {
        double& value = rows[static_cast<std::size_t>(row)][static_cast<std::size_t>(feature)];
        value = std::sin(phase + 3 * row + 1.7 * feature);
        if (phase == 2) value = std::floor(3 + 3 * value);
        to.rows().row(0, row)[feature] = value;
      }
    return rows;
  };
  const auto x = filled(model.inputs().x, 13, 0), u = filled(model.inputs().label, 3, 1), target = filled(model.inputs().target, 13, 2),
             noise = filled(model.inputs().noise_encoder, 3, 3);
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
  for (const auto& bad : {window, prior}) EXPECT_THROW(CiIvae<float>(*device, bad, 1, 8, false, {1}), std::invalid_argument);
  for (const auto objective : {Objective::encoder_elbo, Objective::ci_ivae_paper, Objective::ci_ivae_published, Objective::ci_ivae_fixed}) {
    auto bad = good;
    bad.objective = objective;
    EXPECT_THROW(CiIvae<float>(*device, bad, 1, 8, false, {1}), std::invalid_argument);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , WholeModel,
    testing::Values(Variant{"encoder_elbo_poisson_softplus", Objective::encoder_elbo, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}},
                    Variant{"ivae_poisson_exponential", Objective::ivae, Observation::poisson, OutputMap::exponential, false, LogVarBound::smooth, {10, 7}},
                    Variant{"paper_poisson_softplus", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}},
                    Variant{"paper_squared_error_sigmoid_means", Objective::ci_ivae_paper, Observation::squared_error, OutputMap::sigmoid, true, LogVarBound::none, {10}},
                    Variant{"published_squared_error_sigmoid_means", Objective::ci_ivae_published, Observation::squared_error, OutputMap::sigmoid, true, LogVarBound::none, {}},
                    Variant{"fixed_gaussian_learned_identity", Objective::ci_ivae_fixed, Observation::gaussian_learned, OutputMap::identity, false, LogVarBound::smooth, {10}},
                    Variant{"paper_poisson_temporal_convolution", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {}, 10},
                    Variant{"pi_vae", Objective::ivae, Observation::poisson, OutputMap::softplus, false, LogVarBound::none, {10, 7}, 1, PriorKind::shared_mlp, true},
                    Variant{"pi_vae_gaussian_embedding", Objective::ivae, Observation::gaussian_learned, OutputMap::identity, false, LogVarBound::smooth, {10}, 1, PriorKind::embedding, true},
                    Variant{"vae", Objective::encoder_elbo, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}, 1, PriorKind::standard_normal},
                    Variant{"pi_vae_without_labels", Objective::ivae, Observation::poisson, OutputMap::softplus, false, LogVarBound::none, {10}, 1, PriorKind::global, true},
                    Variant{"paper_flow_of_windows", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {}, 6, PriorKind::shared_mlp, true},
                    Variant{"ivae_of_an_encoder_of_labels", Objective::ivae, Observation::poisson, OutputMap::softplus, true, LogVarBound::smooth, {10}, 1, PriorKind::separate_mlps, false, true},
                    Variant{"ivae_flow_of_separate_encoders_of_labels", Objective::ivae, Observation::gaussian_learned, OutputMap::identity, false, LogVarBound::none, {10}, 1, PriorKind::shared_mlp, true, true},
                    Variant{"paper_poisson_of_windows_from_an_mlp", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}, 6, PriorKind::separate_mlps, false, false, true},
                    Variant{"paper_gaussian_fixed_softplus", Objective::ci_ivae_paper, Observation::gaussian_fixed, OutputMap::softplus, false, LogVarBound::smooth, {10}}),
    [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace idem
