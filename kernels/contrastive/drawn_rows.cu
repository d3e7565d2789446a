#include <stdexcept>
#include <string>

#include "kernels/common/cuda.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

template <class Real>
struct TakeDrawnRow {
  DrawnRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t draw, std::int32_t feature) const {
    p.drawn.row(member, draw)[feature] = p.source.row(member, p.place[member * p.n_draws + draw])[feature];
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void drawn_rows_forward_cpu(const DrawnRows<Real>& p, ThreadPool& pool) {
  const TakeDrawnRow<Real> take{p};
  for_each_row_block(pool, p.fleet, p.n_draws, 512, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t draw = begin; draw < end; ++draw) {
      for (std::int32_t feature = 0; feature < p.n_features; ++feature) take(member, draw, feature);
    }
  });
}
IDEM_INSTANTIATE_CPU(drawn_rows_forward, DrawnRows)

template <class Real>
void drawn_rows_backward_cpu(const DrawnRowsGradient<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, 1, 1, [&](std::int64_t member, std::int64_t, std::int64_t) {
    for (std::int64_t row = 0; row < p.n_rows; ++row) {
      for (std::int32_t feature = 0; feature < p.n_features; ++feature) p.d_source.row(member, row)[feature] = Real(0);
    }
    for (std::int64_t draw = 0; draw < p.n_draws; ++draw) {
      const Real* d_drawn = p.d_drawn.row(member, draw);
      Real* d_source = p.d_source.row(member, p.place[member * p.n_draws + draw]);
      for (std::int32_t feature = 0; feature < p.n_features; ++feature) d_source[feature] += d_drawn[feature];
    }
  });
}
IDEM_INSTANTIATE_CPU(drawn_rows_backward, DrawnRowsGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void drawn_rows_forward_cuda(const DrawnRows<float>& p, Stream stream) {
  cu::launch_rows("drawn_rows_forward", p.fleet, p.n_draws, p.n_features, TakeDrawnRow<float>{p}, stream);
}

// One warp per row looks through all draws for its own, so that nothing is written by two and the order is fixed. The lanes look at 32 draws at a time
// and then take the features of each one found.
__global__ void drawn_rows_backward_kernel(DrawnRowsGradient<float> p) {
  constexpr int kPerLane = kMostContrastiveFeatures / 32;
  const int lane = static_cast<int>(threadIdx.x % 32), n_warps = static_cast<int>(blockDim.x / 32);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const std::int32_t* place = p.place + member * p.n_draws;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * n_warps + threadIdx.x / 32; row < p.n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * n_warps) {
      float total[kPerLane] = {};
      for (std::int64_t begin = 0; begin < p.n_draws; begin += 32) {
        unsigned found = __ballot_sync(0xffffffffu, begin + lane < p.n_draws && place[begin + lane] == row);
        for (; found != 0; found &= found - 1) {
          const float* d_drawn = p.d_drawn.row(member, begin + __ffs(static_cast<int>(found)) - 1);
          for (int i = 0; i < kPerLane; ++i) {
            if (lane + 32 * i < p.n_features) total[i] += d_drawn[lane + 32 * i];
          }
        }
      }
      for (int i = 0; i < kPerLane; ++i) {
        if (lane + 32 * i < p.n_features) p.d_source.row(member, row)[lane + 32 * i] = total[i];
      }
    }
  }
}

void drawn_rows_backward_cuda(const DrawnRowsGradient<float>& p, Stream stream) {
  if (p.n_features > kMostContrastiveFeatures)
    throw std::invalid_argument("drawn_rows_backward: an embedding has at most " + std::to_string(kMostContrastiveFeatures) + " features, not " +
                                std::to_string(p.n_features));
  const int block = cu::threads(256), rows_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows + rows_per_block - 1) / rows_per_block, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch("drawn_rows_backward", drawn_rows_backward_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
