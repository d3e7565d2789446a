#include <limits>

#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

// Squares are taken of the row over its largest magnitude, so that no finite row overflows or vanishes.
template <class Real>
constexpr Real kSmallestNorm = std::numeric_limits<Real>::min();  // device code may read the constant, not call the function

template <class Real>
struct NormaliseRowsRow {
  NormaliseRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const Real* x = p.x.row(member, row);
    Real* value = p.value.row(member, row);
    Real largest = 0, squares = 0;
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) largest = stable::larger(stable::magnitude(x[feature]), largest);
    const Real unit = largest > Real(0) ? largest : Real(1);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) squares += (x[feature] / unit) * (x[feature] / unit);
    const Real length = stable::sqrt(squares), norm = unit * length;
    const bool has_direction = !(norm < kSmallestNorm<Real>);  // a NaN is no smaller than the bound, and goes on
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) value[feature] = has_direction ? (x[feature] / unit) / length : Real(0);
    p.inverse_norm[member * p.n_rows + row] = has_direction ? Real(1) / norm : Real(0);
  }
};

template <class Real>
struct NormaliseRowsGradientRow {
  NormaliseRowsGradient<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const Real* value = p.value.row(member, row);
    Real* d_value = p.d_value.row(member, row);
    Real along = 0;
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) along += value[feature] * d_value[feature];
    const Real inverse_norm = p.inverse_norm[member * p.n_rows + row];
    for (std::int32_t feature = 0; feature < p.n_features; ++feature)
      d_value[feature] = (d_value[feature] - along * value[feature]) * inverse_norm;
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Body>
static void for_each_row(ThreadPool& pool, const FleetExtent& fleet, std::int64_t n_rows, const Body& body) {
  for_each_row_block(pool, fleet, n_rows, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) body(member, row, 0);
  });
}

template <class Real>
void normalise_rows_forward_cpu(const NormaliseRows<Real>& p, ThreadPool& pool) {
  for_each_row(pool, p.fleet, p.n_rows, NormaliseRowsRow<Real>{p});
}
IDEM_INSTANTIATE_CPU(normalise_rows_forward, NormaliseRows)

template <class Real>
void normalise_rows_backward_cpu(const NormaliseRowsGradient<Real>& p, ThreadPool& pool) {
  for_each_row(pool, p.fleet, p.n_rows, NormaliseRowsGradientRow<Real>{p});
}
IDEM_INSTANTIATE_CPU(normalise_rows_backward, NormaliseRowsGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void normalise_rows_forward_cuda(const NormaliseRows<float>& p, Stream stream) {
  cu::launch_rows("normalise_rows_forward", p.fleet, p.n_rows, 1, NormaliseRowsRow<float>{p}, stream);
}
void normalise_rows_backward_cuda(const NormaliseRowsGradient<float>& p, Stream stream) {
  cu::launch_rows("normalise_rows_backward", p.fleet, p.n_rows, 1, NormaliseRowsGradientRow<float>{p}, stream);
}
#endif

}  // namespace idem
