#include <cmath>

#include "kernels/common/four_floats.h"
#include "kernels/common/stable_math.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static double sum_of_squares(const Real* __restrict__ values, std::int64_t n) {
  constexpr std::int64_t kLanes =
      16;  // as many sums run side by side, so that the order is fixed and the adds do not wait for each other
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += static_cast<double>(values[i + lane]) * static_cast<double>(values[i + lane]);
  }
  for (std::int64_t lane = 0; i + lane < n; ++lane)
    sums[lane] += static_cast<double>(values[i + lane]) * static_cast<double>(values[i + lane]);
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

template <class Real>
void gradient_norm_cpu(const GradientNorm<Real>& p, ThreadPool& pool) {
  const std::int64_t n_blocks = gradient_norm_blocks(p.n_parameters);
  for_each_row_block(
      pool, p.fleet, p.n_parameters, kNormBlock, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
        const double squares = sum_of_squares(p.gradient + member * p.member_stride + begin, end - begin);
        p.partial[member * gradient_norm_partials(p.n_parameters) + begin / kNormBlock] =
            static_cast<Real>(std::sqrt(squares));
      });
  for (std::int64_t member = 0; member < p.fleet.n_members; ++member) {
    if (p.fleet.is_active(member))
      p.norm[member] = static_cast<Real>(
          std::sqrt(sum_of_squares(p.partial + member * gradient_norm_partials(p.n_parameters), n_blocks)));
  }
}
IDEM_INSTANTIATE_CPU(gradient_norm, GradientNorm)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Norm of n values, which lie padded to four, by the whole thread block; the result is thread 0's.
static __device__ float block_norm(const float* values, std::int64_t n) {
  CU_SHARED(double, sums, [32]);
  double sum = 0;
  const auto square = [](float value) { return static_cast<double>(value) * static_cast<double>(value); };
  for (std::int64_t i = 4 * threadIdx.x; i < n; i += 4 * blockDim.x) {
    const float4 four = FourFeatures::load(values + i, static_cast<std::int32_t>(n - i));
    sum += square(four.x) + square(four.y) + square(four.z) + square(four.w);
  }
  sum = cu::warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0) {
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += sums[warp];
  }
  __syncthreads();
  return static_cast<float>(stable::sqrt(total));
}

__global__ void gradient_norm_blocks_kernel(GradientNorm<float> p, std::int64_t n_blocks) {
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t block = blockIdx.x; block < n_blocks; block += gridDim.x) {
      const std::int64_t begin = block * kNormBlock, left = p.n_parameters - begin;
      const float norm =
          block_norm(p.gradient + member * p.member_stride + begin, left < kNormBlock ? left : kNormBlock);
      if (threadIdx.x == 0) p.partial[member * gradient_norm_partials(p.n_parameters) + block] = norm;
    }
  }
}
__global__ void gradient_norm_kernel(GradientNorm<float> p, std::int64_t n_blocks) {
  for (std::int64_t member = blockIdx.x; member < p.fleet.n_members; member += gridDim.x) {
    if (!p.fleet.is_active(member)) continue;
    const float norm = block_norm(p.partial + member * gradient_norm_partials(p.n_parameters), n_blocks);
    if (threadIdx.x == 0) p.norm[member] = norm;
  }
}

void gradient_norm_cuda(const GradientNorm<float>& p, Stream stream) {
  const std::int64_t n_blocks = gradient_norm_blocks(p.n_parameters);
  const unsigned members = cu::grid_extent(p.fleet.n_members);
  cu::launch("gradient_norm_blocks", gradient_norm_blocks_kernel, dim3(cu::grid_extent(n_blocks), members),
             static_cast<unsigned>(cu::threads(512)), 0, stream, p, n_blocks);
  cu::launch("gradient_norm", gradient_norm_kernel, members, static_cast<unsigned>(cu::threads(64)), 0, stream, p,
             n_blocks);
}
#endif

}  // namespace idem
