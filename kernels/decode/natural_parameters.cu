#include <stdexcept>

#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/decode/decode.h"

namespace idem {

template <class Real>
struct NaturalTerm {
  Real natural, offset;
};

template <class Real>
HD NaturalTerm<Real> natural_term(Observation observation, OutputMap output, Real pre, Real inverse_variance) {
  if (observation == Observation::poisson) {
    if (output == OutputMap::exponential) return {pre, -stable::exp(pre)};
    if (output == OutputMap::sigmoid) return {-stable::softplus(-pre), -stable::sigmoid(pre)};
    return {stable::log_softplus(pre), -stable::softplus(pre)};
  }
  Real mean = pre;
  if (output == OutputMap::softplus) mean = stable::softplus(pre);
  if (output == OutputMap::sigmoid) mean = stable::sigmoid(pre);
  if (output == OutputMap::exponential) mean = stable::exp(pre);
  const Real natural = mean * inverse_variance;
  return {natural, Real(-0.5) * mean * natural};
}

template <class Real>
HD Real natural_inverse_variance(const NaturalParameters<Real>& p, std::int64_t member, std::int32_t output) {
  if (p.observation == Observation::gaussian_learned) return stable::exp(-p.log_variance.row(member, 0)[output]);
  return p.observation == Observation::gaussian_fixed ? Real(1) / p.gaussian_variance : Real(2);
}

template <class Real>
static void check_natural_parameters(const NaturalParameters<Real>& p) {
  if (p.observation == Observation::poisson && p.output == OutputMap::identity) {
    throw std::invalid_argument(
        "natural parameters: Poisson rates cannot come from the identity output: use softplus, exponential or sigmoid");
  }
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static void natural_terms(Observation observation, OutputMap output, const Real* pre,
                                           const Real* __restrict__ inverse_variance, std::int32_t n, Real* natural,
                                           Real* __restrict__ offset) {
  for (std::int32_t i = 0; i < n; ++i) {
    const NaturalTerm<Real> term = natural_term(observation, output, pre[i], inverse_variance[i]);
    natural[i] = term.natural;
    offset[i] = term.offset;
  }
}

template <class Real>
void natural_parameters_cpu(const NaturalParameters<Real>& p, ThreadPool& pool) {
  check_natural_parameters(p);
  constexpr std::int32_t kTile = 256;
  for_each_row_block(pool, p.fleet, p.n_rows, 32, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      double sum = 0;
      for (std::int32_t first = 0; first < p.n_outputs; first += kTile) {
        const std::int32_t width = p.n_outputs - first < kTile ? p.n_outputs - first : kTile;
        Real inverse_variance[kTile], offset[kTile];
        for (std::int32_t i = 0; i < width; ++i) inverse_variance[i] = natural_inverse_variance(p, member, first + i);
        natural_terms(p.observation, p.output, p.pre.row(member, row) + first, inverse_variance, width,
                      p.natural.row(member, row) + first, offset);
        for (std::int32_t i = 0; i < width; ++i) sum += static_cast<double>(offset[i]);
      }
      p.offset[member * p.offset_stride + row] = static_cast<Real>(sum);
    }
  });
}
IDEM_INSTANTIATE_CPU(natural_parameters, NaturalParameters)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One warp per row, outputs along its lanes.
__global__ void natural_parameters_kernel(NaturalParameters<float> p) {
  const std::int32_t lane = static_cast<std::int32_t>(threadIdx.x % 32),
                     warps = static_cast<std::int32_t>(blockDim.x / 32);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32; row < p.n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * warps) {
      const float* pre = p.pre.row(member, row);
      float* natural = p.natural.row(member, row);
      float sum = 0.0f;
      for (std::int32_t output = lane; output < p.n_outputs; output += 32) {
        const NaturalTerm<float> term =
            natural_term(p.observation, p.output, pre[output], natural_inverse_variance(p, member, output));
        natural[output] = term.natural;
        sum += term.offset;
      }
      sum = cu::warp_sum(sum);
      if (lane == 0) p.offset[member * p.offset_stride + row] = sum;
    }
  }
}

void natural_parameters_cuda(const NaturalParameters<float>& p, Stream stream) {
  check_natural_parameters(p);
  const int block = cu::threads(128), rows_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows + rows_per_block - 1) / rows_per_block, 0x7fffffffu),
                  cu::grid_extent(p.fleet.n_members));
  cu::launch("natural_parameters", natural_parameters_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
