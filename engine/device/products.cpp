#include "engine/device/products.h"

namespace idem {

Work work(const MatrixProduct<float>& p) {
  const auto values = static_cast<double>(p.m * p.k + p.k * p.n + p.m * p.n * (p.accumulate ? 2 : 1));
  return {p.fleet.n_members * values * sizeof(float), 2.0 * p.fleet.n_members * static_cast<double>(p.m * p.n * p.k)};
}

Work work(const BinConvolution<float>& p) {
  const std::int64_t n_outputs = p.n_bins - p.n_taps + 1;
  const double x = static_cast<double>(p.n_bins * p.batch * p.n_in),
               y = static_cast<double>(n_outputs * p.batch * p.n_out);
  const double weights = static_cast<double>(p.n_out * p.n_taps * p.n_in),
               added = p.pass == ConvolutionPass::input_gradient ? x : 0;
  return {p.fleet.n_members * (x + y + weights + added) * sizeof(float),
          2.0 * p.fleet.n_members * y * static_cast<double>(p.n_taps * p.n_in)};
}

}  // namespace idem
