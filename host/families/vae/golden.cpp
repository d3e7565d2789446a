#include "host/families/vae/golden.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "engine/families/vae/ci_ivae.h"
#include "host/families/vae/golden_objective.h"
#include "host/parity/case_training.h"
#include "host/parity/transfer.h"
#include "host/support/one_line.h"
#include "kernels/common/stable_math.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"

namespace idem {
namespace {

using namespace parity;

HiddenLayers hidden_layers(const ParityCase& golden, const std::string& prefix, bool last_is_linear, double slope) {
  HiddenLayers hidden{.widths = {}, .activation = Activation::leaky_relu, .slope = slope};
  const auto weight = [&] { return fmt::format("param0.{}.{}.weight", prefix, hidden.widths.size()); };
  while (golden.has(weight())) hidden.widths.push_back(golden.extent(weight(), 2, 0));
  if (last_is_linear && !hidden.widths.empty()) hidden.widths.pop_back();
  return hidden;
}

template <class Real>
void record_latents(const Transfer<Real>& transfer, const CiIvae<Real>& model, std::int64_t batch,
                    std::int64_t n_latents, const std::string& prefix, Arrays& out) {
  const auto& results = model.outputs();
  const auto record = [&](const char* name, Rows<const Real> rows) {
    out[prefix + name] = transfer.out(rows, batch, n_latents);
  };
  record("z_mean", model.encoder_mean());
  record("z_log_var", results.encoder_log_var);
  record("lam_mean", model.prior_mean());
  record("lam_log_var", results.prior_log_var);
  record("post_mean", results.posterior_mean);
  record("post_log_var", results.posterior_log_var);
}

double leaky_slope(const std::string& activation) {
  const std::string_view prefix = "leaky_relu(",
                         number = std::string_view(activation).substr(std::min(prefix.size(), activation.size()));
  double slope = 0;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), slope);
  if (!activation.starts_with(prefix) || read.ec != std::errc() || !std::isfinite(slope) ||
      std::string_view(read.ptr, 1) != ")")
    throw std::invalid_argument("meta.activation \"" + one_line(activation) +
                                "\" is not known here; known: leaky_relu(SLOPE)");
  return slope;
}

template <class Real>
std::unique_ptr<CiIvae<Real>> checked_ci_ivae(Device& device, const ParityCase& golden, const ModelDesign& design,
                                              std::int64_t batch) {
  const std::vector<double> beta{golden.meta().number("beta", -kUnbounded, kUnbounded)};
  return checked_model(device, golden, [&](Device& on) {
    return std::make_unique<CiIvae<Real>>(on, design, 1, static_cast<std::int32_t>(batch), true, beta);
  });
}

template <class Real>
Arrays run_ci_ivae_steps(Device& device, const ParityCase& golden) {
  const JsonFields& meta = golden.meta();
  const std::vector<std::int64_t> x_shape = golden.shape("step0.in.x", 3);
  const std::int64_t batch = x_shape[0], window = x_shape[1], n_neurons = x_shape[2];
  const double slope = leaky_slope(meta.text("activation"));
  ModelDesign design{.n_neurons = static_cast<std::int32_t>(n_neurons),
                     .n_labels = golden.extent("step0.in.u", 2, 1),
                     .n_latents = golden.extent("param0.encoder.mean.weight", 2, 0),
                     .encoder = hidden_layers(golden, "encoder.trunk", false, slope),
                     .prior = hidden_layers(golden, "prior.mean", true, slope),
                     .decoder = hidden_layers(golden, "decoder", true, slope),
                     .log_var_bound = LogVarBound::none,
                     .observation = Observation::squared_error,
                     .output = meta.text("decoder_output") == "sigmoid" ? OutputMap::sigmoid : OutputMap::identity,
                     .mean_over_neurons = true,
                     .mean_over_latents = true,
                     .keep_constants = false,
                     .objective = enum_from<Objective>(meta.text("objective")),
                     .alphas = meta.numbers("alphas", 0, 1),
                     .n_samples = golden.extent("step0.in.eps_mc", 3, 2),
                     .common_random_numbers = false};
  const auto owned = checked_ci_ivae<Real>(device, golden, design, batch);
  CiIvae<Real>& model = *owned;
  CaseTraining<Real> training(device, golden, model.parameters());
  const Transfer<Real> transfer(device);
  auto& in = model.inputs();
  in.row_weight.upload(std::vector<Real>(in.row_weight.size(), Real(1) / static_cast<Real>(batch)));

  // The windows lie one after the other, each a segment of its own; the filter reads each at its reference bin.
  const std::int64_t n_bins = batch * window, left = window / 2;
  std::vector<std::int32_t> centres, begins, ends;
  for (std::int64_t bin = 0; bin < n_bins; ++bin) {
    begins.push_back(static_cast<std::int32_t>(bin / window * window));
    ends.push_back(static_cast<std::int32_t>(bin / window * window + window));
  }
  for (std::int64_t row = 0; row < batch; ++row) centres.push_back(static_cast<std::int32_t>(row * window + left));
  const Array<std::int32_t> centre_bins(device, centres), segment_begin(device, begins), segment_end(device, ends);
  std::vector<Real> kernel;
  // A tap for every bin of a window: the filter reads no further than its rows' segments, which are the windows.
  for (const double tap : golden.meta_numbers("kernel", to_size(window), -kUnbounded, kUnbounded))
    kernel.push_back(static_cast<Real>(tap));
  const Array<Real> taps(device, kernel);
  const Activations<Real> windows(device, 1, n_bins, n_neurons);

  const double noise_sd = meta.number("input_noise_sd", -kUnbounded, kUnbounded);

  Arrays out;
  for (std::int64_t step = 0; step < n_steps(golden); ++step) {
    const std::string at = "step" + std::to_string(step);
    auto noisy = golden.values(at + ".in.x", x_shape);
    const auto noise = golden.values(at + ".in.noise_x", x_shape);
    for (std::size_t i = 0; i < noisy.size(); ++i) noisy[i] += noise_sd * noise[i];
    transfer.in(NumpyArray::of<double>({n_bins, n_neurons}, noisy), windows);
    temporal_filter_forward(device.execution(), TemporalFilter<Real>{.n_times = n_bins,
                                                                     .n_rows = batch,
                                                                     .n_neurons = static_cast<std::int32_t>(n_neurons),
                                                                     .n_taps = static_cast<std::int32_t>(kernel.size()),
                                                                     .left = static_cast<std::int32_t>(left),
                                                                     .counts = windows.rows().data,
                                                                     .counts_stride = windows.rows().row_stride,
                                                                     .segment_begin = segment_begin.data(),
                                                                     .segment_end = segment_end.data(),
                                                                     .taps = taps.data(),
                                                                     .rows = centre_bins.data(),
                                                                     .smoothed = in.x.rows().data,
                                                                     .smoothed_stride = in.x.rows().row_stride});
    device.copy(in.target.rows().data, in.x.rows().data, in.x.memory().size() * sizeof(Real));
    if (const std::string centre = at + ".in.centre"; golden.has(centre))
      golden.array(centre, {batch}).as<std::int64_t>();  // for people alone
    transfer.in(golden.array(at + ".in.u", {batch, design.n_labels}), in.label);
    transfer.in(golden.array(at + ".in.eps_post", {batch, design.n_latents}), in.noise_posterior);
    transfer.in(golden.array(at + ".in.eps_encoded", {batch, design.n_latents}), in.noise_encoder);
    const NumpyArray& monte_carlo = golden.array(at + ".in.eps_mc", {batch, design.n_latents, design.n_samples});
    if (model.needs_monte_carlo_noise()) transfer.in(monte_carlo, in.noise_monte_carlo);
    model.forward({});
    model.backward({});

    const auto& results = model.outputs();
    const auto record = [&](const std::string& name, NumpyArray array) { out[at + ".out." + name] = std::move(array); };
    record("loss", NumpyArray::of_scalar(mean(transfer.scalars(results.loss.data(), batch))));
    record("smoothed", transfer.out(in.x, batch, n_neurons));
    record_latents(transfer, model, batch, design.n_latents, at + ".out.", out);
    record("loglik_post", vector_array(scaled(transfer.scalars(model.reconstruction_posterior(), batch), -1)));
    record("loglik_encoded", vector_array(scaled(transfer.scalars(model.reconstruction_encoder(), batch), -1)));
    record("argmin", transfer.indices(results.alpha_index.data(), batch));
    training.step(out);
  }
  training.finish(out);
  return out;
}

std::vector<std::vector<std::int32_t>> permutations_of(const ParityCase& golden) {
  std::vector<std::vector<std::int32_t>> permutations;
  for (const auto& permutation : golden.meta().list("permutations"))
    permutations.push_back(json_sizes(permutation, fmt::format("meta.permutations[{}]", permutations.size()), 0,
                                      std::numeric_limits<std::int32_t>::max()));
  return permutations;
}

// pi-VAE (x is [batch x neuron]) and conv-pi-VAE ([batch x window x neuron], all of which the flow explains).
template <class Real>
Arrays run_pi_vae_steps(Device& device, const ParityCase& golden) {
  const JsonFields& meta = golden.meta();
  const bool windowed = meta.text("case") == "conv-pi-vae-step";
  const std::vector<std::int64_t> x_shape = golden.shape("step0.in.x", windowed ? 3 : 2);
  const std::int64_t batch = x_shape[0], window = windowed ? x_shape[1] : 1, n_neurons = x_shape.back();
  const auto tanh_layers = [&](const std::string& prefix) {
    auto hidden = hidden_layers(golden, prefix, true, 0);
    hidden.activation = Activation::tanh;
    return hidden;
  };
  ModelDesign design{
      .n_neurons = static_cast<std::int32_t>(n_neurons),
      .n_labels = golden.extent("step0.in.u", 2, 1),
      .n_latents = golden.extent("step0.out.z_mean", 2, 1),
      .encoder_kind = windowed ? EncoderKind::temporal_convolution : EncoderKind::separate_mlps,
      .window = static_cast<std::int32_t>(window),
      .prior_kind = PriorKind::shared_mlp,
      .decoder_kind = DecoderKind::gin,
      .encoder = windowed ? HiddenLayers{{}, Activation::gelu_tanh, 0} : tanh_layers("encoder.mean"),
      .prior = tanh_layers("prior"),
      .flow = {.width = golden.extent("param0.decoder.first.0.weight", 2, 0), .permutations = permutations_of(golden)},
      .log_var_bound = LogVarBound::none,
      .decodes_window = windowed,
      .mean_over_window = false,
      .keep_constants = false,
      .objective = Objective::ivae,
      .alphas = {0},
      .common_random_numbers = false};
  if (windowed) design.channels = golden.extent("param0.encoder.mean.conv0.weight", 3, 0);
  const auto owned = checked_ci_ivae<Real>(device, golden, design, batch);
  CiIvae<Real>& model = *owned;
  CaseTraining<Real> training(device, golden, model.parameters());
  const Transfer<Real> transfer(device);
  auto& in = model.inputs();
  in.row_weight.upload(std::vector<Real>(in.row_weight.size(), Real(1) / static_cast<Real>(batch)));
  const auto clip = golden.meta_numbers("rate_clip", 2, -kUnbounded, kUnbounded);
  if (clip[0] > clip[1])
    golden.fail(fmt::format("meta.rate_clip is from {:g} to {:g}, the first must be the lower", clip[0], clip[1]));

  Arrays out;
  for (std::int64_t step = 0; step < n_steps(golden); ++step) {
    const std::string at = "step" + std::to_string(step);
    const auto& x = golden.array(at + ".in.x", x_shape);
    const auto values = x.as<double>();
    std::vector<double> by_bin(values.size());  // the engine's windows lie bin by bin
    for (std::int64_t row = 0; row < batch; ++row)
      for (std::int64_t bin = 0; bin < window; ++bin)
        std::copy_n(values.begin() + (row * window + bin) * n_neurons, n_neurons,
                    by_bin.begin() + (bin * batch + row) * n_neurons);
    transfer.in(NumpyArray::of<double>({window * batch, n_neurons}, by_bin), in.x);
    transfer.in(x, in.target);
    transfer.in(golden.array(at + ".in.u", {batch, design.n_labels}), in.label);
    transfer.in(golden.array(at + ".in.eps_post", {batch, design.n_latents}), in.noise_posterior);
    model.forward({});
    model.backward({});

    const auto& results = model.outputs();
    const auto record = [&](const std::string& name, NumpyArray array) { out[at + ".out." + name] = std::move(array); };
    record("loss", NumpyArray::of_scalar(mean(transfer.scalars(results.loss.data(), batch))));
    record("nll", vector_array(transfer.scalars(model.reconstruction_posterior(), batch)));
    record("kl", vector_array(transfer.scalars(results.kl_posterior.data(), batch)));
    auto rate = transfer.out(model.decoded(), batch, design.n_outputs()).template as<double>();
    for (auto& value : rate) value = std::clamp(stable::softplus(value), clip[0], clip[1]);
    record("rate", NumpyArray::of<double>({batch, design.n_outputs()}, rate));
    record_latents(transfer, model, batch, design.n_latents, at + ".out.", out);
    training.step(out);
  }
  training.finish(out);
  return out;
}

}  // namespace

std::vector<CaseKind> vae_golden_cases() {
  return {{"ci-ivae/published-objective", published_objective<float>, published_objective<double>},
          {"ci-ivae/paper-objective", paper_objective<float>, paper_objective<double>},
          {"conv-ci-ivae-step", run_ci_ivae_steps<float>, run_ci_ivae_steps<double>},
          {"pi-vae-step", run_pi_vae_steps<float>, run_pi_vae_steps<double>},
          {"conv-pi-vae-step", run_pi_vae_steps<float>, run_pi_vae_steps<double>}};
}

}  // namespace idem
