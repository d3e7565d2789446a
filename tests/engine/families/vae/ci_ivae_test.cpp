#include "engine/families/vae/ci_ivae.h"

#include "engine/families/vae/label_prior.h"
#include "kernels/common/to_size.h"
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
                     .encoder_kind = variant.window > 1 && !variant.only_decodes_window
                                         ? EncoderKind::temporal_convolution
                                         : EncoderKind::mlp,
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
  design.alphas = variant.objective == Objective::encoder_elbo    ? std::vector<double>{1}
                  : variant.objective == Objective::ivae          ? std::vector<double>{0}
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
    for (std::int32_t row = 0; row < kBatch - 2; ++row)
      weights[to_size(row)] = 1.0 / (kBatch - 2);  // two rows are no rows
    model_.inputs().row_weight.upload(weights);
  }

  double loss() {
    model_.forward({});
    const auto rows = model_.outputs().loss.download();
    double sum = 0;
    for (std::int32_t row = 0; row < kBatch - 2; ++row) sum += rows[to_size(row)] / (kBatch - 2);
    return sum;
  }

  std::unique_ptr<Device> device_;
  CiIvae<double> model_;
};

TEST_P(WholeModel, GradientAgreesWithFiniteDifferencesAlongRandomDirections) {
  loss();
  model_.backward({});
  std::mt19937 random(9);
  expect_gradients_of_tensors(model_.parameters(), model_.parameters().get_gradients(0), random, 1e-6, 1e-6,
                              [&] { return loss(); });
}

// Its gradient is the sum of what the models would give a prior of their own, and theirs are what they would be alone.
TEST(CiIvae, SharesAPriorWithOthers) {
  constexpr std::int32_t batch = 17;
  const auto device = make_cpu_device(2);
  for (const bool joins : {false, true})
    for (const auto prior : {PriorKind::separate_mlps, PriorKind::shared_mlp}) {
      ModelDesign designs[2];
      for (auto& design : designs)
        design = design_of({"",
                            joins ? Objective::ivae : Objective::ci_ivae_paper,
                            Observation::poisson,
                            OutputMap::softplus,
                            false,
                            LogVarBound::smooth,
                            {10},
                            1,
                            prior,
                            false,
                            joins});
      designs[1].n_neurons = 6;
      SharedPrior<double> shared(*device, designs[0], 1, batch, 2, true);
      shared.parameters.initialise(0, 99, Initialisation::torch_linear);
      fill(shared.label, 3);
      std::vector<std::unique_ptr<CiIvae<double>>> together, alone;
      const auto labels = shared.label.memory().download();
      for (const std::int32_t i : {0, 1}) {
        const auto seed = static_cast<unsigned>(10 * i);
        const auto of = to_size(i);
        together.push_back(
            std::make_unique<CiIvae<double>>(*device, designs[i], 1, batch, true, std::vector{0.8}, &shared, i));
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
          model->inputs().row_weight.upload(
              std::vector<double>(model->inputs().row_weight.size(), 1.0 / (batch * (i + 1))));
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
          for (std::size_t i = 0; i < tensor.values.size(); ++i)
            EXPECT_NEAR(tensor.values[i], gradients.at(name).values[i], 1e-12) << name;
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
  EXPECT_EQ(count(make_decoder<float>),
            17285480 - 240);  // the released package also holds a layer from 1 to 120 that nothing reads
}

TEST(CiIvae, RefusesAWindowThatItsEncoderCannotHave) {
  const auto device = make_cpu_device(1);
  auto design =
      design_of({"", Objective::ivae, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {4}});
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
  const Variant variant{
      "", Objective::ci_ivae_paper, Observation::poisson, OutputMap::softplus, false, LogVarBound::smooth, {10}};
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
          std::copy_n(bin.inputs().target.rows().row(0, row), of_bin.n_neurons,
                      window.inputs().target.rows().row(0, row) + i * of_bin.n_neurons);
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
    auto design = design_of({"",
                             Objective::encoder_elbo,
                             Observation::poisson,
                             OutputMap::softplus,
                             false,
                             bound,
                             {4},
                             1,
                             PriorKind::standard_normal});
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
        const double mean = model.encoder_mean().row(0, row)[latent],
                     log_var = out.encoder_log_var.rows().row(0, row)[latent];
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

INSTANTIATE_TEST_SUITE_P(, WholeModel,
                         testing::Values(Variant{"encoder_elbo_poisson_softplus",
                                                 Objective::encoder_elbo,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10}},
                                         Variant{"ivae_poisson_exponential",
                                                 Objective::ivae,
                                                 Observation::poisson,
                                                 OutputMap::exponential,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10, 7}},
                                         Variant{"paper_poisson_softplus",
                                                 Objective::ci_ivae_paper,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10}},
                                         Variant{"paper_squared_error_sigmoid_means",
                                                 Objective::ci_ivae_paper,
                                                 Observation::squared_error,
                                                 OutputMap::sigmoid,
                                                 true,
                                                 LogVarBound::none,
                                                 {10}},
                                         Variant{"published_squared_error_sigmoid_means",
                                                 Objective::ci_ivae_published,
                                                 Observation::squared_error,
                                                 OutputMap::sigmoid,
                                                 true,
                                                 LogVarBound::none,
                                                 {}},
                                         Variant{"fixed_gaussian_learned_identity",
                                                 Objective::ci_ivae_fixed,
                                                 Observation::gaussian_learned,
                                                 OutputMap::identity,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10}},
                                         Variant{"paper_poisson_temporal_convolution",
                                                 Objective::ci_ivae_paper,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {},
                                                 10},
                                         Variant{"pi_vae",
                                                 Objective::ivae,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::none,
                                                 {10, 7},
                                                 1,
                                                 PriorKind::shared_mlp,
                                                 true},
                                         Variant{"pi_vae_gaussian_embedding",
                                                 Objective::ivae,
                                                 Observation::gaussian_learned,
                                                 OutputMap::identity,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10},
                                                 1,
                                                 PriorKind::embedding,
                                                 true},
                                         Variant{"vae",
                                                 Objective::encoder_elbo,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10},
                                                 1,
                                                 PriorKind::standard_normal},
                                         Variant{"pi_vae_without_labels",
                                                 Objective::ivae,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::none,
                                                 {10},
                                                 1,
                                                 PriorKind::global,
                                                 true},
                                         Variant{"paper_flow_of_windows",
                                                 Objective::ci_ivae_paper,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {},
                                                 6,
                                                 PriorKind::shared_mlp,
                                                 true},
                                         Variant{"ivae_of_an_encoder_of_labels",
                                                 Objective::ivae,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 true,
                                                 LogVarBound::smooth,
                                                 {10},
                                                 1,
                                                 PriorKind::separate_mlps,
                                                 false,
                                                 true},
                                         Variant{"ivae_flow_of_separate_encoders_of_labels",
                                                 Objective::ivae,
                                                 Observation::gaussian_learned,
                                                 OutputMap::identity,
                                                 false,
                                                 LogVarBound::none,
                                                 {10},
                                                 1,
                                                 PriorKind::shared_mlp,
                                                 true,
                                                 true},
                                         Variant{"paper_poisson_of_windows_from_an_mlp",
                                                 Objective::ci_ivae_paper,
                                                 Observation::poisson,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10},
                                                 6,
                                                 PriorKind::separate_mlps,
                                                 false,
                                                 false,
                                                 true},
                                         Variant{"paper_gaussian_fixed_softplus",
                                                 Objective::ci_ivae_paper,
                                                 Observation::gaussian_fixed,
                                                 OutputMap::softplus,
                                                 false,
                                                 LogVarBound::smooth,
                                                 {10}}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace idem
