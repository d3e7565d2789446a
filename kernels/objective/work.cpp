#include "kernels/common/elements.h"
#include "kernels/objective/objective.h"

namespace idem {

namespace {

// Functions of an output map and its slope: a softplus takes an exponential and a logarithm.
double functions_of(OutputMap output) {
  return output == OutputMap::identity ? 0 : output == OutputMap::softplus ? 2 : 1;
}

}  // namespace

// Of Poisson counts also the logarithms of the rate and of the count's factorial. Targets are shared by the samples of
// a batch.
template <class Real>
Work work(const Reconstruction<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_neurons), rows = n_elements(p.fleet, p.n_rows, 1);
  const double targets = n_elements(p.fleet, p.n_target_rows < p.n_rows ? p.n_target_rows : p.n_rows, p.n_neurons);
  const double variances = given(p.log_variance) * n_elements(p.fleet, 1, p.n_neurons);
  const double of_counts = p.observation == Observation::poisson ? 1 + p.keep_constants : 0;
  return {(n * (1 + given(p.d_pre) + given(p.d_log_variance_rows)) + targets + variances + rows) * sizeof(Real),
          n * ((functions_of(p.output) + of_counts) * kFunctionFlops + 6) + variances * kFunctionFlops};
}
IDEM_INSTANTIATE_WORK(Reconstruction)

// Of each draw both log ratios and their exponentials, which each alpha multiplies into its products by 3 operations;
// of each alpha both products' logarithms; of each latent some 40 operations of the two KLs and of the gradient.
template <class Real>
Work work(const CiIvaeBound<Real>& p) {
  const double rows = n_elements(p.fleet, 1, p.batch), latents = rows * p.n_latents;
  const bool skews = p.skew_term != SkewTerm::none;
  const double draws = skews ? rows * p.n_samples : 0, alphas = rows * p.n_alphas;
  const double read = 4 * latents + draws * p.n_latents + rows * (1 + given(p.loss_posterior) + given(p.loss_encoder));
  const double written =
      4 * latents + rows * (5 + given(p.weight_posterior) + given(p.weight_encoder)) + given(p.loss_grid) * alphas;
  const double of_draws = draws * (8.0 * p.n_latents + 2 * kFunctionFlops + 6.0 * p.n_alphas);
  return {(read + written + p.n_alphas) * sizeof(Real) + rows * sizeof(std::int32_t),
          of_draws + alphas * ((skews ? 2 * kFunctionFlops : 0) + 4) + latents * (3 * kFunctionFlops + 40)};
}
IDEM_INSTANTIATE_WORK(CiIvaeBound)

template <class Real>
Work work(const EpochSums<Real>& p) {
  double columns = 1;  // the weights
  for (std::int32_t column = 0; column < p.n_columns; ++column) columns += given(p.columns[column].values);
  const double rows = n_elements(p.fleet, 1, p.batch), sums = 2 * n_elements(p.fleet, 1, p.n_columns);
  return {(rows * columns + sums) * sizeof(Real), rows * (columns - 1)};
}
IDEM_INSTANTIATE_WORK(EpochSums)

}  // namespace idem
