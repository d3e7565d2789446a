#include <algorithm>

#include "kernels/input/input.h"
#include "kernels/sampling/normals.h"

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

#if IDEM_COMPILES_CPU_TWINS
// Rows of a task; with noise a multiple of four, whose elements are whole blocks of draws.
constexpr std::int64_t kTaskRows = 64;

template <class Real>
IDEM_SIMD_CLONES static void add_scaled(const Real* __restrict__ normals, Real scale, std::int64_t n,
                                        Real* __restrict__ out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] += scale * normals[i];
}

template <class Real>
static void add_noise(const GatherRows<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  const std::int64_t n_elements = end * p.n_features;
  const Real scale = p.noise.scale[member];
  for_each_drawn<Real>(p.noise.seed[member], RandomStream::input_noise, p.noise.step[member], begin * p.n_features / 4,
                       n_quads(n_elements), n_elements, p.n_features,
                       [&](std::int64_t row, std::int64_t feature, const Real* normals, std::int64_t n) {
                         add_scaled(normals, scale, n, p.out.row(member, row) + feature);
                       });
}

template <class Real>
void gather_rows_cpu(const GatherRows<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, std::int64_t{p.window} * p.batch, kTaskRows,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t row = begin; row < end; ++row)
                         std::copy_n(source_of(p, member, row), p.n_features, place_of(p, member, row));
                       if (p.noise.seed) add_noise(p, member, begin, end);
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
struct GatherRowsRow {
  GatherRows<float> p;
  HD bool takes_four() const {
    const bool is_aligned =
        (reinterpret_cast<std::uintptr_t>(p.source) | reinterpret_cast<std::uintptr_t>(p.out.data)) % sizeof(float4) ==
        0;
    return is_aligned && (p.source_stride | p.out.row_stride | p.out.member_stride) % 4 == 0 &&
           (!p.side_by_side || p.n_features % 4 == 0);
  }
  template <class Features>
  __device__ __forceinline__ void at(std::int64_t member, std::int64_t row, std::int32_t feature,
                                     std::int32_t n) const {
    auto values = Features::load(source_of(p, member, row) + feature, n);
    if (p.noise.seed) {
      const float scale = p.noise.scale[member];
      const auto normals = normals_from<Features>(p.noise.seed[member], RandomStream::input_noise, p.noise.step[member],
                                                  row * p.n_features + feature);
      values = plus(values, each(normals, [&](float normal) { return scale * normal; }));
    }
    Features::store(place_of(p, member, row) + feature, n, values);
  }
};

// As many blocks as the largest has work for.
__global__ void gather_several_kernel(SeveralGathers<float> p) {
  const GatherRowsRow body{p.of[blockIdx.z]};
  const std::int64_t n_rows = std::int64_t{body.p.window} * body.p.batch;
  const std::int32_t n_features = body.p.n_features;
  if (body.takes_four()) {
    cu::for_each_of_grid(p.fleet, n_rows, n_quads(n_features),
                         cu::FeaturesOf<FourFeatures, GatherRowsRow>{body, n_features});
  } else {
    cu::for_each_of_grid(p.fleet, n_rows, n_features,
                         cu::FeaturesOf<OneFeature<float>, GatherRowsRow>{body, n_features});
  }
}

void gather_several_cuda(const SeveralGathers<float>& p, Stream stream) {
  std::int64_t most_rows = 0;
  std::int32_t most_features = 0;
  for (std::int32_t i = 0; i < p.n; ++i) {
    const std::int64_t n_rows = std::int64_t{p.of[i].window} * p.of[i].batch;
    most_rows = n_rows > most_rows ? n_rows : most_rows;
    most_features = p.of[i].n_features > most_features ? p.of[i].n_features : most_features;
  }
  const cu::RowsShape shape(p.fleet, most_rows, n_quads(most_features));
  cu::launch("gather_several", gather_several_kernel, dim3(shape.grid.x, shape.grid.y, static_cast<unsigned>(p.n)),
             shape.block, 0, stream, p);
}

void gather_rows_cuda(const GatherRows<float>& p, Stream stream) {
  cu::launch_features("gather_rows", p.fleet, std::int64_t{p.window} * p.batch, p.n_features, GatherRowsRow{p}, stream);
}
#endif

}  // namespace idem
