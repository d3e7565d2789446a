// latent.h - Gaussian posteriors over the latent and their samples.
//
// Encoder q(z|x) = N(m, e^l), label prior p(z|u) = N(lambda, e^r); all in terms of the log-variance gap d = l - r and
// the mean gap in prior standard deviations Delta = (m - lambda) e^{-r/2}, in which nothing overflows before the true
// value does (Zhou and Wei 2020, arXiv 2011.04798, for the product; the algebra is idem's own).
#pragma once

#include "kernels/common/enum_names.h"
#include "kernels/common/operation.h"

namespace idem {

// How a raw network output becomes a log variance.
enum class LogVarBound : std::int32_t {
  none,    // as published: unbounded
  smooth,  // high - softplus(high - (low + softplus(raw - low))): the identity inside, a gradient everywhere
};
template <>
struct EnumNames<LogVarBound> {
  static constexpr const char* what = "bound";
  static constexpr EnumName<LogVarBound> all[] = {{LogVarBound::none, "none"}, {LogVarBound::smooth, "smooth"}};
};

// One batch through the bottleneck. All Rows are [n_members x batch x n_latents]; empty outputs are skipped.
//   encoder_mean, encoder_raw, prior_mean, prior_raw   network outputs
//   noise_encoder, noise_posterior                     standard normals
//   encoder_log_var l, prior_log_var r                 bounded log variances
//   posterior_mean = m + s (lambda - m), posterior_log_var = l - softplus(d), s = sigmoid(d): q(z|x,u) of q(z|x) p(z|u)
//   z_encoder = m + e^{l/2} noise_encoder, z_posterior = posterior_mean + e^{posterior_log_var/2} noise_posterior
template <class Real>
struct LatentSample {
  FleetExtent fleet;
  std::int32_t batch = 0, n_latents = 0;
  LogVarBound bound = LogVarBound::smooth;
  Real log_var_low = Real(-12), log_var_high = Real(6);
  Rows<const Real> encoder_mean, encoder_raw, prior_mean, prior_raw, noise_encoder, noise_posterior;
  Rows<Real> encoder_log_var, prior_log_var, posterior_mean, posterior_log_var, z_encoder, z_posterior;
};
IDEM_OPERATION(latent_sample_forward, LatentSample)

// Adds what the samples pass back to what the objective passes back directly, and goes through the bound.
//   forward             as the forward pass left it
//   d_z_encoder, d_z_posterior  from the decoder; empty where the sample was not decoded
//   d_mean, d_log_var, d_prior_mean, d_prior_log_var  in: the objective's gradient with respect to (m, l, lambda, r);
//                                                     out: the whole gradient with respect to (encoder_mean,
//                                                     encoder_raw, prior_mean, prior_raw)
template <class Real>
struct LatentSampleGradient {
  LatentSample<Real> forward;
  Rows<const Real> d_z_encoder, d_z_posterior;
  Rows<Real> d_mean, d_log_var, d_prior_mean, d_prior_log_var;
};
IDEM_OPERATION(latent_sample_backward, LatentSampleGradient)

}  // namespace idem
