#include "kernels/common/cuda.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/contrastive/row_length.h"

namespace idem {

template <class Real>
struct NormaliseRowsRow {
  NormaliseRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const Real* x = p.x.row(member, row);
    const RowLength<Real> length(x, p.n_features);
    write_normalised(length, x, p.n_features, p.value.row(member, row));
    p.inverse_norm[member * p.n_rows + row] = length.inverse_norm();
  }
};

template <class Real>
struct NormaliseRowsGradientRow {
  NormaliseRowsGradient<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const Real* value = p.value.row(member, row);
    normalised_row_backward(
        p.n_features, [&](std::int32_t quad) { return quad_of(value, quad); }, p.inverse_norm[member * p.n_rows + row],
        p.d_value.row(member, row));
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
