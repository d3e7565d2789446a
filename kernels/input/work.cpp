#include "kernels/common/elements.h"
#include "kernels/input/input.h"

namespace idem {

namespace {

// Segments are told by two whole numbers for each bin.
template <class Real>
Work filter_work(const TemporalFilter<Real>& p) {
  const double read = static_cast<double>(p.n_times) * p.n_neurons,
               written = static_cast<double>(p.n_rows) * p.n_neurons;
  const double whole = static_cast<double>(p.n_times) * 2 + given(p.rows) * static_cast<double>(p.n_rows);
  return {(read + written + p.n_taps) * sizeof(Real) + whole * sizeof(std::int32_t), 2 * written * p.n_taps};
}

}  // namespace

template <class Real>
Work work(const TemporalFilter<Real>& p) {
  return filter_work(p);
}
IDEM_INSTANTIATE_WORK(TemporalFilter)

template <class Real>
Work work(const TemporalFilterGradient<Real>& p) {
  return filter_work(p.forward);
}
IDEM_INSTANTIATE_WORK(TemporalFilterGradient)

// A source row is counted for each that is written, though members may read the same. Noise is two functions
// (draw_normals) and its scale.
template <class Real>
Work work(const GatherRows<Real>& p) {
  const double rows = n_elements(p.fleet, 1, p.batch), n = rows * p.window * p.n_features;
  return {2 * n * sizeof(Real) + rows * (1 + given(p.window_begin)) * sizeof(std::int32_t),
          given(p.noise.seed) * n * (2 * kFunctionFlops + 3)};
}
IDEM_INSTANTIATE_WORK(GatherRows)

template <class Real>
Work work(const SeveralGathers<Real>& p) {
  return work_of_all(p);
}
IDEM_INSTANTIATE_WORK(SeveralGathers)

}  // namespace idem
