// objective.h - reconstruction terms and the CI-iVAE bound.
#pragma once

#include "kernels/common/enum_names.h"
#include "kernels/common/operation.h"

namespace idem {

enum class Observation : std::int32_t {
  squared_error,     // (x - f)^2: no 1/2, no variance (the CI-iVAE package)
  gaussian_fixed,    // (x - f)^2 / (2 v) + log(2 pi v) / 2, v = gaussian_variance
  gaussian_learned,  // the same with log v a free parameter of each neuron (pi-VAE's Gaussian)
  poisson,           // f - x log f + log x!
};
template <>
struct EnumNames<Observation> {
  static constexpr const char* what = "observation";
  static constexpr EnumName<Observation> all[] = {{Observation::squared_error, "squared-error"},
                                                  {Observation::gaussian_fixed, "gaussian"},
                                                  {Observation::gaussian_learned, "gaussian-learned"},
                                                  {Observation::poisson, "poisson"}};
};

// How the decoder's last linear output becomes the mean (Gaussian) or the rate per bin (Poisson).
enum class OutputMap : std::int32_t {
  identity,
  softplus,
  sigmoid,  // as published for Conv-CI-iVAE; cannot reach counts above 1
  exponential,
};
template <>
struct EnumNames<OutputMap> {
  static constexpr const char* what = "output";
  static constexpr EnumName<OutputMap> all[] = {{OutputMap::identity, "identity"},
                                                {OutputMap::softplus, "softplus"},
                                                {OutputMap::sigmoid, "sigmoid"},
                                                {OutputMap::exponential, "exponential"}};
};

// Reconstruction loss R of each row, in nats (a surrogate for squared_error), and its gradient.
//   pre       [n_members x n_rows x n_neurons]  decoder output before the output map; d_pre may alias it
//   target    [n_members x n_target_rows x n_neurons]; row i reads target row i % n_target_rows (both samples of a
//             batch share its targets)
//   log_variance [n_members x n_neurons] (row_stride unused), gaussian_learned only
//   mean_over_neurons  divides R and its gradient by n_neurons (package convention), else the sum
//   weight             multiplies R and its gradient, besides
//   keep_constants     adds the terms without parameters (log x!, log 2 pi / 2), so that different models' values
//                      compare
//   loss      [n_members x n_rows], member_stride loss_stride
//   d_pre     gradient of the row's R (no row weight yet)
//   d_log_variance_rows  gaussian_learned: [n_members x n_rows x n_neurons], gradient of the row's R; empty to skip
// Poisson is stable for any pre: softplus and its log are taken from the series in e^pre below -15. It needs a positive
// rate: with the identity both twins throw std::invalid_argument. Determinism: run_to_run.
template <class Real>
struct Reconstruction {
  FleetExtent fleet;
  std::int64_t n_rows = 0, n_target_rows = 0;
  std::int32_t n_neurons = 0;
  Observation observation = Observation::poisson;
  OutputMap output = OutputMap::softplus;
  bool mean_over_neurons = false, keep_constants = true;
  Real gaussian_variance = Real(1), weight = Real(1);
  Rows<const Real> pre, target, log_variance;
  Real* loss = nullptr;
  std::int64_t loss_stride = 0;
  Rows<Real> d_pre, d_log_variance_rows;
};
IDEM_OPERATION(reconstruction, Reconstruction)

// How the skew terms S_e = KL(q_e || q_alpha), S_p = KL(q_p || q_alpha) enter the loss of a row.
enum class SkewTerm : std::int32_t {
  none,   // alpha L1 + (1 - alpha) L0: encoder-elbo (alpha = 1), ivae (alpha = 0)
  paper,  // minus skew_scale * J, J = alpha S_e + (1 - alpha) S_p: the bound of Kim et al. 2022 (arXiv 2202.04206), eq.
          // 6
  published,  // plus |S_e| alpha + |S_p| (1 - alpha), unscaled: what the released code computes
};

// The CI-iVAE loss of each row: L0 = R_p + kl_scale KL_p, L1 = R_e + kl_scale KL_e, the skew terms by Monte Carlo from
// one set of draws shared by both ratios, the minimum over the alpha grid (lowest index on ties; a NaN wins and so
// stays visible) and the gradient at that alpha held constant.
//   mean m, log_var l, prior_mean, prior_log_var  [n_members x batch x n_latents], bounded
//   noise      [n_members x batch x (n_latents * n_samples)], sample fastest: noise[latent * n_samples + sample]; at
//              least one sample, but for SkewTerm::none, which reads none
//   alphas     [n_alphas] ascending in [0, 1]; J is exactly 0 at 0 and 1
//   loss_posterior R_p, loss_encoder R_e  [n_members x batch] (stride row_scalar_stride); the one that no alpha uses
//                                         may be null
//   row_weight [n_members x batch] (stride row_scalar_stride): gradients are those of sum_rows row_weight * loss
//   kl_scale   [n_members]  beta, or beta / n_latents where KL is a mean over latents
//   skew_scale [n_members]  paper: beta, or beta / n_latents; unread otherwise
//   loss, kl_encoder, kl_posterior, skew, alpha  [n_members x batch] (stride row_scalar_stride), unweighted; KLs summed
//                                                over latents;
//              skew: what the loss contains at the chosen alpha (J with its sign and scale)
//   alpha_index [n_members x batch] int32
//   weight_posterior, weight_encoder  [n_members x batch] row_weight * (1 - alpha), row_weight * alpha: scales for the
//                                     decoder's
//              gradient; null for the sample that is not decoded
//   d_mean ... d_prior_log_var        gradient of the KL and skew parts
//   loss_grid  [n_members x batch x n_alphas] or empty (parity only; training keeps no such array)
// Log ratios follow the stable forms (never a sampled z minus a mean, never an exponentiated ratio). Determinism:
// run_to_run.
template <class Real>
struct CiIvaeBound {
  FleetExtent fleet;
  std::int32_t batch = 0, n_latents = 0, n_samples = 0, n_alphas = 0;
  SkewTerm skew_term = SkewTerm::paper;
  Rows<const Real> mean, log_var, prior_mean, prior_log_var, noise;
  const Real* alphas = nullptr;
  const Real *loss_posterior = nullptr, *loss_encoder = nullptr, *row_weight = nullptr;
  std::int64_t row_scalar_stride = 0;
  const Real *kl_scale = nullptr, *skew_scale = nullptr;
  Real *loss = nullptr, *kl_encoder = nullptr, *kl_posterior = nullptr, *skew = nullptr, *alpha = nullptr;
  std::int32_t* alpha_index = nullptr;
  Real *weight_posterior = nullptr, *weight_encoder = nullptr;
  Rows<Real> d_mean, d_log_var, d_prior_mean, d_prior_log_var;
  Rows<Real> loss_grid;
};
IDEM_OPERATION(ci_ivae_bound, CiIvaeBound)

// Running sums over an epoch, for the log: sums[member][k] += what column k gives over the rows of weight > 0. The
// caller clears sums when an epoch begins and copies them out once when it ends. A row's NaN stays visible in its
// column.
//   columns    n_columns of them, [n_members x batch] each (stride row_scalar_stride)
//   row_weight [n_members x batch] (stride row_scalar_stride)
//   sums       [n_members x n_columns]; inactive members keep theirs
// Determinism: run_to_run (a fixed order of rows on each device).
template <class Real>
struct EpochColumn {
  const Real* values = nullptr;  // null: the column is left alone
  bool counts = false;           // how many of them are `counted`, instead of their sum
  Real counted = 0;
};
template <class Real>
struct EpochSums {
  static constexpr int kMaxColumns = 12;
  FleetExtent fleet;
  std::int32_t batch = 0, n_columns = 0;
  const Real* row_weight = nullptr;
  std::int64_t row_scalar_stride = 0;
  EpochColumn<Real> columns[kMaxColumns] = {};
  Real* sums = nullptr;
};
IDEM_OPERATION(epoch_sums, EpochSums)

}  // namespace idem
