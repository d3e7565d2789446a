#include "kernels/common/elements.h"
#include "kernels/decode/decode.h"

namespace idem {

// The output map and, of Poisson counts, the logarithm of the rate.
template <class Real>
Work work(const NaturalParameters<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_outputs),
               variances = given(p.log_variance) * n_elements(p.fleet, 1, p.n_outputs);
  const double map = p.output == OutputMap::identity ? 0 : (p.output == OutputMap::softplus ? 2 : 1) * kFunctionFlops;
  const double of_counts = p.observation == Observation::poisson ? kFunctionFlops : 3;
  return {(2 * n + variances + n_elements(p.fleet, p.n_rows, 1)) * sizeof(Real),
          n * (map + of_counts + 1) + variances * kFunctionFlops};
}
IDEM_INSTANTIATE_WORK(NaturalParameters)

template <class Real>
Work work(const LogMeanExp<Real>& p) {
  const double draws = n_elements(p.fleet, 1, std::int64_t{p.n_groups} * p.n_draws),
               groups = n_elements(p.fleet, p.n_rows, p.n_groups);
  const double scores = static_cast<double>(p.n_rows) * draws;
  return {(scores + draws + groups) * sizeof(Real), scores * (kFunctionFlops + 3) + groups * kFunctionFlops};
}
IDEM_INSTANTIATE_WORK(LogMeanExp)

}  // namespace idem
