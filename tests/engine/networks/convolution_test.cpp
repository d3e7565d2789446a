#include "engine/families/vae/encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/networks/convolution.h"
#include "host/formats/npz.h"
#include "kernels/common/to_size.h"
#include "tests/support/finite_differences.h"

namespace idem {
namespace {

using Golden = std::map<std::string, NumpyArray>;

Golden golden_case(const char* file) { return read_npz(std::string(IDEM_SOURCE_DIR "/tests/golden/") + file); }

// The golden case's values of the tensors of a layout.
NamedTensors golden_tensors(const Golden& golden, const std::string& prefix, const ParameterLayout& layout) {
  NamedTensors tensors;
  for (const auto& slot : layout.slots()) {
    const NumpyArray& array = golden.at(prefix + slot.name);
    tensors[slot.name] = {.shape = array.shape, .values = array.as<double>()};
  }
  return tensors;
}

// [batch x window x neuron] as the engine lays windows out: bin by bin.
void put_windows(const NumpyArray& windows, const Activations<double>& to, std::int64_t batch, std::int64_t first) {
  const std::int64_t n_windows = windows.shape[0], window = windows.shape[1], n_neurons = windows.shape[2];
  const auto values = windows.as<double>();
  auto rows = to.memory().download();
  for (std::int64_t row = 0; row < n_windows; ++row)
    for (std::int64_t bin = 0; bin < window; ++bin)
      for (std::int64_t neuron = 0; neuron < n_neurons; ++neuron)
        rows[to_size((bin * batch + first + row) * padded(n_neurons) + neuron)] =
            values[to_size((row * window + bin) * n_neurons + neuron)];
  to.memory().upload(rows);
}

std::vector<double> dense(Device& device, Rows<const double> rows, std::int64_t n_rows, std::int64_t n_features) {
  std::vector<double> values(to_size(n_rows * n_features));
  for (std::int64_t row = 0; row < n_rows; ++row)
    device.copy_out(values.data() + row * n_features, rows.row(0, row), to_size(n_features) * sizeof(double));
  return values;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double relative,
                 const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  EXPECT_TRUE(std::sqrt(difference) <= relative * std::sqrt(norm))
      << what << " differs by " << std::sqrt(difference / norm);
}

std::int64_t n_parameters(std::int32_t window, std::int32_t n_neurons, std::int32_t n_out) {
  ParameterLayout layout;
  TemporalConvolution<double>(layout, {"encoder"}, window, n_neurons, 32, n_out, Activation::gelu_erf, 0);
  return layout.n_parameters();
}

TEST(TemporalConvolution, HasTheParametersOfThePublishedEncodersOfEveryWindow) {
  EXPECT_EQ(n_parameters(5, 120, 3), 11011);
  EXPECT_EQ(n_parameters(10, 120, 3), 17315);
  EXPECT_EQ(n_parameters(15, 120, 3), 26531);
  EXPECT_EQ(n_parameters(20, 120, 3), 32835);
  EXPECT_EQ(n_parameters(36, 120, 3), 57667);
  EXPECT_EQ(n_parameters(40, 120, 3), 63875);
  EXPECT_EQ(n_parameters(50, 120, 3), 79395);
  // conv-pi-VAE of 120 neurons: 35,020 with the label prior 3-20-20-4, whose 584 are taken off.
  EXPECT_EQ(2 * n_parameters(10, 120, 2), 35020 - 584);
  EXPECT_THROW(n_parameters(2, 120, 3), std::invalid_argument);
}

TEST(TemporalConvolution, StartsWithinTheBoundsOfItsFanIn) {
  ParameterLayout layout;
  TemporalConvolution<double>(layout, {"encoder"}, 10, 50, 32, 2, Activation::gelu_erf, 0);
  const auto device = make_cpu_device(1);
  Parameters<double> parameters(*device, layout, 1, false);
  const auto largest = [&](Initialisation kind, const char* name) {
    parameters.initialise(0, 3, kind);
    const NamedTensors tensors = parameters.get(0);
    double magnitude = 0;
    for (const double value : tensors.at(name).values) magnitude = std::max(magnitude, std::abs(value));
    return magnitude;
  };
  // The largest of thousands of uniform draws is close to the bound: +-1/sqrt(inputs), or sqrt(6 / (inputs + outputs)),
  // counted with the taps.
  EXPECT_NEAR(largest(Initialisation::torch_linear, "encoder.conv0.weight"), 1 / std::sqrt(100.0), 1e-3);
  EXPECT_NEAR(largest(Initialisation::torch_linear, "encoder.conv1.weight"), 1 / std::sqrt(96.0), 1e-3);
  EXPECT_NEAR(largest(Initialisation::glorot_uniform, "encoder.conv0.weight"), std::sqrt(6.0 / (100 + 64)), 2e-3);
  EXPECT_EQ(parameters.get(0).at("encoder.conv1.weight").shape, (std::vector<std::int64_t>{32, 32, 3}));
}

TEST(TemporalConvolution, GradientsAgreeWithFiniteDifferencesOfARandomProjection) {
  constexpr std::int32_t kBatch = 4, kNeurons = 5, kChannels = 6, kOut = 3;
  const auto device = make_cpu_device(2);
  for (const auto& [window, activation] :
       std::vector<std::pair<std::int32_t, Activation>>{{3, Activation::tanh},
                                                        {4, Activation::gelu_erf},
                                                        {5, Activation::leaky_relu},
                                                        {10, Activation::gelu_tanh},
                                                        {10, Activation::softplus},
                                                        {11, Activation::gelu_erf}}) {
    SCOPED_TRACE(testing::Message() << "window " << window << ", activation " << static_cast<int>(activation));
    ParameterLayout layout;
    TemporalConvolution<double> network(layout, {"encoder"}, window, kNeurons, kChannels, kOut, activation, 0.2);
    network.plan(*device, 1, kBatch, true);
    Parameters<double> parameters(*device, layout, 1, true);
    parameters.initialise(0, 7, Initialisation::torch_linear);
    std::mt19937 random(11);
    std::normal_distribution<double> normal;
    const auto fill = [&](Rows<double> to, std::int64_t n_rows, std::int64_t n_features) {
      for (std::int64_t row = 0; row < n_rows; ++row)
        for (std::int64_t feature = 0; feature < n_features; ++feature) to.row(0, row)[feature] = normal(random);
    };
    const Activations<double> x(*device, 1, window * kBatch, kNeurons), d_x(*device, 1, window * kBatch, kNeurons),
        weights(*device, 1, kBatch, kOut);
    fill(x, window * kBatch, kNeurons);
    fill(weights, kBatch, kOut);
    const auto projection = [&] {
      network.forward(*device, parameters, {}, x);
      double sum = 0;
      for (std::int64_t row = 0; row < kBatch; ++row)
        for (std::int64_t out = 0; out < kOut; ++out)
          sum += weights.rows().row(0, row)[out] * network.value().row(0, row)[out];
      return sum;
    };
    projection();
    device->copy(network.d_value().data, weights.rows().data, weights.memory().size() * sizeof(double));
    network.backward(*device, parameters, {}, x, d_x);
    const auto gradients = parameters.get_gradients(0);

    const double h = 1e-5;
    for (std::int64_t row = 0; row < window * kBatch; row += 3)
      for (std::int64_t neuron = 0; neuron < kNeurons; neuron += 2) {
        const double difference = central_difference(x.rows().row(0, row)[neuron], h, projection);
        EXPECT_NEAR(d_x.rows().row(0, row)[neuron], difference, 1e-7) << "x " << row << " " << neuron;
      }
    expect_gradients_of_tensors(parameters, gradients, random, h, 1e-6, projection);
  }
}

// The cosine InfoNCE of outputs [reference, positive, negative][batch][feature], temperature 1: -mean s(r, p) + mean
// log sum exp s(r, n).
double info_nce(std::vector<double> outputs, std::size_t batch, std::size_t n_features) {
  for (std::size_t row = 0; row < 3 * batch; ++row) {
    double norm = 0;
    for (std::size_t i = 0; i < n_features; ++i) norm += outputs[row * n_features + i] * outputs[row * n_features + i];
    for (std::size_t i = 0; i < n_features; ++i) outputs[row * n_features + i] /= std::sqrt(norm);
  }
  const auto similarity = [&](std::size_t a, std::size_t b) {
    double sum = 0;
    for (std::size_t i = 0; i < n_features; ++i) sum += outputs[a * n_features + i] * outputs[b * n_features + i];
    return sum;
  };
  double loss = 0;
  for (std::size_t row = 0; row < batch; ++row) {
    double sum = 0;
    for (std::size_t other = 0; other < batch; ++other) sum += std::exp(similarity(row, 2 * batch + other));
    loss += (std::log(sum) - similarity(row, batch + row)) / static_cast<double>(batch);
  }
  return loss;
}

TEST(TemporalConvolution, GivesTheOutputsAndGradientsOfTheGoldenContrastiveStep) {
  const Golden golden = golden_case("cebra_cosine_fixed_step.npz");
  const auto& reference = golden.at("step0.in.reference");
  const auto batch = static_cast<std::int32_t>(reference.shape[0]),
             window = static_cast<std::int32_t>(reference.shape[1]),
             n_neurons = static_cast<std::int32_t>(reference.shape[2]);
  const auto channels = static_cast<std::int32_t>(golden.at("param0.encoder.conv0.weight").shape[0]),
             n_out = static_cast<std::int32_t>(golden.at("param0.encoder.conv4.weight").shape[0]);
  const auto device = make_cpu_device(1);
  ParameterLayout layout;
  TemporalConvolution<double> network(layout, {"encoder"}, window, n_neurons, channels, n_out, Activation::gelu_erf, 0);
  network.plan(*device, 1, 3 * batch, true);
  Parameters<double> parameters(*device, layout, 1, true);
  parameters.set(0, golden_tensors(golden, "param0.", layout));
  const Activations<double> x(*device, 1, window * 3 * batch, n_neurons);
  const std::vector<std::string> roles{"reference", "positive", "negative"};
  for (std::size_t role = 0; role < 3; ++role)
    put_windows(golden.at("step0.in." + roles[role]), x, 3 * batch, static_cast<std::int64_t>(role) * batch);
  network.forward(*device, parameters, {}, x);

  auto outputs = dense(*device, network.value(), 3 * batch, n_out);
  const auto n_rows = to_size(batch), n_features = to_size(n_out);
  EXPECT_NEAR(info_nce(outputs, n_rows, n_features), golden.at("step0.out.loss").scalar<double>(), 1e-12);
  for (std::size_t i = 0; i < outputs.size(); ++i) {  // the loss has no twin here: its gradient by central differences
    const double at = outputs[i], h = 1e-5;
    outputs[i] = at + h;
    const double above = info_nce(outputs, n_rows, n_features);
    outputs[i] = at - h;
    const double below = info_nce(outputs, n_rows, n_features);
    outputs[i] = at;
    network.d_value().row(0, static_cast<std::int64_t>(i / n_features))[i % n_features] = (above - below) / (2 * h);
  }
  network.backward(*device, parameters, {}, x, {});
  for (const auto& [name, gradient] : parameters.get_gradients(0))
    expect_near(gradient.values, golden.at("grad." + name).as<double>(), 1e-7, name);
}

TEST(TemporalConvolution, EncodesTheGoldenBatchOfTheConvolutionalPiVae) {
  const Golden golden = golden_case("conv_pivae_step.npz");
  const auto& x = golden.at("step0.in.x");
  const auto batch = static_cast<std::int32_t>(x.shape[0]);
  const ModelDesign design{
      .n_neurons = static_cast<std::int32_t>(x.shape[2]),
      .n_labels = 1,
      .n_latents = static_cast<std::int32_t>(golden.at("step0.out.z_mean").shape[1]),
      .encoder_kind = EncoderKind::temporal_convolution,
      .window = static_cast<std::int32_t>(x.shape[1]),
      .channels = static_cast<std::int32_t>(golden.at("param0.encoder.mean.conv0.weight").shape[0]),
      .encoder = {{}, Activation::gelu_tanh, 0}};
  const auto device = make_cpu_device(1);
  ParameterLayout layout;
  const auto encoder = make_encoder<double>(layout, design);
  encoder->plan(*device, 1, batch, false);
  Parameters<double> parameters(*device, layout, 1, false);
  parameters.set(0, golden_tensors(golden, "param0.", layout));
  const Activations<double> windows(*device, 1, x.shape[1] * batch, design.n_neurons);
  put_windows(x, windows, batch, 0);
  encoder->forward(*device, parameters, {}, windows);
  expect_near(dense(*device, encoder->mean(), batch, design.n_latents), golden.at("step0.out.z_mean").as<double>(),
              1e-12, "mean");
  expect_near(dense(*device, encoder->raw_log_var(), batch, design.n_latents),
              golden.at("step0.out.z_log_var").as<double>(), 1e-12, "log variance");
}

}  // namespace
}  // namespace idem
