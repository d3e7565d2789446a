// decode.h - how likely counts are under labels: the marginal likelihood p(x|u) of a generative model by Monte Carlo
// (Zhou & Wei 2020, arXiv 2011.04798; for windows Schneider, Lee & Mathis 2023, Methods).
//
// Draws z_s of the label prior do not depend on x. So they are decoded once, log p(x|z_s) becomes one product of all
// targets with what they were decoded to, and log p(x|u) is the log of the mean over the draws of u, never leaving log
// space.
#pragma once

#include "kernels/objective/objective.h"

namespace idem {

// log p(x|z) = x . natural(z) + offset(z), but for terms of x alone: f is the mean or rate behind `pre`.
//   poisson   natural = log f, offset = -sum f
//   Gaussians natural = f / v, offset = -sum f^2 / (2 v); squared_error as a Gaussian of variance 1/2
//   pre       [n_members x n_rows x n_outputs]  decoder output before the output map (objective.h)
//   log_variance [n_members x n_outputs] (row_stride unused), gaussian_learned only
//   natural   as pre, which it may alias
//   offset    [n_members x n_rows], member stride offset_stride
// Poisson with the identity output throws std::invalid_argument. Determinism: run_to_run.
template <class Real>
struct NaturalParameters {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_outputs = 0;
  Observation observation = Observation::poisson;
  OutputMap output = OutputMap::softplus;
  Real gaussian_variance = Real(1);
  Rows<const Real> pre, log_variance;
  Rows<Real> natural;
  Real* offset = nullptr;
  std::int64_t offset_stride = 0;
};
IDEM_OPERATION(natural_parameters, NaturalParameters)

// value[row][group] = log mean_s exp(score[row][group * n_draws + s] + offset[group * n_draws + s]), s < n_draws.
//   score  [n_members x n_rows x (n_groups * n_draws)]
//   offset [n_members x (n_groups * n_draws)], member stride offset_stride
//   value  [n_members x n_rows x n_groups]
// -inf where every draw is; a NaN stays visible. Determinism: run_to_run.
template <class Real>
struct LogMeanExp {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_groups = 0, n_draws = 1;
  Rows<const Real> score;
  const Real* offset = nullptr;
  std::int64_t offset_stride = 0;
  Rows<Real> value;
};
IDEM_OPERATION(log_mean_exp, LogMeanExp)

}  // namespace idem
