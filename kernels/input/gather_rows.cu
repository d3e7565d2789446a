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
template <class Real>
void gather_several_cpu(const SeveralGathers<Real>& p, ThreadPool& pool) {
  for (std::int32_t i = 0; i < p.n; ++i) gather_rows_cpu(p.of[i], pool);
}
IDEM_INSTANTIATE_CPU(gather_rows, GatherRows)
IDEM_INSTANTIATE_CPU(gather_several, SeveralGathers)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Threads along the features, so that neighbours read neighbours; as many blocks as the largest has work for.
__global__ void gather_several_kernel(SeveralGathers<float> p) {
  const GatherRowsRow<float> body{p.of[blockIdx.z]};
  cu::for_each_of_grid(p.fleet, std::int64_t{body.p.window} * body.p.batch, body.p.n_features, body);
}

void gather_several_cuda(const SeveralGathers<float>& p, Stream stream) {
  std::int64_t most_rows = 0;
  for (std::int32_t i = 0; i < p.n; ++i) {
    const std::int64_t n_rows = std::int64_t{p.of[i].window} * p.of[i].batch;
    most_rows = n_rows > most_rows ? n_rows : most_rows;
  }
  const unsigned threads = static_cast<unsigned>(cu::threads(256)), rows = threads / 32;
  cu::launch("gather_several", gather_several_kernel,
             dim3(cu::grid_extent((most_rows + rows - 1) / rows, 0x7fffffffu), cu::grid_extent(p.fleet.n_members), static_cast<unsigned>(p.n)),
             dim3(32, rows), 0, stream, p);
}

void gather_rows_cuda(const GatherRows<float>& p, Stream stream) {
  cu::launch_rows("gather_rows", p.fleet, std::int64_t{p.window} * p.batch, p.n_features, GatherRowsRow<float>{p}, stream);
}
#endif

}  // namespace idem
