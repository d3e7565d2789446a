#include "kernels/common/elements.h"
#include "kernels/latent/latent.h"

namespace idem {

namespace {

// A softplus is an exponential and a logarithm, the smooth bound of a log variance two of them.
template <class Real>
double bound_flops(const LatentSample<Real>& p) {
  return p.bound == LogVarBound::smooth ? 2 * (4 * kFunctionFlops + 4) : 0;
}

}  // namespace

// The gap's softplus and sigmoid, and a standard deviation for each sample.
template <class Real>
Work work(const LatentSample<Real>& p) {
  const double n = n_elements(p.fleet, p.batch, p.n_latents);
  const double samples = given(p.z_encoder) + given(p.z_posterior);
  const double read = 4 + given(p.noise_encoder) + given(p.noise_posterior);
  const double written = given(p.encoder_log_var) + given(p.prior_log_var) + given(p.posterior_mean) +
                         given(p.posterior_log_var) + samples;
  return {n * (read + written) * sizeof(Real),
          n * (bound_flops(p) + 3 * kFunctionFlops + 5 + samples * (kFunctionFlops + 3))};
}
IDEM_INSTANTIATE_WORK(LatentSample)

// Four gradients are read and written, beside six arrays of the forward pass (the noise only of samples that were
// decoded).
template <class Real>
Work work(const LatentSampleGradient<Real>& p) {
  const double n = n_elements(p.forward.fleet, p.forward.batch, p.forward.n_latents);
  const double samples = given(p.d_z_encoder) + given(p.d_z_posterior);
  return {n * (8 + 6 + 2 * samples) * sizeof(Real),
          n * (bound_flops(p.forward) + 3 * kFunctionFlops + 12 + samples * (kFunctionFlops + 4))};
}
IDEM_INSTANTIATE_WORK(LatentSampleGradient)

}  // namespace idem
