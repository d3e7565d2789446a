#include "engine/families/vae/gin_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "engine/families/vae/ci_ivae.h"
#include "engine/families/vae/label_prior.h"
#include "kernels/common/to_size.h"
#include "tests/support/finite_differences.h"

namespace idem {
namespace {

GinFlow flow_of(std::int32_t n_outputs, std::int32_t width, std::int32_t n_blocks = 2) {
  GinFlow flow{.width = width, .permutations = {}};
  std::mt19937 random(3);
  for (std::int32_t block = 0; block < n_blocks; ++block) {
    flow.permutations.emplace_back(to_size(n_outputs));
    std::iota(flow.permutations.back().begin(), flow.permutations.back().end(), 0);
    std::shuffle(flow.permutations.back().begin(), flow.permutations.back().end(), random);
  }
  return flow;
}

std::int64_t n_parameters(std::int32_t n_latents, std::int32_t n_outputs, const GinFlow& flow) {
  ParameterLayout layout;
  GinDecoder<double>(layout, "decoder", n_latents, n_outputs, flow);
  return layout.n_parameters();
}

TEST(GinDecoder, HasTheParametersOfThePublishedModels) {
  EXPECT_EQ(n_parameters(2, 120, flow_of(120, 30)), 30474);       // rat
  EXPECT_EQ(n_parameters(4, 192, flow_of(192, 48)), 77272);       // macaque
  EXPECT_EQ(n_parameters(2, 100, flow_of(100, 30)), 26174);       // simulation
  EXPECT_EQ(n_parameters(2, 100, flow_of(100, 25)), 21269);       // simulation as printed
  EXPECT_EQ(n_parameters(2, 1200, flow_of(1200, 300)), 2977794);  // conv-pi-VAE
}

TEST(GinDecoder, TiedCouplingsHoldTheWeightsOfOne) {
  GinFlow flow = flow_of(20, 5);
  const std::int64_t coupling = 10 * 5 + 5 + 5 * 5 + 5 + 5 * 19 + 19, untied = n_parameters(2, 20, flow);
  flow.tie_couplings = true;
  EXPECT_EQ(n_parameters(2, 20, flow), untied - 2 * coupling);
}

TEST(PiVae, EncoderAndLabelPriorHaveTheParametersOfThePublishedModels) {
  const auto count = [](std::int32_t n_neurons, std::int32_t n_labels, std::int32_t n_latents, PriorKind prior) {
    const ModelDesign design{.n_neurons = n_neurons,
                             .n_labels = n_labels,
                             .n_latents = n_latents,
                             .encoder_kind = EncoderKind::separate_mlps,
                             .prior_kind = prior,
                             .encoder = {{60, 60}, Activation::tanh, 0},
                             .prior = {{20, 20}, Activation::tanh, 0}};
    ParameterLayout layout;
    make_encoder<double>(layout, design);
    make_label_prior<double>(layout, design);
    return layout.n_parameters();
  };
  EXPECT_EQ(count(100, 1, 2, PriorKind::shared_mlp), 20228);  // simulation, continuous label
  EXPECT_EQ(count(120, 3, 2, PriorKind::shared_mlp), 22668);  // rat
  EXPECT_EQ(count(192, 8, 4, PriorKind::embedding), 31032);   // macaque, 8 targets
}

// A prior of two latents by itself.
struct PriorAlone {
  PriorAlone(PriorKind kind, std::int32_t n_labels, std::int32_t n_rows)
      : prior(make_label_prior<double>(layout,
                                       {.n_neurons = 4, .n_labels = n_labels, .n_latents = 2, .prior_kind = kind})),
        parameters(*device, layout, 1, false) {
    prior->plan(*device, 1, n_rows, false);
  }
  std::unique_ptr<Device> device = make_cpu_device(1);
  ParameterLayout layout;
  std::unique_ptr<GaussianNetwork<double>> prior;
  Parameters<double> parameters;
};

TEST(PiVae, AnEmbeddingStartsSmallAndPicksTheColumnOfItsLabel) {
  PriorAlone alone(PriorKind::embedding, 3, 1);
  auto& [device, layout, prior, parameters] = alone;
  for (const auto kind : {Initialisation::torch_linear, Initialisation::glorot_uniform}) {
    parameters.initialise(0, 4, kind);
    for (const auto& [name, tensor] : parameters.get(0))
      for (const double value : tensor.values) EXPECT_TRUE(std::abs(value) <= 0.05 && value != 0) << name;
  }
  const Activations<double> label(*device, 1, 1, 3);
  label.rows().data[1] = 1;
  prior->forward(*device, parameters, {}, label);
  const auto tables = parameters.get(0);
  for (std::size_t latent = 0; latent < 2; ++latent) {
    EXPECT_EQ(prior->mean().data[latent], tables.at("prior.mean.weight").values[latent * 3 + 1]);
    EXPECT_EQ(prior->raw_log_var().data[latent], tables.at("prior.log_var.weight").values[latent * 3 + 1]);
  }
}

TEST(PiVae, TheLearnedPriorOfNoLabelIsTheSameForEveryRow) {
  PriorAlone alone(PriorKind::global, 0, 3);
  auto& [device, layout, prior, parameters] = alone;
  NamedTensors tensors = parameters.get(0);
  ASSERT_EQ(tensors.size(), 2u);
  double value = 0;
  for (auto& [name, tensor] : tensors) {
    ASSERT_EQ(tensor.values.size(), 2u) << name;
    for (double& of : tensor.values) of = value += 0.75;
  }
  parameters.set(0, tensors);
  prior->forward(*device, parameters, {}, {});
  for (const auto& [name, rows] :
       {std::pair{std::string("mean"), prior->mean()}, {std::string("log_var"), prior->raw_log_var()}}) {
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const auto& entry) { return entry.first.find(name) != std::string::npos; });
    ASSERT_NE(found, tensors.end()) << name;
    for (std::int64_t row = 0; row < 3; ++row)
      for (std::size_t latent = 0; latent < 2; ++latent)
        EXPECT_EQ(rows.row(0, row)[latent], found->second.values[latent]) << name << ", row " << row;
  }
}

std::vector<double> network(const NamedTensors& tensors, const std::string& name, std::vector<double> x) {
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = name + "." + std::to_string(layer);
    const auto& weight = tensors.at(prefix + ".weight").values;
    std::vector<double> y = tensors.at(prefix + ".bias").values;
    for (std::size_t out = 0; out < y.size(); ++out) {
      for (std::size_t in = 0; in < x.size(); ++in) y[out] += weight[out * x.size() + in] * x[in];
      if (layer < 2) y[out] = std::max(y[out], 0.0);
    }
    x = y;
  }
  return x;
}

// A decoder of one member, its rows on the host, and what it does written out once more.
class Flow : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::int32_t kRows = 3, kLatents = 2, kOutputs = 9, kPassed = kOutputs / 2,
                                kMoved = kOutputs - kPassed;

  Flow()
      : device_(make_cpu_device(1)),
        flow_(tied(flow_of(kOutputs, 6))),
        decoder_(layout_, "decoder", kLatents, kOutputs, flow_),
        parameters_(*device_, layout_, 1, true),
        z_(*device_, 1, kRows, kLatents),
        d_z_(*device_, 1, kRows, kLatents) {
    decoder_.plan(*device_, 1, kRows);
    parameters_.initialise(0, 5, Initialisation::torch_linear);
    auto tensors = parameters_.get(0);
    for (auto& [name, tensor] : tensors)
      for (auto& value : tensor.values) value *= 2;  // log scales far from 0
    parameters_.set(0, tensors);
    std::mt19937 random(6);
    std::normal_distribution<double> normal;
    for (std::int32_t row = 0; row < kRows; ++row)
      for (std::int32_t latent = 0; latent < kLatents; ++latent) z_.rows().row(0, row)[latent] = normal(random);
  }
  static GinFlow tied(GinFlow flow) {
    flow.tie_couplings = GetParam();
    return flow;
  }

  std::string coupling_name(std::size_t block, int coupling) const {
    return "decoder.block" + std::to_string(block) + "." + std::to_string(flow_.tie_couplings ? 0 : coupling);
  }
  // log scales and shifts of a coupling whose passing features are given.
  std::pair<std::vector<double>, std::vector<double>> scales_and_shifts(std::size_t block, int coupling,
                                                                        const std::vector<double>& passed) const {
    const auto raw = network(parameters_.get(0), coupling_name(block, coupling), passed);
    std::vector<double> log_scale;
    for (std::int32_t i = 0; i + 1 < kMoved; ++i) log_scale.push_back(0.1 * std::tanh(raw[to_size(i)]));
    log_scale.push_back(-std::accumulate(log_scale.begin(), log_scale.end(), 0.0));
    return {log_scale, {raw.begin() + kMoved - 1, raw.end()}};
  }
  // The flow alone.
  std::vector<double> flow_forward(std::vector<double> y) const {
    for (std::size_t block = 0; block < flow_.permutations.size(); ++block) {
      std::vector<double> permuted;
      for (const auto from : flow_.permutations[block]) permuted.push_back(y[to_size(from)]);
      y = permuted;
      for (int coupling = 0; coupling < 2; ++coupling) {
        const std::vector<double> passed(y.begin(), y.begin() + kPassed);
        const auto [log_scale, shift] = scales_and_shifts(block, coupling, passed);
        std::vector<double> next;
        for (std::size_t i = 0; i < to_size(kMoved); ++i)
          next.push_back(y[kPassed + i] * std::exp(log_scale[i]) + shift[i]);
        next.insert(next.end(), passed.begin(), passed.end());
        y = next;
      }
    }
    return y;
  }
  std::vector<double> lifted(std::int32_t row) const {
    std::vector<double> y(z_.rows().row(0, row), z_.rows().row(0, row) + kLatents);
    const auto rest = network(parameters_.get(0), "decoder.first", y);
    y.insert(y.end(), rest.begin(), rest.end());
    return y;
  }
  double projection(const Activations<double>& weights) {
    decoder_.forward(*device_, parameters_, {}, z_);
    double sum = 0;
    for (std::int32_t row = 0; row < kRows; ++row)
      for (std::int32_t out = 0; out < kOutputs; ++out)
        sum += weights.rows().row(0, row)[out] * decoder_.value().row(0, row)[out];
    return sum;
  }

  std::unique_ptr<Device> device_;
  GinFlow flow_;
  ParameterLayout layout_;
  GinDecoder<double> decoder_;
  Parameters<double> parameters_;
  Activations<double> z_, d_z_;
};

TEST_P(Flow, GivesWhatItsDefinitionGives) {
  decoder_.forward(*device_, parameters_, {}, z_);
  for (std::int32_t row = 0; row < kRows; ++row) {
    const auto want = flow_forward(lifted(row));
    for (std::size_t out = 0; out < want.size(); ++out)
      EXPECT_NEAR(decoder_.value().row(0, row)[out], want[out], 1e-13);
  }
}

TEST_P(Flow, PreservesVolume) {
  auto at = lifted(0);
  std::vector<std::vector<double>> jacobian;  // by columns
  const double h = 1e-5;
  for (auto& value : at) {
    const double here = value;
    value = here + h;
    auto column = flow_forward(at);
    value = here - h;
    const auto below = flow_forward(at);
    value = here;
    for (std::size_t i = 0; i < column.size(); ++i) column[i] = (column[i] - below[i]) / (2 * h);
    jacobian.push_back(column);
  }
  double log_determinant = 0;
  for (std::size_t k = 0; k < jacobian.size(); ++k) {
    const auto size = [&](const std::vector<double>& column) { return std::abs(column[k]); };
    std::iter_swap(jacobian.begin() + static_cast<std::ptrdiff_t>(k),
                   std::max_element(jacobian.begin() + static_cast<std::ptrdiff_t>(k), jacobian.end(),
                                    [&](auto& a, auto& b) { return size(a) < size(b); }));
    log_determinant += std::log(size(jacobian[k]));
    for (std::size_t other = k + 1; other < jacobian.size(); ++other) {
      const double factor = jacobian[other][k] / jacobian[k][k];
      for (std::size_t i = k; i < jacobian.size(); ++i) jacobian[other][i] -= factor * jacobian[k][i];
    }
  }
  EXPECT_NEAR(log_determinant, 0, 1e-7);
}

TEST_P(Flow, GradientsAgreeWithFiniteDifferencesOfARandomProjection) {
  const Activations<double> weights(*device_, 1, kRows, kOutputs);
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  for (std::int32_t row = 0; row < kRows; ++row)
    for (std::int32_t out = 0; out < kOutputs; ++out) weights.rows().row(0, row)[out] = normal(random);
  projection(weights);
  device_->copy(decoder_.d_value().data, weights.rows().data, weights.memory().size() * sizeof(double));
  decoder_.backward(*device_, parameters_, {}, z_, d_z_, nullptr);
  const double h = 1e-6;
  for (std::int32_t row = 0; row < kRows; ++row)
    for (std::int32_t latent = 0; latent < kLatents; ++latent) {
      const double difference =
          central_difference(z_.rows().row(0, row)[latent], h, [&] { return projection(weights); });
      EXPECT_NEAR(d_z_.rows().row(0, row)[latent], difference, 1e-6);
    }
  expect_gradients_of_tensors(parameters_, parameters_.get_gradients(0), random, h, 1e-6,
                              [&] { return projection(weights); });
}

INSTANTIATE_TEST_SUITE_P(, Flow, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "tied" : "independent"; });

TEST(GinDecoder, IsUndoneExactlyDownToTheLatentsAndTheLift) {
  constexpr std::int32_t kRows = 2, kLatents = 2;
  const auto device = make_cpu_device(1);
  for (const std::int32_t n_outputs : {9, 120, 1200})
    for (const bool is_tied : {false, true}) {
      SCOPED_TRACE(testing::Message() << n_outputs << " outputs, tied " << is_tied);
      GinFlow flow = flow_of(n_outputs, std::max(6, n_outputs / 4));
      flow.tie_couplings = is_tied;
      ParameterLayout layout;
      GinDecoder<double> decoder(layout, "decoder", kLatents, n_outputs, flow);
      decoder.plan(*device, 1, kRows);
      Parameters<double> parameters(*device, layout, 1, true);
      parameters.initialise(0, 5, Initialisation::torch_linear);
      auto tensors = parameters.get(0);
      for (auto& [name, tensor] : tensors)
        for (auto& value : tensor.values) value *= 2;  // log scales far from 0
      parameters.set(0, tensors);
      const Activations<double> z(*device, 1, kRows, kLatents);
      for (std::int32_t i = 0; i < kRows * kLatents; ++i)
        z.rows().row(0, i / kLatents)[i % kLatents] = std::cos(2.3 * i);
      decoder.forward(*device, parameters, {}, z);
      for (std::int32_t row = 0; row < kRows; ++row) {
        std::vector<double> want(z.rows().row(0, row), z.rows().row(0, row) + kLatents);
        const auto lift = network(tensors, "decoder.first", want);
        want.insert(want.end(), lift.begin(), lift.end());
        const double* outputs = decoder.value().row(0, row);
        const auto back = decoder.inverse(tensors, {outputs, outputs + n_outputs});
        ASSERT_EQ(back.size(), want.size());
        for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(back[i], want[i], 1e-11) << i;
      }
    }
}

TEST(GinDecoder, UndoesNoRowOfAnotherLength) {
  const auto device = make_cpu_device(1);
  ParameterLayout layout;
  GinDecoder<double> decoder(layout, "decoder", 2, 9, flow_of(9, 6));
  Parameters<double> parameters(*device, layout, 1, true);
  parameters.initialise(0, 5, Initialisation::torch_linear);
  const auto tensors = parameters.get(0);
  EXPECT_EQ(decoder.inverse(tensors, std::vector<double>(9)).size(), 9u);
  for (const std::size_t n : {0, 8, 10})
    EXPECT_THROW(decoder.inverse(tensors, std::vector<double>(n)), std::invalid_argument) << n;
}

TEST(GinDecoder, RefusesWhatIsNoFlow) {
  ParameterLayout layout;
  const auto build = [&](std::int32_t n_latents, std::int32_t n_outputs, const GinFlow& flow) {
    GinDecoder<float>(layout, "decoder", n_latents, n_outputs, flow);
  };
  EXPECT_NO_THROW(build(2, 9, flow_of(9, 6)));
  EXPECT_THROW(build(9, 9, flow_of(9, 6)), std::invalid_argument);
  EXPECT_THROW(build(2, 9, flow_of(9, 0)), std::invalid_argument);
  EXPECT_THROW(build(2, 9, flow_of(8, 6)), std::invalid_argument);
  EXPECT_THROW(build(2, 9, flow_of(9, 6, 0)), std::invalid_argument);
  GinFlow twice = flow_of(9, 6);
  twice.permutations[1][0] = twice.permutations[1][1];
  EXPECT_THROW(build(2, 9, twice), std::invalid_argument);
}

}  // namespace
}  // namespace idem
