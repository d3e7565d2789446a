#include <limits>

#include "kernels/common/cuda.h"
#include "kernels/common/fixed_order_sum.h"
#include "kernels/common/stable_math.h"
#include "kernels/decode/decode.h"

namespace idem {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// From the largest exponent, the exponents' own sum, and the sum of what they are of the largest. Where the largest is
// infinite there are no differences; where no exponent is above -inf their sum tells whether all are -inf or one is
// NaN.
template <class Real>
HD Real log_mean(Real largest, Real total, Real sum, std::int32_t n_draws) {
  if (largest == -static_cast<Real>(kInfinity)) return total;
  return largest == static_cast<Real>(kInfinity) ? largest : largest + stable::log(sum / static_cast<Real>(n_draws));
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static Real log_mean_of_group(const Real* __restrict__ score, const Real* __restrict__ offset,
                                               std::int32_t n_draws) {
  constexpr std::int32_t kTile = 256;
  Real largest = -static_cast<Real>(kInfinity), total = 0, sum = 0;
  for (std::int32_t draw = 0; draw < n_draws; ++draw) {
    const Real exponent = score[draw] + offset[draw];
    total += exponent;
    largest = exponent > largest ? exponent : largest;
  }
  for (std::int32_t first = 0; first < n_draws; first += kTile) {
    const std::int32_t width = n_draws - first < kTile ? n_draws - first : kTile;
    Real share[kTile];
    for (std::int32_t i = 0; i < width; ++i) share[i] = stable::exp(score[first + i] + offset[first + i] - largest);
    sum += fixed_order_sum(share, width);
  }
  return log_mean(largest, total, sum, n_draws);
}

template <class Real>
void log_mean_exp_cpu(const LogMeanExp<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 32, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int32_t group = 0; group < p.n_groups; ++group) {
        const std::int64_t first = std::int64_t{group} * p.n_draws;
        p.value.row(member, row)[group] =
            log_mean_of_group(p.score.row(member, row) + first, p.offset + member * p.offset_stride + first, p.n_draws);
      }
    }
  });
}
IDEM_INSTANTIATE_CPU(log_mean_exp, LogMeanExp)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One warp per value, draws along its lanes.
__global__ void log_mean_exp_kernel(LogMeanExp<float> p) {
  const std::int32_t lane = static_cast<std::int32_t>(threadIdx.x % 32),
                     warps = static_cast<std::int32_t>(blockDim.x / 32);
  const std::int64_t n_values = p.n_rows * p.n_groups;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t value = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32; value < n_values;
         value += static_cast<std::int64_t>(gridDim.x) * warps) {
      const std::int64_t row = value / p.n_groups, group = value % p.n_groups, first = group * p.n_draws;
      const float *score = p.score.row(member, row) + first, *offset = p.offset + member * p.offset_stride + first;
      float largest = -kInfinity, total = 0.0f, sum = 0.0f;
      for (std::int32_t draw = lane; draw < p.n_draws; draw += 32) {
        const float exponent = score[draw] + offset[draw];
        total += exponent;
        largest = exponent > largest ? exponent : largest;
      }
      largest = cu::warp_max(largest);
      total = cu::warp_sum(total);
      for (std::int32_t draw = lane; draw < p.n_draws; draw += 32)
        sum += stable::exp(score[draw] + offset[draw] - largest);
      sum = cu::warp_sum(sum);
      if (lane == 0) p.value.row(member, row)[group] = log_mean(largest, total, sum, p.n_draws);
    }
  }
}

void log_mean_exp_cuda(const LogMeanExp<float>& p, Stream stream) {
  const int block = cu::threads(128), values_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows * p.n_groups + values_per_block - 1) / values_per_block, 0x7fffffffu),
                  cu::grid_extent(p.fleet.n_members));
  cu::launch("log_mean_exp", log_mean_exp_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
