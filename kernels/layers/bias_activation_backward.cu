#include "kernels/common/four_floats.h"
#include "kernels/layers/activation.h"

namespace idem {

// What the slope is computed from; nothing for the identity.
template <Activation kind, class Real>
HD Rows<const Real> slope_source(const BiasActivationGradient<Real>& p) {
  return kSlopeNeedsPreActivation<kind> ? p.pre_activation : p.value;
}

#if IDEM_COMPILES_CPU_TWINS
// Columns are cut, not rows: a bias gradient then needs no second pass over other tasks' sums.
constexpr std::int32_t kColumnsOfBlock = 32;

template <Activation kind, class Real>
HD void backward_row(Real* __restrict__ d_value, const Real* __restrict__ kept, Real slope, std::int32_t width,
                     Real* __restrict__ sum) {
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
IDEM_SIMD_CLONES static void backward_columns(const BiasActivationGradient<Real>& p, std::int64_t member,
                                              std::int64_t first, std::int32_t width) {
  const Rows<const Real> source = slope_source<kind>(p);
  const Real slope = p.slope;
  Real total[kColumnsOfBlock] = {};
  for (std::int64_t block = 0; block < p.n_rows; block += kBiasRowBlock) {
    Real sum[kColumnsOfBlock] = {};
    for (std::int64_t row = block; row < block + kBiasRowBlock && row < p.n_rows; ++row) {
      Real* d_value = p.d_value.row(member, row) + first;
      const Real* kept = kind == Activation::identity ? nullptr : source.row(member, row) + first;
      if (width == kColumnsOfBlock) {  // a constant: no remainder, sums in registers
        backward_row<kind>(d_value, kept, slope, kColumnsOfBlock, sum);
      } else {
        backward_row<kind>(d_value, kept, slope, width, sum);
      }
    }
    for (std::int32_t column = 0; column < kColumnsOfBlock; ++column) total[column] += sum[column];
  }
  if (!p.d_bias) return;
  Real* d_bias = p.d_bias.row(member, 0) + first;
  for (std::int32_t column = 0; column < width; ++column)
    d_bias[column] = p.accumulate ? d_bias[column] + total[column] : total[column];
}

template <class Real>
void bias_activation_backward_cpu(const BiasActivationGradient<Real>& p, ThreadPool& pool) {
  void (*columns)(const BiasActivationGradient<Real>&, std::int64_t, std::int64_t, std::int32_t) = nullptr;
  with_activation(p.activation, [&](auto kind) { columns = backward_columns<decltype(kind)::value, Real>; });
  for_each_row_block(pool, p.fleet, p.n_features, kColumnsOfBlock,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       columns(p, member, begin, static_cast<std::int32_t>(end - begin));
                     });
}
IDEM_INSTANTIATE_CPU(bias_activation_backward, BiasActivationGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
constexpr int kBlockQuads = 2, kMostGroups = 128;

// One block owns 8 columns of a member, as many as memory hands out at once, by twos of four. Each pair of threads sums
// a block of rows, all of whose values are under way before the first is used; then the pairs' sums are added in
// ascending order, so that the order is the CPU's for any block size.
template <Activation kind>
__global__ void __launch_bounds__(2 * kMostGroups) bias_activation_backward_kernel(BiasActivationGradient<float> p) {
  CU_SHARED(float4, sums, [kMostGroups][kBlockQuads]);
  const int quad = static_cast<int>(threadIdx.x) % kBlockQuads, group = static_cast<int>(threadIdx.x) / kBlockQuads;
  const int n_groups = static_cast<int>(blockDim.x) / kBlockQuads;
  const Rows<const float> source = slope_source<kind>(p);
  const std::int32_t feature = 4 * (static_cast<std::int32_t>(blockIdx.x) * kBlockQuads + quad),
                     n_left = p.n_features - feature;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    float4 total = {};
    for (std::int64_t begin = 0; begin < p.n_rows; begin += n_groups * kBiasRowBlock) {
      const std::int64_t first = begin + group * kBiasRowBlock, left = p.n_rows - first;
      const int n = n_left <= 0 || left < 0 ? 0 : static_cast<int>(left < kBiasRowBlock ? left : kBiasRowBlock);
      float* d_value = p.d_value.row(member, first) + feature;
      float4 d[kBiasRowBlock] = {}, kept[kBiasRowBlock] = {}, sum = {};
      UNROLLED for (int i = 0; i < kBiasRowBlock; ++i) {
        if (i >= n) continue;
        d[i] = FourFeatures::load(d_value + i * p.d_value.row_stride, n_left);
        if (kind != Activation::identity) kept[i] = FourFeatures::load(source.row(member, first + i) + feature, n_left);
      }
      UNROLLED for (int i = 0; i < kBiasRowBlock; ++i) {
        if (i >= n) continue;
        if constexpr (kind != Activation::identity) {
          d[i] = product(d[i], each(kept[i], [&](float value) { return activation_slope<kind>(value, p.slope); }));
          FourFeatures::store(d_value + i * p.d_value.row_stride, n_left, d[i]);
        }
        sum = plus(sum, d[i]);
      }
      sums[group][quad] = sum;
      __syncthreads();
      if (group == 0) {
        for (int other = 0; other < n_groups; ++other) total = plus(total, sums[other][quad]);
      }
      __syncthreads();
    }
    if (group == 0 && p.d_bias && n_left > 0) {
      float* d_bias = p.d_bias.row(member, 0) + feature;
      FourFeatures::store(d_bias, n_left, p.accumulate ? plus(FourFeatures::load(d_bias, n_left), total) : total);
    }
  }
}

void bias_activation_backward_cuda(const BiasActivationGradient<float>& p, Stream stream) {
  with_activation(p.activation, [&](auto kind) {
    const std::int64_t n_groups = (p.n_rows + kBiasRowBlock - 1) / kBiasRowBlock;
    const std::int64_t n_threads = padded(kBlockQuads * (n_groups < 1             ? 1
                                                         : n_groups < kMostGroups ? n_groups
                                                                                  : kMostGroups),
                                          32);
    const dim3 grid(static_cast<unsigned>((p.n_features + 4 * kBlockQuads - 1) / (4 * kBlockQuads)),
                    cu::grid_extent(p.fleet.n_members));
    cu::launch("bias_activation_backward", bias_activation_backward_kernel<decltype(kind)::value>, grid,
               static_cast<unsigned>(cu::threads(static_cast<int>(n_threads))), 0, stream, p);
  });
}
#endif

}  // namespace idem
