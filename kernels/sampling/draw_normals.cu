#include "kernels/sampling/normals.h"
#include "kernels/sampling/sampling.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static void draw_lanes(std::uint64_t seed, RandomStream stream, std::uint32_t step,
                                        std::uint32_t first_block, Real* __restrict__ out) {
  for (std::int64_t lane = 0; lane < kDrawLanes; ++lane) {
    normals_of_block(seed, stream, step, first_block + static_cast<std::uint32_t>(lane), out + 4 * lane);
  }
}
template <class Real>
void draw_blocks(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t first_block, Real* out) {
  draw_lanes(seed, stream, step, first_block, out);
}
template void draw_blocks(std::uint64_t, RandomStream, std::uint32_t, std::uint32_t, float*);
template void draw_blocks(std::uint64_t, RandomStream, std::uint32_t, std::uint32_t, double*);

// Cuts the elements, not the rows, so that a task is full whatever the number of columns.
template <class Real>
void draw_normals_cpu(const DrawNormals<Real>& p, ThreadPool& pool) {
  const std::int64_t n_elements = p.n_rows * p.n_cols, n_blocks = n_quads(n_elements);
  for_each_row_block(
      pool, p.fleet, n_blocks, 64 * kDrawLanes, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
        for_each_drawn<Real>(p.seed[member], p.stream, p.step[member], begin, end, n_elements, p.n_cols,
                             [&](std::int64_t row, std::int64_t col, const Real* normals, std::int64_t n) {
                               Real* out = p.out.row(member, row) + col;
                               for (std::int64_t i = 0; i < n; ++i) out[i] = normals[i];
                             });
      });
}
template <class Real>
void draw_several_cpu(const SeveralDraws<Real>& p, ThreadPool& pool) {
  for (std::int32_t i = 0; i < p.n; ++i) draw_normals_cpu(p.of[i], pool);
}
IDEM_INSTANTIATE_CPU(draw_normals, DrawNormals)
IDEM_INSTANTIATE_CPU(draw_several, SeveralDraws)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Four features of a row by each thread, which are four elements of one block where rows are multiples of four.
struct DrawNormalsRow {
  DrawNormals<float> p;
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t col, std::int32_t n) const {
    Features::store(p.out.row(member, row) + col, n,
                    normals_from<Features>(p.seed[member], p.stream, p.step[member], row * p.n_cols + col));
  }
};

__global__ void draw_normals_kernel(SeveralDraws<float> all) {
  const cu::FeaturesOf<FourFeatures, DrawNormalsRow> body{{all.of[blockIdx.z]}, all.of[blockIdx.z].n_cols};
  cu::for_each_of_grid(all.fleet, body.body.p.n_rows, n_quads(body.n_features), body);
}

void draw_several_cuda(const SeveralDraws<float>& p, Stream stream) {
  std::int64_t most_rows = 0;
  std::int32_t most_cols = 0;
  for (std::int32_t i = 0; i < p.n; ++i) {
    most_rows = p.of[i].n_rows > most_rows ? p.of[i].n_rows : most_rows;
    most_cols = p.of[i].n_cols > most_cols ? p.of[i].n_cols : most_cols;
  }
  const cu::RowsShape shape(p.fleet, most_rows, n_quads(most_cols));
  cu::launch("draw_normals", draw_normals_kernel, dim3(shape.grid.x, shape.grid.y, static_cast<unsigned>(p.n)),
             shape.block, 0, stream, p);
}

void draw_normals_cuda(const DrawNormals<float>& p, Stream stream) {
  SeveralDraws<float> one{.fleet = p.fleet};
  one.add(p);
  draw_several_cuda(one, stream);
}
#endif

}  // namespace idem
