#include "kernels/common/cuda.h"
#include "kernels/input/input.h"

namespace idem {

template <class Real>
struct GatherRowsRow {
  GatherRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    const Real value = p.source[p.rows[member * p.batch + row] * p.source_stride + feature];
    p.out.row(member, row)[feature] = p.noise ? value + p.noise_scale[member] * p.noise.row(member, row)[feature] : value;
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static void copy_with_noise(const Real* __restrict__ source, const Real* __restrict__ noise, Real scale, std::int32_t n_features,
                                             Real* __restrict__ out) {
  for (std::int32_t feature = 0; feature < n_features; ++feature) out[feature] = source[feature] + scale * noise[feature];
}

template <class Real>
void gather_rows_cpu(const GatherRows<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.batch, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Real* source = p.source + p.rows[member * p.batch + row] * p.source_stride;
      Real* out = p.out.row(member, row);
      if (p.noise) {
        copy_with_noise(source, p.noise.row(member, row), p.noise_scale[member], p.n_features, out);
      } else {
        for (std::int32_t feature = 0; feature < p.n_features; ++feature) out[feature] = source[feature];
      }
    }
  });
}
IDEM_INSTANTIATE_CPU(gather_rows, GatherRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void gather_rows_cuda(const GatherRows<float>& p, Stream stream) {
  cu::launch_rows("gather_rows", p.fleet, p.batch, p.n_features, GatherRowsRow<float>{p}, stream);
}
#endif

}  // namespace idem
