#include "kernels/common/cuda.h"
#include "kernels/common/philox.h"
#include "kernels/sampling/sampling.h"

namespace idem {

// Normals of elements 4 * block ... 4 * block + 3.
template <class Real>
HD void normals_of_block(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t block, Real out[4]) {
  const PhiloxWords words = random_words(seed, stream, step, block);
  normal_pair(words.w[0], words.w[1], out[0], out[1]);
  normal_pair(words.w[2], words.w[3], out[2], out[3]);
}

#if IDEM_COMPILES_CPU_TWINS
// In blocks of four elements; 16 of them fill a register of words.
constexpr std::int64_t kLanes = 16, kTaskBlocks = 64 * kLanes;

template <class Real>
IDEM_SIMD_CLONES static void draw_blocks(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t first_block,
                                         Real* __restrict__ out) {
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    normals_of_block(seed, stream, step, first_block + static_cast<std::uint32_t>(lane), out + 4 * lane);
  }
}

// Cuts the elements, not the rows, so that a task is full whatever the number of columns.
template <class Real>
void draw_normals_cpu(const DrawNormals<Real>& p, ThreadPool& pool) {
  const std::int64_t n_elements = p.n_rows * p.n_cols, n_blocks = (n_elements + 3) / 4;
  for_each_row_block(pool, p.fleet, n_blocks, kTaskBlocks, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    std::int64_t row = 4 * begin / p.n_cols, col = 4 * begin % p.n_cols;
    for (std::int64_t block = begin; block < end; block += kLanes) {
      Real normals[4 * kLanes];
      draw_blocks(p.seed[member], p.stream, p.step[member], static_cast<std::uint32_t>(block), normals);
      const std::int64_t n_left = n_elements - 4 * block, n = n_left < 4 * kLanes ? n_left : 4 * kLanes;
      for (std::int64_t i = 0; i < n;) {
        const std::int64_t run = n - i < p.n_cols - col ? n - i : p.n_cols - col;
        Real* out = p.out.row(member, row) + col;
        for (std::int64_t k = 0; k < run; ++k) out[k] = normals[i + k];
        i += run;
        col += run;
        if (col == p.n_cols) {
          col = 0;
          ++row;
        }
      }
    }
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
__global__ void draw_normals_kernel(SeveralDraws<float> all) {
  const DrawNormals<float>& p = all.of[blockIdx.z];
  const std::int64_t n_elements = p.n_rows * p.n_cols, n_blocks = (n_elements + 3) / 4;
  for (std::int64_t member = blockIdx.y; member < all.fleet.n_members; member += gridDim.y) {
    if (!all.fleet.is_active(member)) continue;
    for (std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; block < n_blocks;
         block += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
      float normals[4];
      normals_of_block(p.seed[member], p.stream, p.step[member], static_cast<std::uint32_t>(block), normals);
      std::int64_t row = 4 * block / p.n_cols;
      std::int32_t col = static_cast<std::int32_t>(4 * block - row * p.n_cols);
      for (int k = 0; k < 4; ++k) {
        if (4 * block + k < n_elements) p.out.row(member, row)[col] = normals[k];
        if (++col == p.n_cols) {
          col = 0;
          ++row;
        }
      }
    }
  }
}

void draw_several_cuda(const SeveralDraws<float>& p, Stream stream) {
  const int threads = cu::threads(256);
  std::int64_t most_blocks = 0;
  for (std::int32_t i = 0; i < p.n; ++i) {
    const std::int64_t n_blocks = (p.of[i].n_rows * p.of[i].n_cols + 3) / 4;
    most_blocks = n_blocks > most_blocks ? n_blocks : most_blocks;
  }
  cu::launch("draw_normals", draw_normals_kernel,
             dim3(cu::grid_extent((most_blocks + threads - 1) / threads), cu::grid_extent(p.fleet.n_members), static_cast<unsigned>(p.n)),
             dim3(static_cast<unsigned>(threads)), 0, stream, p);
}

void draw_normals_cuda(const DrawNormals<float>& p, Stream stream) {
  SeveralDraws<float> one{.fleet = p.fleet};
  one.add(p);
  draw_several_cuda(one, stream);
}
#endif

}  // namespace idem
