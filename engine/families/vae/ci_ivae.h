// ci_ivae.h - the CI-iVAE family over preplanned memory: one batch forward, one batch backward, for every member of a
// fleet.
//
// x -> encoder -> (m, l); u -> label prior -> (lambda, r); product posterior; samples; decoder; reconstruction; bound.
// Sources: Kim et al. 2022 (arXiv 2202.04206) for the bound, Zhou & Wei 2020 (arXiv 2011.04798) for the product
// posterior; Khemakhem et al. 2020 (arXiv 1907.04809) for an encoder of [x, u], whose own Gaussian is the posterior.
#pragma once

#include "engine/device/array.h"
#include "engine/families/vae/decoder.h"
#include "engine/families/vae/encoder.h"

namespace idem {

// What a batch brings: all [n_members x batch x ...], planned by the model, filled by whoever drives it (a fleet from
// its data, a parity case from a file).
template <class Real>
struct BatchInputs {
  Activations<Real> x;              // [n_members x window x batch x n_neurons]
  Activations<Real> target, label;  // [.. n_outputs], [.. n_labels]
  Activations<Real> noise_encoder,
      noise_posterior;                  // [.. n_latents]; common random numbers: noise_encoder serves both samples
  Activations<Real> noise_monte_carlo;  // [.. n_latents * n_samples], sample fastest
  Array<Real> row_weight;  // [n_members x row_scalar_stride]; 1 / (rows of the batch), 0 where there is none
};

// Scalars of a row, [n_members x row_scalar_stride]; the decoder sees encoder samples first, then posterior samples. Of
// an encoder of labels kl_encoder, alpha, encoder_log_var and posterior_mean are empty: there is no q(z|x), and the
// network's mean is the posterior's.
template <class Real>
struct BatchOutputs {
  Array<Real> reconstruction;  // per decoded row
  Array<Real> loss, kl_encoder, kl_posterior, skew, alpha;
  Array<Real> decoder_weight;  // row_weight * alpha for encoder samples, row_weight * (1 - alpha) for posterior samples
  Array<std::int32_t> alpha_index;
  Activations<Real> encoder_log_var, prior_log_var, posterior_mean, posterior_log_var;
};

// One label prior p(z|u) for several models, each with a batch of labels: their latents are of one space. Source: the
// prior of Zhou & Wei 2020; that models of different neurons share it is idem's.
template <class Real>
struct SharedPrior {
  // training: plans the backward pass too.
  SharedPrior(Device& device, const ModelDesign& design, std::int32_t n_members, std::int32_t batch,
              std::int32_t n_models, bool training);

  // Once all labels are there and before any of the models; once all models have gone back.
  void forward(Device& device, const FleetExtent& fleet) const { network->forward(device, parameters, fleet, label); }
  void backward(Device& device, const FleetExtent& fleet) const { network->backward(device, parameters, fleet, label); }

  std::int32_t batch;
  ParameterLayout layout;
  std::unique_ptr<GaussianNetwork<Real>> network;
  Parameters<Real> parameters;
  Activations<Real> label;  // [n_members x n_models * batch x n_labels]
};

template <class Real>
class CiIvae {
 public:
  // training: plans the backward pass too. beta [n_members] weighs the KL and skew terms. shared: of which the model is
  // number `place`; none: it has a prior of its own.
  CiIvae(Device& device, const ModelDesign& design, std::int32_t n_members, std::int32_t batch, bool training,
         const std::vector<double>& beta, const SharedPrior<Real>* shared = nullptr, std::int32_t place = 0);

  // From the next pass on these terms weigh factor * beta.
  void scale_beta(double factor);

  Parameters<Real>& parameters() { return parameters_; }
  const Parameters<Real>& parameters() const { return parameters_; }
  BatchInputs<Real>& inputs() { return inputs_; }
  Rows<Real> label() const {
    return shared_ ? of_prior(shared_->label.rows()) : inputs_.label.rows();
  }  // inputs().label, or the shared prior's
  const BatchOutputs<Real>& outputs() const { return outputs_; }
  Rows<const Real> encoder_mean() const { return takes_product() ? encoder_->mean() : Rows<Real>{}; }
  Rows<const Real> posterior_mean() const {
    return takes_product() ? outputs_.posterior_mean.rows() : encoder_->mean();
  }
  Rows<const Real> decoded() const {
    return decoder_->value();
  }  // before the output map, [n_members x row_scalar_stride x n_outputs]
  Rows<const Real> prior_mean() const { return of_prior(prior().mean()); }
  std::int64_t row_scalar_stride() const { return decoded_rows_; }
  bool needs_monte_carlo_noise() const;
  const Real* reconstruction_encoder() const {
    return design_.decodes_encoder() ? outputs_.reconstruction.data() : nullptr;
  }
  const Real* reconstruction_posterior() const {
    return design_.decodes_posterior() ? outputs_.reconstruction.data() + (design_.decodes_encoder() ? batch_ : 0)
                                       : nullptr;
  }

  // Encoder and prior only: encoder_mean, encoder_log_var, prior_*, posterior_*. A branch that fills the inputs but x
  // (Device::aside) is joined.
  void forward_latents(const FleetExtent& fleet);
  // The whole loss of the batch in inputs(). loss_grid (parity only): [n_members x batch x n_alphas] or empty.
  void forward(const FleetExtent& fleet, Rows<Real> loss_grid = {});
  // Gradients of sum_rows row_weight * loss, after forward; of a shared prior what its network's outputs are to get.
  void backward(const FleetExtent& fleet);

 private:
  bool takes_product() const { return !design_.encoder_sees_labels; }
  const GaussianNetwork<Real>& prior() const { return shared_ ? *shared_->network : *prior_; }
  Rows<Real> of_prior(Rows<Real> rows) const { return rows.from_row(first_prior_row_); }
  const Activations<Real>& network_log_var() const {
    return takes_product() ? outputs_.encoder_log_var : outputs_.posterior_log_var;
  }
  Rows<const Real> encoder_input() const { return takes_product() ? inputs_.x.rows() : joined_.rows(); }
  void forward_networks(const FleetExtent& fleet);  // encoder and prior
  void decode(const FleetExtent& fleet);            // from their outputs on
  LatentSample<Real> latent_sample(const FleetExtent& fleet, bool with_samples);

  Device& device_;
  ModelDesign design_;
  std::int32_t n_members_, batch_;
  std::int64_t decoded_rows_;
  const SharedPrior<Real>* shared_;
  std::int64_t first_prior_row_;
  ParameterLayout layout_;
  std::unique_ptr<GaussianNetwork<Real>> encoder_, prior_;  // prior_: where none is shared
  std::unique_ptr<Decoder<Real>> decoder_;
  std::int32_t log_variance_slot_ = -1;
  Parameters<Real> parameters_;
  BatchInputs<Real> inputs_;
  BatchOutputs<Real> outputs_;
  Activations<Real> joined_;  // [x, u], for an encoder of labels
  Activations<Real> z_, d_z_, d_log_variance_rows_;
  std::vector<double> beta_;
  Array<Real> alphas_, kl_scale_, unread_;
};

}  // namespace idem
