#include "kernels/layers/flow_rows.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static void scale_row(Real* __restrict__ value, Real scale, std::int32_t n_features) {
  for (std::int32_t feature = 0; feature < n_features; ++feature) value[feature] *= scale;
}

template <class Real>
void scale_of_rows(const ScaleRows<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row)
    scale_row(p.value.row(member, row), p.scale[member * p.scale_stride + row], p.n_features);
}
template void scale_of_rows(const ScaleRows<float>&, std::int64_t, std::int64_t, std::int64_t);
template void scale_of_rows(const ScaleRows<double>&, std::int64_t, std::int64_t, std::int64_t);

template <class Real>
void scale_rows_cpu(const ScaleRows<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    scale_of_rows(p, member, begin, end);
  });
}
IDEM_INSTANTIATE_CPU(scale_rows, ScaleRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void scale_rows_cuda(const ScaleRows<float>& p, Stream stream) {
  cu::launch_features("scale_rows", p.fleet, p.n_rows, p.n_features, ScaleRowsRow{p}, stream);
}
#endif

}  // namespace idem
