#include "host/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "engine/cebra.h"
#include "engine/ci_ivae.h"
#include "kernels/common/stable_math.h"
#include "kernels/input/input.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

namespace {

using Arrays = std::map<std::string, NumpyArray>;

const NumpyArray& find(const Arrays& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) throw DataError("array \"" + name + "\" is missing; is this a golden case (a file as tests/golden holds them)?");
  return found->second;
}

// Rows of one member on the device, from or to a dense array whose first axis is the row.
template <class Real>
class Transfer {
 public:
  explicit Transfer(Device& device) : device_(device) {}

  void in(const NumpyArray& array, Rows<Real> to) const {
    const auto values = array.as<double>();
    const auto n_rows = static_cast<std::size_t>(array.shape.at(0));
    const std::size_t n_features = n_rows ? values.size() / n_rows : 0;
    for (std::size_t row = 0; row < n_rows; ++row) {
      std::vector<Real> line(n_features);
      std::transform(values.begin() + static_cast<std::ptrdiff_t>(row * n_features), values.begin() + static_cast<std::ptrdiff_t>((row + 1) * n_features),
                     line.begin(), [](double value) { return static_cast<Real>(value); });
      device_.copy_in(to.row(0, static_cast<std::int64_t>(row)), line.data(), n_features * sizeof(Real));
    }
  }

  NumpyArray out(Rows<const Real> from, std::int64_t n_rows, std::int64_t n_features) const {
    std::vector<Real> values(static_cast<std::size_t>(n_rows * n_features));
    for (std::int64_t row = 0; row < n_rows; ++row)
      device_.copy_out(values.data() + row * n_features, from.row(0, row), static_cast<std::size_t>(n_features) * sizeof(Real));
    return NumpyArray::of<double>({n_rows, n_features}, std::vector<double>(values.begin(), values.end()));
  }

  std::vector<double> scalars(const Real* from, std::int64_t n) const {
    std::vector<Real> values(static_cast<std::size_t>(n));
    device_.copy_out(values.data(), from, values.size() * sizeof(Real));
    return {values.begin(), values.end()};
  }

  NumpyArray indices(const std::int32_t* from, std::int64_t n) const {
    std::vector<std::int32_t> values(static_cast<std::size_t>(n));
    device_.copy_out(values.data(), from, values.size() * sizeof(std::int32_t));
    return NumpyArray::of<std::int64_t>({n}, std::vector<std::int64_t>(values.begin(), values.end()));
  }

 private:
  Device& device_;
};

NumpyArray vector_array(const std::vector<double>& values) { return NumpyArray::of<double>({static_cast<std::int64_t>(values.size())}, values); }

std::vector<double> scaled(std::vector<double> values, double factor) {
  for (auto& value : values) value *= factor;
  return values;
}

double mean(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()); }

// ---- the objective alone ----

template <class Real>
class ObjectiveCase {
 public:
  ObjectiveCase(Device& device, const Arrays& golden)
      : device_(device),
        golden_(golden),
        transfer_(device),
        batch_(find(golden, "z_mean").shape.at(0)),
        n_latents_(find(golden, "z_mean").shape.at(1)),
        n_samples_(find(golden, "eps").shape.at(2)),
        alphas_(find(golden, "alphas").as<double>()) {}

  Arrays published(double beta) {
    Arrays out = posterior();
    run(out, "", SkewTerm::published, beta, 1.0 / static_cast<double>(n_latents_), 0);
    return out;
  }

  Arrays paper() {
    Arrays out;
    for (const std::string unit : {"sum", "mean"}) {
      const double beta = find(golden_, "paper_" + unit + "_beta").scalar<double>();
      const double per_unit = unit == "sum" ? 1.0 : 1.0 / static_cast<double>(n_latents_);
      run(out, "paper_" + unit + "_", SkewTerm::paper, beta, per_unit, beta * per_unit);
    }
    return out;
  }

 private:
  Activations<Real> rows(std::int64_t n_features) { return Activations<Real>(device_, 1, batch_, n_features); }
  Array<Real> scalars() { return Array<Real>(device_, static_cast<std::size_t>(batch_)); }
  Activations<Real> input(const std::string& name, std::int64_t n_features) {
    auto activations = rows(n_features);
    transfer_.in(find(golden_, name), activations);
    return activations;
  }
  Array<Real> input_scalars(const std::string& name, double factor) {
    std::vector<Real> values;
    for (const double value : find(golden_, name).as<double>()) values.push_back(static_cast<Real>(value * factor));
    return Array<Real>(device_, values);
  }

  Arrays posterior() {
    const auto mean_rows = input("z_mean", n_latents_), log_var = input("z_log_var", n_latents_), prior_mean = input("lam_mean", n_latents_),
               prior_log_var = input("lam_log_var", n_latents_), no_noise = rows(n_latents_), post_mean = rows(n_latents_), post_log_var = rows(n_latents_),
               l = rows(n_latents_), r = rows(n_latents_);
    latent_sample_forward(device_.execution(), LatentSample<Real>{.batch = static_cast<std::int32_t>(batch_),
                                                                  .n_latents = static_cast<std::int32_t>(n_latents_),
                                                                  .bound = LogVarBound::none,
                                                                  .encoder_mean = mean_rows,
                                                                  .encoder_raw = log_var,
                                                                  .prior_mean = prior_mean,
                                                                  .prior_raw = prior_log_var,
                                                                  .noise_encoder = no_noise,
                                                                  .noise_posterior = no_noise,
                                                                  .encoder_log_var = l,
                                                                  .prior_log_var = r,
                                                                  .posterior_mean = post_mean,
                                                                  .posterior_log_var = post_log_var});
    return {{"post_mean", transfer_.out(post_mean, batch_, n_latents_)}, {"post_log_var", transfer_.out(post_log_var, batch_, n_latents_)}};
  }

  void run(Arrays& out, const std::string& prefix, SkewTerm skew_term, double beta, double per_unit, double skew_factor) {
    const auto n_alphas = static_cast<std::int64_t>(alphas_.size());
    const auto mean_rows = input("z_mean", n_latents_), log_var = input("z_log_var", n_latents_), prior_mean = input("lam_mean", n_latents_),
               prior_log_var = input("lam_log_var", n_latents_), noise = input("eps", n_latents_ * n_samples_), d_mean = rows(n_latents_),
               d_log_var = rows(n_latents_), d_prior_mean = rows(n_latents_), d_prior_log_var = rows(n_latents_), grid = rows(n_alphas);
    const auto loss_posterior = input_scalars("loglik_post", -1), loss_encoder = input_scalars("loglik_encoded", -1);
    const Array<Real> alphas(device_, std::vector<Real>(alphas_.begin(), alphas_.end()));
    const Array<Real> weight(device_, std::vector<Real>(static_cast<std::size_t>(batch_), Real(1) / static_cast<Real>(batch_)));
    const Array<Real> kl_scale(device_, std::vector<Real>{static_cast<Real>(beta * per_unit)});
    const Array<Real> skew_scale(device_, std::vector<Real>{static_cast<Real>(skew_factor)});
    const auto loss = scalars(), kl_encoder = scalars(), kl_posterior = scalars(), skew = scalars(), alpha = scalars(), weight_posterior = scalars(),
               weight_encoder = scalars();
    const Array<std::int32_t> alpha_index(device_, static_cast<std::size_t>(batch_));
    ci_ivae_bound(device_.execution(), CiIvaeBound<Real>{.batch = static_cast<std::int32_t>(batch_),
                                                         .n_latents = static_cast<std::int32_t>(n_latents_),
                                                         .n_samples = static_cast<std::int32_t>(n_samples_),
                                                         .n_alphas = static_cast<std::int32_t>(n_alphas),
                                                         .skew_term = skew_term,
                                                         .mean = mean_rows,
                                                         .log_var = log_var,
                                                         .prior_mean = prior_mean,
                                                         .prior_log_var = prior_log_var,
                                                         .noise = noise,
                                                         .alphas = alphas.data(),
                                                         .loss_posterior = loss_posterior.data(),
                                                         .loss_encoder = loss_encoder.data(),
                                                         .row_weight = weight.data(),
                                                         .row_scalar_stride = batch_,
                                                         .kl_scale = kl_scale.data(),
                                                         .skew_scale = skew_scale.data(),
                                                         .loss = loss.data(),
                                                         .kl_encoder = kl_encoder.data(),
                                                         .kl_posterior = kl_posterior.data(),
                                                         .skew = skew.data(),
                                                         .alpha = alpha.data(),
                                                         .alpha_index = alpha_index.data(),
                                                         .weight_posterior = weight_posterior.data(),
                                                         .weight_encoder = weight_encoder.data(),
                                                         .d_mean = d_mean,
                                                         .d_log_var = d_log_var,
                                                         .d_prior_mean = d_prior_mean,
                                                         .d_prior_log_var = d_prior_log_var,
                                                         .loss_grid = grid});
    const auto per_row = transfer_.scalars(loss.data(), batch_);
    out[prefix + "loss_grid"] = transfer_.out(grid, batch_, n_alphas);
    out[prefix + "argmin"] = transfer_.indices(alpha_index.data(), batch_);
    out[prefix + "loss"] = NumpyArray::of_scalar(mean(per_row));
    out[prefix + "grad_z_mean"] = transfer_.out(d_mean, batch_, n_latents_);
    out[prefix + "grad_z_log_var"] = transfer_.out(d_log_var, batch_, n_latents_);
    out[prefix + "grad_lam_mean"] = transfer_.out(d_prior_mean, batch_, n_latents_);
    out[prefix + "grad_lam_log_var"] = transfer_.out(d_prior_log_var, batch_, n_latents_);
    out[prefix + "grad_loglik_post"] = vector_array(scaled(transfer_.scalars(weight_posterior.data(), batch_), -1));
    out[prefix + "grad_loglik_encoded"] = vector_array(scaled(transfer_.scalars(weight_encoder.data(), batch_), -1));
    if (skew_term != SkewTerm::published) return;
    out["loss_per_sample"] = vector_array(per_row);
    for (const auto& [kl, loglik, name] : {std::tuple{&kl_posterior, &loss_posterior, "post"}, std::tuple{&kl_encoder, &loss_encoder, "enc"}}) {
      const auto kl_values = scaled(transfer_.scalars(kl->data(), batch_), per_unit);
      auto elbo = scaled(transfer_.scalars(loglik->data(), batch_), -1);
      for (std::size_t row = 0; row < elbo.size(); ++row) elbo[row] -= beta * kl_values[row];
      out[std::string("kl_") + name] = vector_array(kl_values);
      out[std::string("elbo_") + name] = vector_array(elbo);
    }
  }

  Device& device_;
  const Arrays& golden_;
  Transfer<Real> transfer_;
  std::int64_t batch_, n_latents_, n_samples_;
  std::vector<double> alphas_;
};

// ---- training steps ----

HiddenLayers hidden_layers(const Arrays& golden, const std::string& prefix, bool last_is_linear, double slope) {
  HiddenLayers hidden{.widths = {}, .activation = Activation::leaky_relu, .slope = slope};
  for (int layer = 0;; ++layer) {
    const auto found = golden.find("param0." + prefix + "." + std::to_string(layer) + ".weight");
    if (found == golden.end()) break;
    hidden.widths.push_back(static_cast<std::int32_t>(found->second.shape.at(0)));
  }
  if (last_is_linear && !hidden.widths.empty()) hidden.widths.pop_back();
  return hidden;
}

// Weights from the case, and Adam as it says.
template <class Real>
class CaseTraining {
 public:
  CaseTraining(Device& device, const Arrays& golden, const nlohmann::json& optimizer, Parameters<Real>& parameters)
      : device_(device),
        parameters_(parameters),
        n_parameters_(parameters.layout().member_stride()),
        partials_(device, static_cast<std::size_t>(gradient_norm_blocks(n_parameters_))),
        norm_(device, 1),
        learning_rate_(device, std::vector<Real>{real(optimizer.at("lr"))}),
        step_count_(device, 1) {
    adam_.beta1 = real(optimizer.at("b1"));
    adam_.beta2 = real(optimizer.at("b2"));
    adam_.epsilon = static_cast<Real>(optimizer.value("eps", 1e-8));
    adam_.coupled_decay = real(optimizer.at("wd"));
    NamedTensors initial;
    for (const auto& slot : parameters.layout().slots()) {
      const NumpyArray& array = find(golden, "param0." + slot.name);
      initial[slot.name] = {.shape = array.shape, .values = array.as<double>()};
    }
    parameters.set(0, initial);
  }

  // After the model's backward pass; the first step's gradients go to `out`.
  void step(Arrays& out) {
    if (is_first_)
      for (const auto& [name, tensor] : parameters_.get_gradients(0)) out["grad." + name] = NumpyArray::of<double>(tensor.shape, tensor.values);
    is_first_ = false;
    gradient_norm(device_.execution(), GradientNorm<Real>{.n_parameters = n_parameters_,
                                                          .member_stride = n_parameters_,
                                                          .gradient = parameters_.gradient_data(),
                                                          .partial = partials_.data(),
                                                          .norm = norm_.data()});
    adam_.n_parameters = adam_.member_stride = n_parameters_;
    adam_.parameters = parameters_.weight_data();
    adam_.moment1 = parameters_.moment1_data();
    adam_.moment2 = parameters_.moment2_data();
    adam_.gradient = parameters_.gradient_data();
    adam_.learning_rate = learning_rate_.data();
    adam_.norm = norm_.data();
    adam_.step = step_count_.data();
    adam(device_.execution(), adam_);
    advance_step(device_.execution(), AdvanceStep<Real>{.norm = norm_.data(), .step = step_count_.data()});
  }

  void finish(Arrays& out) const {
    for (const auto& [name, tensor] : parameters_.get(0)) out["param_after." + name] = NumpyArray::of<double>(tensor.shape, tensor.values);
  }

 private:
  static Real real(const nlohmann::json& value) { return static_cast<Real>(value.get<double>()); }

  Device& device_;
  Parameters<Real>& parameters_;
  std::int64_t n_parameters_;
  Array<Real> partials_, norm_, learning_rate_;
  Array<std::uint32_t> step_count_;
  Adam<Real> adam_;
  bool is_first_ = true;
};

template <class Real>
void record_latents(const Transfer<Real>& transfer, const CiIvae<Real>& model, std::int64_t batch, std::int64_t n_latents, const std::string& prefix,
                    Arrays& out) {
  const auto& results = model.outputs();
  const auto record = [&](const char* name, Rows<const Real> rows) { out[prefix + name] = transfer.out(rows, batch, n_latents); };
  record("z_mean", model.encoder_mean());
  record("z_log_var", results.encoder_log_var);
  record("lam_mean", model.prior_mean());
  record("lam_log_var", results.prior_log_var);
  record("post_mean", results.posterior_mean);
  record("post_log_var", results.posterior_log_var);
}

double leaky_slope(const std::string& activation) {
  const std::string prefix = "leaky_relu(";
  if (activation.rfind(prefix, 0) != 0) throw DataError("golden case: activation " + activation + " is not known here");
  return std::stod(activation.substr(prefix.size()));
}

template <class Real>
Arrays run_ci_ivae_steps(Device& device, const Arrays& golden, const nlohmann::json& meta) {
  const auto& x0 = find(golden, "step0.in.x");
  const std::int64_t batch = x0.shape.at(0), window = x0.shape.at(1), n_neurons = x0.shape.at(2);
  const double slope = leaky_slope(meta.at("activation").get<std::string>());
  ModelDesign design{.n_neurons = static_cast<std::int32_t>(n_neurons),
                     .n_labels = static_cast<std::int32_t>(find(golden, "step0.in.u").shape.at(1)),
                     .n_latents = static_cast<std::int32_t>(find(golden, "param0.encoder.mean.weight").shape.at(0)),
                     .encoder = hidden_layers(golden, "encoder.trunk", false, slope),
                     .prior = hidden_layers(golden, "prior.mean", true, slope),
                     .decoder = hidden_layers(golden, "decoder", true, slope),
                     .log_var_bound = LogVarBound::none,
                     .observation = Observation::squared_error,
                     .output = meta.at("decoder_output") == "sigmoid" ? OutputMap::sigmoid : OutputMap::identity,
                     .mean_over_neurons = true,
                     .mean_over_latents = true,
                     .keep_constants = false,
                     .objective = objective_from_string(meta.at("objective").get<std::string>()),
                     .alphas = meta.at("alphas").get<std::vector<double>>(),
                     .n_samples = static_cast<std::int32_t>(find(golden, "step0.in.eps_mc").shape.at(2)),
                     .common_random_numbers = false};
  CiIvae<Real> model(device, design, 1, static_cast<std::int32_t>(batch), true, {meta.at("beta").get<double>()});
  CaseTraining<Real> training(device, golden, meta.at("optimizer"), model.parameters());
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
  for (const auto& tap : meta.at("kernel")) kernel.push_back(static_cast<Real>(tap.get<double>()));
  const Array<Real> taps(device, kernel);
  const Activations<Real> windows(device, 1, n_bins, n_neurons);

  const double noise_sd = meta.at("input_noise_sd").get<double>();

  Arrays out;
  for (int step = 0; step < meta.at("steps").get<int>(); ++step) {
    const std::string at = "step" + std::to_string(step);
    auto noisy = find(golden, at + ".in.x").as<double>();
    const auto noise = find(golden, at + ".in.noise_x").as<double>();
    for (std::size_t i = 0; i < noisy.size(); ++i) noisy[i] += noise_sd * noise.at(i);
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
    transfer.in(find(golden, at + ".in.u"), in.label);
    transfer.in(find(golden, at + ".in.eps_post"), in.noise_posterior);
    transfer.in(find(golden, at + ".in.eps_encoded"), in.noise_encoder);
    transfer.in(find(golden, at + ".in.eps_mc"), in.noise_monte_carlo);
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

// pi-VAE (x is [batch x neuron]) and conv-pi-VAE ([batch x window x neuron], all of which the flow explains).
template <class Real>
Arrays run_pi_vae_steps(Device& device, const Arrays& golden, const nlohmann::json& meta) {
  const auto& x0 = find(golden, "step0.in.x");
  const bool windowed = meta.at("case") == "conv-pi-vae-step";
  const std::int64_t batch = x0.shape.at(0), window = windowed ? x0.shape.at(1) : 1, n_neurons = x0.shape.at(windowed ? 2 : 1);
  const auto tanh_layers = [&](const std::string& prefix) {
    auto hidden = hidden_layers(golden, prefix, true, 0);
    hidden.activation = Activation::tanh;
    return hidden;
  };
  ModelDesign design{.n_neurons = static_cast<std::int32_t>(n_neurons),
                     .n_labels = static_cast<std::int32_t>(find(golden, "step0.in.u").shape.at(1)),
                     .n_latents = static_cast<std::int32_t>(find(golden, "step0.out.z_mean").shape.at(1)),
                     .encoder_kind = windowed ? EncoderKind::temporal_convolution : EncoderKind::separate_mlps,
                     .window = static_cast<std::int32_t>(window),
                     .prior_kind = PriorKind::shared_mlp,
                     .decoder_kind = DecoderKind::gin,
                     .encoder = windowed ? HiddenLayers{{}, Activation::gelu_tanh, 0} : tanh_layers("encoder.mean"),
                     .prior = tanh_layers("prior"),
                     .flow = {.width = static_cast<std::int32_t>(find(golden, "param0.decoder.first.0.weight").shape.at(0)),
                              .permutations = meta.at("permutations").get<std::vector<std::vector<std::int32_t>>>()},
                     .log_var_bound = LogVarBound::none,
                     .decodes_window = windowed,
                     .mean_over_window = false,
                     .keep_constants = false,
                     .objective = Objective::ivae,
                     .alphas = {0},
                     .common_random_numbers = false};
  if (windowed) design.channels = static_cast<std::int32_t>(find(golden, "param0.encoder.mean.conv0.weight").shape.at(0));
  CiIvae<Real> model(device, design, 1, static_cast<std::int32_t>(batch), true, {meta.at("beta").get<double>()});
  CaseTraining<Real> training(device, golden, meta.at("optimizer"), model.parameters());
  const Transfer<Real> transfer(device);
  auto& in = model.inputs();
  in.row_weight.upload(std::vector<Real>(in.row_weight.size(), Real(1) / static_cast<Real>(batch)));
  const auto clip = meta.at("rate_clip").get<std::vector<double>>();

  Arrays out;
  for (int step = 0; step < meta.at("steps").get<int>(); ++step) {
    const std::string at = "step" + std::to_string(step);
    const auto& x = find(golden, at + ".in.x");
    const auto values = x.as<double>();
    std::vector<double> by_bin(values.size());  // the engine's windows lie bin by bin
    for (std::int64_t row = 0; row < batch; ++row)
      for (std::int64_t bin = 0; bin < window; ++bin)
        std::copy_n(values.begin() + (row * window + bin) * n_neurons, n_neurons, by_bin.begin() + (bin * batch + row) * n_neurons);
    transfer.in(NumpyArray::of<double>({window * batch, n_neurons}, by_bin), in.x);
    transfer.in(x, in.target);
    transfer.in(find(golden, at + ".in.u"), in.label);
    transfer.in(find(golden, at + ".in.eps_post"), in.noise_posterior);
    model.forward({});
    model.backward({});

    const auto& results = model.outputs();
    const auto record = [&](const std::string& name, NumpyArray array) { out[at + ".out." + name] = std::move(array); };
    record("loss", NumpyArray::of_scalar(mean(transfer.scalars(results.loss.data(), batch))));
    record("nll", vector_array(transfer.scalars(model.reconstruction_posterior(), batch)));
    record("kl", vector_array(transfer.scalars(results.kl_posterior.data(), batch)));
    auto rate = transfer.out(model.decoded(), batch, design.n_outputs()).template as<double>();
    for (auto& value : rate) value = std::clamp(stable::softplus(value), clip.at(0), clip.at(1));
    record("rate", NumpyArray::of<double>({batch, design.n_outputs()}, rate));
    record_latents(transfer, model, batch, design.n_latents, at + ".out.", out);
    training.step(out);
  }
  training.finish(out);
  return out;
}

// CEBRA: references, positives and negatives are [batch x window x neuron].
template <class Real>
Arrays run_cebra_steps(Device& device, const Arrays& golden, const nlohmann::json& meta) {
  const auto& x0 = find(golden, "step0.in.reference");
  const std::int64_t batch = x0.shape.at(0), window = x0.shape.at(1), n_neurons = x0.shape.at(2);
  const auto& smallest_temperature = meta.at("min_temperature");
  const CebraDesign design{.n_neurons = static_cast<std::int32_t>(n_neurons),
                           .n_features = static_cast<std::int32_t>(find(golden, "step0.out.reference").shape.at(1)),
                           .window = static_cast<std::int32_t>(window),
                           .width = static_cast<std::int32_t>(find(golden, "param0.encoder.conv0.weight").shape.at(0)),
                           .is_normalised = meta.at("normalize").get<bool>(),
                           .similarity = meta.at("similarity") == "cosine" ? Similarity::cosine : Similarity::euclidean,
                           .learns_temperature = golden.contains("param0.log_inverse_temperature"),
                           .smallest_temperature = smallest_temperature.is_null() ? 0 : smallest_temperature.get<double>()};
  Cebra<Real> model(device, design, 1, {.batch = static_cast<std::int32_t>(batch)}, true, {meta.at("temperature").get<double>()});
  CaseTraining<Real> training(device, golden, meta.at("optimizer"), model.parameters());
  const Transfer<Real> transfer(device);
  const char* const lists[] = {"reference", "negative", "positive"};

  Arrays out;
  for (int step = 0; step < meta.at("steps").get<int>(); ++step) {
    const std::string at = "step" + std::to_string(step);
    std::vector<double> by_bin(static_cast<std::size_t>(window * 3 * batch * n_neurons));  // the engine's windows lie bin by bin
    for (std::int64_t list = 0; list < 3; ++list) {
      const auto values = find(golden, at + ".in." + lists[list]).as<double>();
      for (std::int64_t row = 0; row < batch; ++row)
        for (std::int64_t bin = 0; bin < window; ++bin)
          std::copy_n(values.begin() + (row * window + bin) * n_neurons, n_neurons,
                      by_bin.begin() + ((bin * 3 + list) * batch + row) * n_neurons);
    }
    transfer.in(NumpyArray::of<double>({window * 3 * batch, n_neurons}, by_bin), model.x());
    model.forward({}, true);
    model.backward({});

    const auto record = [&](const std::string& name, NumpyArray array) { out[at + ".out." + name] = std::move(array); };
    record("loss", NumpyArray::of_scalar(transfer.scalars(model.terms().loss.data(), 1).at(0)));
    record("align", NumpyArray::of_scalar(transfer.scalars(model.terms().alignment.data(), 1).at(0)));
    record("uniform", NumpyArray::of_scalar(transfer.scalars(model.terms().uniformity.data(), 1).at(0)));
    for (std::int64_t list = 0; list < 3; ++list) record(lists[list], transfer.out(model.embedding().from_row(list * batch), batch, design.n_features));
    training.step(out);
  }
  training.finish(out);
  return out;
}

// What a case is given; the rest of a golden file is what it must come to.
bool is_input(const std::string& name) {
  static const std::set<std::string> of_objective{"z_mean",         "z_log_var", "lam_mean", "lam_log_var",    "loglik_post",
                                                  "loglik_encoded", "eps",       "alphas",   "paper_sum_beta", "paper_mean_beta"};
  return name == "meta" || name.starts_with("param0.") || name.find(".in.") != std::string::npos || of_objective.contains(name);
}

template <class Real>
Arrays run_case(Device& device, const Arrays& golden, const nlohmann::json& meta) {
  const auto name = meta.at("case").get<std::string>();
  if (name == "ci-ivae/published-objective") return ObjectiveCase<Real>(device, golden).published(meta.at("beta").get<double>());
  if (name == "ci-ivae/paper-objective") return ObjectiveCase<Real>(device, golden).paper();
  if (name == "conv-ci-ivae-step") return run_ci_ivae_steps<Real>(device, golden, meta);
  if (name == "pi-vae-step" || name == "conv-pi-vae-step") return run_pi_vae_steps<Real>(device, golden, meta);
  if (name == "cebra-step") return run_cebra_steps<Real>(device, golden, meta);
  throw DataError("golden case \"" + name +
                  "\" is not known; known: ci-ivae/published-objective, ci-ivae/paper-objective, conv-ci-ivae-step, pi-vae-step, conv-pi-vae-step, "
                  "cebra-step");
}

}  // namespace

Arrays run_parity(Device& device, const Arrays& golden, Precision precision) {
  if (precision == Precision::fp64 && device.execution().cuda) throw ConfigError("--precision fp64 is the CPU's oracle; use --device cpu with it");
  try {
    const auto meta = nlohmann::json::parse(find(golden, "meta").text());
    return precision == Precision::fp64 ? run_case<double>(device, golden, meta) : run_case<float>(device, golden, meta);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(std::string("golden case: its meta cannot be used: ") + error.what());
  } catch (const std::out_of_range&) {
    throw DataError("golden case: an array has fewer axes or values than the case needs");
  }
}

// Takes the mean of the rows off each.
static void centre_columns(std::vector<double>& values, std::size_t n_columns) {
  for (std::size_t column = 0; column < n_columns; ++column) {
    double sum = 0;
    for (std::size_t i = column; i < values.size(); i += n_columns) sum += values[i];
    const double mean_of_rows = sum / static_cast<double>(values.size() / n_columns);
    for (std::size_t i = column; i < values.size(); i += n_columns) values[i] -= mean_of_rows;
  }
}

std::vector<ParityDifference> compare_parity(const Arrays& golden, const Arrays& computed) {
  std::vector<std::string> skipped;
  if (const auto meta = golden.find("meta"); meta != golden.end())
    skipped = nlohmann::json::parse(meta->second.text()).value("indeterminate", std::vector<std::string>{});
  std::vector<ParityDifference> differences;
  for (const auto& [name, array] : golden) {
    // Listed as an array of the file, or as a parameter, whose gradient is rounding noise and which Adam moves by a whole step all the same.
    const auto is_skipped = [&](const std::string& listed) { return name == listed || name == "grad." + listed || name == "param_after." + listed; };
    if (is_input(name) || std::any_of(skipped.begin(), skipped.end(), is_skipped)) continue;
    const auto found = computed.find(name);
    if (found == computed.end() || found->second.shape != array.shape) {
      differences.push_back({name, std::numeric_limits<double>::infinity()});
      continue;
    }
    auto want = array.as<double>(), got = found->second.as<double>();
    // An embedding's last bias is such a parameter where only distances count: later embeddings are known but for a shift.
    const auto is_bias = [](const std::string& listed) { return listed.starts_with("encoder.") && listed.ends_with(".bias"); };
    const bool is_shifted = array.shape.size() == 2 && name.find(".out.") != std::string::npos && !name.starts_with("step0.") &&
                            std::any_of(skipped.begin(), skipped.end(), is_bias);
    if (is_shifted && array.shape[1] > 0) {
      for (auto* values : {&want, &got}) centre_columns(*values, static_cast<std::size_t>(array.shape[1]));
    }
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      difference += (got[i] - want[i]) * (got[i] - want[i]);
      norm += want[i] * want[i];
    }
    differences.push_back({name, norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference)});
  }
  return differences;
}

}  // namespace idem
