#include "kernels/common/cuda.h"
#include "kernels/input/input.h"

namespace idem {

// The source row behind a row of out. Division in 32 bits: a GPU has no other, and out never has as many rows.
template <class Real>
HD const Real* source_of(const GatherRows<Real>& p, std::int64_t member, std::int64_t row) {
  const std::int32_t bin = static_cast<std::int32_t>(row) / p.batch, place = static_cast<std::int32_t>(row) % p.batch;
  const std::int32_t seen = p.rows[member * p.batch + place], first = p.window_begin ? p.window_begin[seen] : seen;
  return p.source + static_cast<std::int64_t>(first + bin) * p.source_stride;
}

template <class Real>
HD Real* place_of(const GatherRows<Real>& p, std::int64_t member, std::int64_t row) {
  if (!p.side_by_side) return p.out.row(member, row);
  const std::int32_t bin = static_cast<std::int32_t>(row) / p.batch, place = static_cast<std::int32_t>(row) % p.batch;
  return p.out.row(member, place) + static_cast<std::int64_t>(bin) * p.n_features;
}

template <class Real>
struct GatherRowsRow {
  GatherRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    const Real value = source_of(p, member, row)[feature];
    place_of(p, member, row)[feature] = p.noise ? value + p.noise_scale[member] * p.noise.row(member, row)[feature] : value;
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
  for_each_row_block(pool, p.fleet, std::int64_t{p.window} * p.batch, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Real* source = source_of(p, member, row);
      Real* out = place_of(p, member, row);
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
  cu::launch_rows("gather_rows", p.fleet, std::int64_t{p.window} * p.batch, p.n_features, GatherRowsRow<float>{p}, stream);
}
#endif

}  // namespace idem
