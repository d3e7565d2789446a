#include "engine/families/vae/ci_ivae.h"

#include "engine/families/vae/label_prior.h"
#include "kernels/common/to_size.h"

#include <stdexcept>

namespace idem {

namespace {

template <class Real>
std::vector<Real> converted(const std::vector<double>& values, double scale = 1) {
  std::vector<Real> result;
  for (const double value : values) result.push_back(static_cast<Real>(value * scale));
  return result;
}

const ModelDesign& checked(const ModelDesign& design) {
  if (design.n_neurons < 1 || design.n_latents < 1)
    throw std::invalid_argument("a model needs at least one neuron and one latent");
  if (design.sees_labels() ? design.n_labels < 1 : design.n_labels != 0)
    throw std::invalid_argument("a prior of labels needs at least one label feature, a prior of none has none");
  const bool sees_window = design.encoder_kind == EncoderKind::temporal_convolution;
  if (sees_window ? design.window < 3 : !design.decodes_window && design.window != 1)
    throw std::invalid_argument("an mlp sees one row, a temporal convolution a window of at least 3, not " +
                                std::to_string(design.window));
  if (design.encoder_sees_labels) {
    if (design.encoder_kind == EncoderKind::temporal_convolution)
      throw std::invalid_argument(
          "a temporal convolution sees spikes alone: an encoder of labels is an mlp or separate-mlps");
    if (!design.sees_labels()) throw std::invalid_argument("an encoder of labels needs a prior of labels");
    if (design.objective != Objective::ivae)
      throw std::invalid_argument("an encoder of labels has one posterior, hence the objective ivae, not " +
                                  to_string(design.objective));
  }
  if (design.decodes_window && design.window < 2) throw std::invalid_argument("a window to decode has at least 2 bins");
  if (design.alphas.empty()) throw std::invalid_argument("a CI-iVAE needs a grid of alphas");
  for (const double alpha : design.alphas)
    if (!(alpha >= 0 && alpha <= 1))
      throw std::invalid_argument("alpha " + std::to_string(alpha) + " is outside [0, 1]");
  return design;
}

}  // namespace

template <class Real>
SharedPrior<Real>::SharedPrior(Device& device, const ModelDesign& design, std::int32_t n_members, std::int32_t rows,
                               std::int32_t n_models, bool training)
    : batch(rows),
      network(make_label_prior<Real>(layout, checked(design))),
      parameters(device, layout, n_members, training),
      label(device, n_members, std::int64_t{n_models} * rows, design.n_labels) {
  if (!design.sees_labels()) throw std::invalid_argument("a prior of no label brings models into no common space");
  network->plan(device, n_members, n_models * rows, training);
}

template <class Real>
CiIvae<Real>::CiIvae(Device& device, const ModelDesign& design, std::int32_t n_members, std::int32_t batch,
                     bool training, const std::vector<double>& beta, const SharedPrior<Real>* shared,
                     std::int32_t place)
    : device_(device),
      design_(checked(design)),
      n_members_(n_members),
      batch_(batch),
      decoded_rows_(batch * (design.decodes_encoder() && design.decodes_posterior() ? 2 : 1)),
      shared_(shared),
      first_prior_row_(shared ? std::int64_t{place} * shared->batch : 0),
      encoder_(make_encoder<Real>(layout_, design)),
      prior_(shared ? nullptr : make_label_prior<Real>(layout_, design)),
      decoder_(make_decoder<Real>(layout_, design)),
      log_variance_slot_(design.observation == Observation::gaussian_learned
                             ? layout_.add_bias("observation.log_variance", design.n_outputs(), design.n_outputs())
                             : -1),
      parameters_(device, layout_, n_members, training),
      beta_(beta) {
  encoder_->plan(device, n_members, batch, training);
  if (prior_) prior_->plan(device, n_members, batch, training);
  decoder_->plan(device, n_members, decoded_rows_);

  const auto activations = [&](std::int64_t n_rows, std::int64_t n_features) {
    return Activations<Real>(device, n_members, n_rows, n_features);
  };
  const auto scalars = [&] { return Array<Real>(device, to_size(n_members * decoded_rows_)); };
  inputs_ = {
      .x = activations(std::int64_t{batch} * design.encoder_window(), design.n_neurons),
      .target = activations(batch, design.n_outputs()),
      .label = shared ? Activations<Real>{} : activations(batch, design.n_labels),
      .noise_encoder = activations(batch, design.n_latents),
      .noise_posterior = activations(batch, design.n_latents),
      .noise_monte_carlo = activations(
          batch, skew_term(design.objective) == SkewTerm::none ? 1 : std::int64_t{design.n_latents} * design.n_samples),
      .row_weight = scalars()};
  const auto of_product = [&](auto planned) { return takes_product() ? planned() : decltype(planned()){}; };
  const auto latents = [&] { return activations(batch, design.n_latents); };
  outputs_ = {.reconstruction = scalars(),
              .loss = scalars(),
              .kl_encoder = of_product(scalars),
              .kl_posterior = scalars(),
              .skew = scalars(),
              .alpha = of_product(scalars),
              .decoder_weight = scalars(),
              .alpha_index = Array<std::int32_t>(device, to_size(n_members * decoded_rows_)),
              .encoder_log_var = of_product(latents),
              .prior_log_var = latents(),
              .posterior_mean = of_product(latents),
              .posterior_log_var = latents()};
  if (!takes_product()) {
    joined_ = activations(batch, design.n_encoder_inputs());
    unread_ = scalars();
  }
  z_ = activations(decoded_rows_, design.n_latents);
  d_z_ = activations(decoded_rows_, design.n_latents);
  if (log_variance_slot_ >= 0) d_log_variance_rows_ = activations(decoded_rows_, design.n_outputs());
  alphas_ = Array<Real>(device, converted<Real>(takes_product() ? design.alphas : std::vector<double>{1}));
  kl_scale_ = Array<Real>(device, beta.size());
  scale_beta(1);
}

template <class Real>
void CiIvae<Real>::scale_beta(double factor) {
  kl_scale_.upload(converted<Real>(beta_, design_.mean_over_latents ? factor / design_.n_latents : factor));
}

template <class Real>
bool CiIvae<Real>::needs_monte_carlo_noise() const {
  return skew_term(design_.objective) != SkewTerm::none;
}

// Without a product the network's Gaussian takes the encoder's place in the kernels, at alpha = 1: its sample is
// decoded, its KL counts.
template <class Real>
LatentSample<Real> CiIvae<Real>::latent_sample(const FleetExtent& fleet, bool with_samples) {
  LatentSample<Real> p{
      .fleet = fleet,
      .batch = batch_,
      .n_latents = design_.n_latents,
      .bound = design_.log_var_bound,
      .log_var_low = static_cast<Real>(design_.log_var_low),
      .log_var_high = static_cast<Real>(design_.log_var_high),
      .encoder_mean = encoder_->mean(),
      .encoder_raw = encoder_->raw_log_var(),
      .prior_mean = of_prior(prior().mean()),
      .prior_raw = of_prior(prior().raw_log_var()),
      .noise_encoder = inputs_.noise_encoder,
      .noise_posterior = design_.common_random_numbers ? inputs_.noise_encoder : inputs_.noise_posterior,
      .encoder_log_var = network_log_var(),
      .prior_log_var = outputs_.prior_log_var};
  if (!takes_product()) {
    if (with_samples) p.z_encoder = z_;
    return p;
  }
  p.posterior_mean = outputs_.posterior_mean;
  p.posterior_log_var = outputs_.posterior_log_var;
  if (with_samples) {
    if (design_.decodes_encoder()) p.z_encoder = z_;
    if (design_.decodes_posterior()) p.z_posterior = z_.rows().from_row(design_.decodes_encoder() ? batch_ : 0);
  }
  return p;
}

template <class Real>
void CiIvae<Real>::forward_networks(const FleetExtent& fleet) {
  if (!takes_product()) device_.join();  // the labels may come from a branch
  if (prior_) device_.aside([&] { prior_->forward(device_, parameters_, fleet, inputs_.label); });
  if (!takes_product())
    join_features_forward(device_.execution(), JoinFeatures<Real>{.fleet = fleet,
                                                                  .n_rows = batch_,
                                                                  .n_a = design_.n_neurons,
                                                                  .n_b = design_.n_labels,
                                                                  .a = inputs_.x,
                                                                  .b = label(),
                                                                  .out = joined_});
  encoder_->forward(device_, parameters_, fleet, encoder_input());
  device_.join();
}

template <class Real>
void CiIvae<Real>::forward_latents(const FleetExtent& fleet) {
  forward_networks(fleet);
  latent_sample_forward(device_.execution(), latent_sample(fleet, false));
}

template <class Real>
void CiIvae<Real>::decode(const FleetExtent& fleet) {
  latent_sample_forward(device_.execution(), latent_sample(fleet, true));
  decoder_->forward(device_, parameters_, fleet, z_);
  reconstruction(device_.execution(),
                 Reconstruction<Real>{.fleet = fleet,
                                      .n_rows = decoded_rows_,
                                      .n_target_rows = batch_,
                                      .n_neurons = design_.n_outputs(),
                                      .observation = design_.observation,
                                      .output = design_.output,
                                      .mean_over_neurons = design_.mean_over_neurons,
                                      .keep_constants = design_.keep_constants,
                                      .gaussian_variance = static_cast<Real>(design_.gaussian_variance),
                                      .weight = static_cast<Real>(design_.window_weight()),
                                      .pre = decoder_->value(),
                                      .target = inputs_.target,
                                      .log_variance = log_variance_slot_ >= 0
                                                          ? Rows<const Real>(parameters_.weights(log_variance_slot_))
                                                          : Rows<const Real>{},
                                      .loss = outputs_.reconstruction.data(),
                                      .loss_stride = decoded_rows_,
                                      .d_pre = decoder_->d_value(),
                                      .d_log_variance_rows = d_log_variance_rows_.rows()});
}

template <class Real>
void CiIvae<Real>::forward(const FleetExtent& fleet, Rows<Real> loss_grid) {
  forward_networks(fleet);
  decode(fleet);
  Real* weights = outputs_.decoder_weight.data();
  const bool both = design_.decodes_encoder() && design_.decodes_posterior(), product = takes_product();
  ci_ivae_bound(device_.execution(),
                CiIvaeBound<Real>{.fleet = fleet,
                                  .batch = batch_,
                                  .n_latents = design_.n_latents,
                                  .n_samples = design_.n_samples,
                                  .n_alphas = static_cast<std::int32_t>(design_.alphas.size()),
                                  .skew_term = skew_term(design_.objective),
                                  .mean = encoder_->mean(),
                                  .log_var = network_log_var(),
                                  .prior_mean = prior_mean(),
                                  .prior_log_var = outputs_.prior_log_var,
                                  .noise = inputs_.noise_monte_carlo,
                                  .alphas = alphas_.data(),
                                  .loss_posterior = product ? reconstruction_posterior() : nullptr,
                                  .loss_encoder = product ? reconstruction_encoder() : reconstruction_posterior(),
                                  .row_weight = inputs_.row_weight.data(),
                                  .row_scalar_stride = decoded_rows_,
                                  .kl_scale = kl_scale_.data(),
                                  .skew_scale = kl_scale_.data(),
                                  .loss = outputs_.loss.data(),
                                  .kl_encoder = (product ? outputs_.kl_encoder : outputs_.kl_posterior).data(),
                                  .kl_posterior = (product ? outputs_.kl_posterior : unread_).data(),
                                  .skew = outputs_.skew.data(),
                                  .alpha = (product ? outputs_.alpha : unread_).data(),
                                  .alpha_index = outputs_.alpha_index.data(),
                                  .weight_posterior =
                                      product && design_.decodes_posterior() ? weights + (both ? batch_ : 0) : nullptr,
                                  .weight_encoder = !product || design_.decodes_encoder() ? weights : nullptr,
                                  .d_mean = encoder_->d_mean(),
                                  .d_log_var = encoder_->d_raw_log_var(),
                                  .d_prior_mean = of_prior(prior().d_mean()),
                                  .d_prior_log_var = of_prior(prior().d_raw_log_var()),
                                  .loss_grid = loss_grid});
}

template <class Real>
void CiIvae<Real>::backward(const FleetExtent& fleet) {
  const auto& on = device_.execution();
  const ScaleRows<Real> by_weight{.fleet = fleet,
                                  .n_rows = decoded_rows_,
                                  .n_features = design_.n_outputs(),
                                  .scale = outputs_.decoder_weight.data(),
                                  .scale_stride = decoded_rows_,
                                  .value = decoder_->d_value()};
  decoder_->backward(device_, parameters_, fleet, z_, d_z_, &by_weight);
  if (log_variance_slot_ >= 0) {
    device_.aside([&] {
      auto log_variance_rows = by_weight;
      log_variance_rows.value = d_log_variance_rows_;
      scale_rows(on, log_variance_rows);
      bias_activation_backward(on, BiasActivationGradient<Real>{.fleet = fleet,
                                                                .n_rows = decoded_rows_,
                                                                .n_features = design_.n_outputs(),
                                                                .d_value = d_log_variance_rows_,
                                                                .d_bias = parameters_.gradients(log_variance_slot_)});
    });
  }
  LatentSampleGradient<Real> latent{.forward = latent_sample(fleet, true),
                                    .d_mean = encoder_->d_mean(),
                                    .d_log_var = encoder_->d_raw_log_var(),
                                    .d_prior_mean = of_prior(prior().d_mean()),
                                    .d_prior_log_var = of_prior(prior().d_raw_log_var())};
  if (!takes_product() || design_.decodes_encoder()) latent.d_z_encoder = d_z_;
  if (takes_product() && design_.decodes_posterior())
    latent.d_z_posterior = d_z_.rows().from_row(design_.decodes_encoder() ? batch_ : 0);
  latent_sample_backward(on, latent);

  if (prior_) device_.aside([&] { prior_->backward(device_, parameters_, fleet, inputs_.label); });
  encoder_->backward(device_, parameters_, fleet, encoder_input());
  device_.join();
}

template struct SharedPrior<float>;
template struct SharedPrior<double>;
template class CiIvae<float>;
template class CiIvae<double>;

}  // namespace idem
