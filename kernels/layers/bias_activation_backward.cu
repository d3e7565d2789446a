#include "kernels/common/cuda.h"
#include "kernels/layers/activation.h"

namespace idem {

// What the slope is computed from; nothing for the identity.
template <Activation kind, class Real>
HD Rows<const Real> slope_source(const BiasActivationGradient<Real>& p) {
  return kSlopeNeedsPreActivation<kind> ? p.pre_activation : p.value;
}

#if IDEM_COMPILES_CPU_TWINS
// Columns are cut, not rows: a bias gradient then needs no second pass over other tasks' sums.
constexpr std::int32_t kColumns = 32;

template <Activation kind, class Real>
HD void backward_row(Real* __restrict__ d_value, const Real* __restrict__ kept, Real slope, std::int32_t width, Real* __restrict__ sum) {
  for (std::int32_t column = 0; column < width; ++column) {
    Real d = d_value[column];
    if constexpr (kind != Activation::identity) {
      d *= activation_slope<kind>(kept[column], slope);
      d_value[column] = d;
    }
    sum[column] += d;
  }
}

template <Activation kind, class Real>
IDEM_SIMD_CLONES static void backward_columns(const BiasActivationGradient<Real>& p, std::int64_t member, std::int64_t first, std::int32_t width) {
  const Rows<const Real> source = slope_source<kind>(p);
  const Real slope = p.slope;
  Real total[kColumns] = {};
  for (std::int64_t block = 0; block < p.n_rows; block += kBiasRowBlock) {
    Real sum[kColumns] = {};
    for (std::int64_t row = block; row < block + kBiasRowBlock && row < p.n_rows; ++row) {
      Real* d_value = p.d_value.row(member, row) + first;
      const Real* kept = kind == Activation::identity ? nullptr : source.row(member, row) + first;
      if (width == kColumns) {  // a constant: no remainder, sums in registers
        backward_row<kind>(d_value, kept, slope, kColumns, sum);
      } else {
        backward_row<kind>(d_value, kept, slope, width, sum);
      }
    }
    for (std::int32_t column = 0; column < kColumns; ++column) total[column] += sum[column];
  }
  if (!p.d_bias) return;
  Real* d_bias = p.d_bias.row(member, 0) + first;
  for (std::int32_t column = 0; column < width; ++column) d_bias[column] = p.accumulate ? d_bias[column] + total[column] : total[column];
}

template <class Real>
void bias_activation_backward_cpu(const BiasActivationGradient<Real>& p, ThreadPool& pool) {
  void (*columns)(const BiasActivationGradient<Real>&, std::int64_t, std::int64_t, std::int32_t) = nullptr;
  with_activation(p.activation, [&](auto kind) { columns = backward_columns<decltype(kind)::value, Real>; });
  for_each_row_block(pool, p.fleet, p.n_features, kColumns, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    columns(p, member, begin, static_cast<std::int32_t>(end - begin));
  });
}
IDEM_INSTANTIATE_CPU(bias_activation_backward, BiasActivationGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One block owns 32 columns of a member. Each warp sums blocks of rows; warp 0 adds their sums in ascending order, so that the order is the
// CPU's for any block size.
template <Activation kind>
__global__ void bias_activation_backward_kernel(BiasActivationGradient<float> p) {
  CU_SHARED(float, sums, [32][32]);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32, n_warps = static_cast<int>(blockDim.x) / 32;
  const Rows<const float> source = slope_source<kind>(p);
  const std::int32_t feature = static_cast<std::int32_t>(blockIdx.x) * 32 + lane;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    float total = 0.0f;
    for (std::int64_t begin = 0; begin < p.n_rows; begin += n_warps * kBiasRowBlock) {
      float sum = 0.0f;
      for (std::int64_t i = 0; i < kBiasRowBlock; ++i) {
        const std::int64_t row = begin + warp * kBiasRowBlock + i;
        if (row >= p.n_rows || feature >= p.n_features) continue;
        float* d_value = p.d_value.row(member, row) + feature;
        float d = *d_value;
        if constexpr (kind != Activation::identity) {
          d *= activation_slope<kind>(source.row(member, row)[feature], p.slope);
          *d_value = d;
        }
        sum += d;
      }
      sums[warp][lane] = sum;
      __syncthreads();
      if (warp == 0) {
        for (int other = 0; other < n_warps; ++other) total += sums[other][lane];
      }
      __syncthreads();
    }
    if (warp == 0 && p.d_bias && feature < p.n_features) {
      float* d_bias = p.d_bias.row(member, 0) + feature;
      *d_bias = p.accumulate ? *d_bias + total : total;
    }
  }
}

void bias_activation_backward_cuda(const BiasActivationGradient<float>& p, Stream stream) {
  with_activation(p.activation, [&](auto kind) {
    const dim3 grid(static_cast<unsigned>((p.n_features + 31) / 32), cu::grid_extent(p.fleet.n_members));
    cu::launch("bias_activation_backward", bias_activation_backward_kernel<decltype(kind)::value>, grid, static_cast<unsigned>(cu::threads(512)), 0,
               stream, p);
  });
}
#endif

}  // namespace idem
