#include "kernels/common/elements.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

template <class Real>
Work work(const GradientNorm<Real>& p) {
  const double n = n_elements(p.fleet, 1, p.n_parameters);
  return {(n + p.fleet.n_members) * sizeof(Real), 2 * n};
}
IDEM_INSTANTIATE_WORK(GradientNorm)

// Parameters and both moments are read and written; two moments of 3 and 4 operations, their two corrections, the
// step's division, root and sum.
template <class Real>
Work work(const Adam<Real>& p) {
  const double n = n_elements(p.fleet, 1, p.n_parameters),
               decays = 2 * ((p.coupled_decay != 0) + (p.decoupled_decay != 0));
  return {7 * n * sizeof(Real), n * (12 + 2 * kFunctionFlops + decays)};
}
IDEM_INSTANTIATE_WORK(Adam)

// A handful of counters.
template <class Real>
Work work(const AdvanceStep<Real>& p) {
  const double counters = given(p.nonfinite) + given(p.step) + given(p.skipped) + given(p.draw);
  return {p.fleet.n_members * (given(p.norm) * sizeof(Real) + 2 * counters * sizeof(std::uint32_t)), 0};
}
IDEM_INSTANTIATE_WORK(AdvanceStep)

}  // namespace idem
