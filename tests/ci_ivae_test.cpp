#include "engine/ci_ivae.h"

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
  std::int32_t window = 1;  // above 1: a temporal convolution
  PriorKind prior = PriorKind::separate_mlps;
  bool is_flow = false;  // a GIN decoder of two blocks, and of all bins of a window; of one row: separate encoders
};

ModelDesign design_of(const Variant& variant) {
  ModelDesign design{.n_neurons = 13,
                     .n_labels = 3,
                     .n_latents = 3,
                     .encoder_kind = variant.window > 1 ? EncoderKind::temporal_convolution : EncoderKind::mlp,
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

  static void fill(const Activations<double>& to, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::vector<double> values(to.memory().size());
    for (auto& value : values) value = seed == 2 ? std::floor(2 * std::abs(normal(random))) : normal(random);
    to.memory().upload(values);
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
  auto& parameters = model_.parameters();
  const auto start = parameters.get(0);
  loss();
  model_.backward({});
  const auto gradient = parameters.get_gradients(0);
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  for (const auto& [name, tensor] : start) {  // one direction per tensor: a wrong tensor cannot hide behind the others
    NamedTensor direction = tensor;
    double predicted = 0;
    for (std::size_t i = 0; i < direction.values.size(); ++i) {
      direction.values[i] = normal(random);
      predicted += direction.values[i] * gradient.at(name).values[i];
    }
    const double h = 1e-6;
    const auto loss_at = [&](double step) {
      auto moved = start;
      for (std::size_t i = 0; i < direction.values.size(); ++i) moved[name].values[i] += step * direction.values[i];
      parameters.set(0, moved);
      return loss();
    };
    const double measured = (loss_at(h) - loss_at(-h)) / (2 * h);
    EXPECT_NEAR(measured, predicted, 1e-6 * (1 + std::abs(predicted))) << name;
  }
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
                    Variant{"paper_gaussian_fixed_softplus", Objective::ci_ivae_paper, Observation::gaussian_fixed, OutputMap::softplus, false, LogVarBound::smooth, {10}}),
    [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace idem
