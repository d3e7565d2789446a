#include <stdexcept>

#include "kernels/common/four_floats.h"
#include "kernels/common/fixed_order_sum.h"
#include "kernels/common/stable_math.h"
#include "kernels/objective/objective.h"

namespace idem {

template <class Real>
struct ReconstructionTerm {
  Real loss, d_pre, d_log_variance;
};

// softplus, where the rate and its logarithm are both needed: f - x log f and (1 - x / f) sigmoid(pre) from one
// exponential. Below -15 by the series in e^pre, since the rate itself becomes 0.
template <class Real>
HD ReconstructionTerm<Real> poisson_softplus_term(Real pre, Real count) {
  const Real e = stable::exp(-stable::magnitude(pre));
  const bool far_below = pre < Real(-15);
  const Real rate = stable::larger(pre, Real(0)) + stable::log1p_of_unit(e);
  const Real log_rate =
      far_below ? pre - e * (Real(0.5) - Real(5.0 / 24) * e) : stable::log_of_normal(far_below ? Real(1) : rate);
  const Real near = (pre < Real(0) ? e : Real(1)) * (rate - count) / ((Real(1) + e) * rate);
  const Real far = e * (Real(1) - e * (Real(1) - e)) - count * (Real(1) - e * (Real(0.5) - Real(5.0 / 12) * e));
  return {rate - count * log_rate, far_below ? far : near, Real(0)};
}

// One neuron of one row. observation and output are constants in the CPU's float rows, whose choice the compiler
// removes, and uniform on the GPU. inverse_variance, half_log_variance: of the Gaussians, 1 / v and log(v) / 2 with
// what is constant. The squared error is a Gaussian of variance 1/2 without its logarithm.
template <class Real>
HD ReconstructionTerm<Real> reconstruction_term(Observation observation, OutputMap output, Real pre, Real target,
                                                Real inverse_variance, Real half_log_variance) {
  if (observation == Observation::poisson) {
    if (output == OutputMap::softplus) return poisson_softplus_term(pre, target);
    if (output == OutputMap::exponential) {
      const Real rate = stable::exp(pre);
      return {rate - target * pre, rate - target, Real(0)};
    }
    const Real rate = stable::sigmoid(pre);
    return {rate + target * stable::softplus(-pre), (rate - target) * stable::sigmoid(-pre), Real(0)};
  }
  Real mean = pre, slope = Real(1);
  if (output == OutputMap::softplus) {
    mean = stable::softplus(pre);
    slope = stable::sigmoid(pre);
  } else if (output == OutputMap::sigmoid) {
    mean = stable::sigmoid(pre);
    slope = mean * stable::sigmoid(-pre);
  } else if (output == OutputMap::exponential) {
    mean = stable::exp(pre);
    slope = mean;
  }
  const Real residual = mean - target, scaled = residual * inverse_variance,
             half_square = Real(0.5) * residual * scaled;
  return {half_square + half_log_variance, scaled * slope, Real(0.5) - half_square};
}

template <class Real>
HD Real reconstruction_inverse_variance(const Reconstruction<Real>& p, Real log_variance) {
  if (p.observation == Observation::gaussian_learned) return stable::exp(-log_variance);
  return p.observation == Observation::gaussian_fixed ? Real(1) / p.gaussian_variance : Real(2);
}
template <class Real>
HD Real reconstruction_half_log_variance(const Reconstruction<Real>& p, Real log_variance) {
  const Real constant = p.keep_constants ? Real(0.91893853320467274) : Real(0);  // log(2 pi) / 2
  if (p.observation == Observation::gaussian_learned) return Real(0.5) * log_variance + constant;
  return p.observation == Observation::gaussian_fixed && p.keep_constants
             ? Real(0.5) * stable::log(p.gaussian_variance) + constant
             : Real(0);
}

// Of a row's R and its gradient.
template <class Real>
HD Real reconstruction_scale(const Reconstruction<Real>& p) {
  return p.mean_over_neurons ? p.weight / static_cast<Real>(p.n_neurons) : p.weight;
}

template <class Real>
static void check_reconstruction(const Reconstruction<Real>& p) {
  if (p.observation == Observation::poisson && p.output == OutputMap::identity) {
    throw std::invalid_argument(
        "reconstruction: Poisson rates cannot come from the identity output: use softplus, exponential or sigmoid");
  }
}

#if IDEM_COMPILES_CPU_TWINS
constexpr std::int32_t kNeuronTile = 256;

template <class Real>
IDEM_SIMD_CLONES static Real sum_of_log_factorials(const Real* counts, std::int32_t n) {
  Real value[kNeuronTile], sum = 0;
  for (std::int32_t first = 0; first < n; first += kNeuronTile) {
    const std::int32_t width = n - first < kNeuronTile ? n - first : kNeuronTile;
    for (std::int32_t i = 0; i < width; ++i) value[i] = stable::log_factorial(counts[first + i]);
    sum += fixed_order_sum(value, width);
  }
  return sum;
}

// Tiles go through local arrays, since d_pre may alias pre. Returns the row's sum of terms.
template <class Real>
HD Real reconstruction_row(Observation observation, OutputMap output, const Reconstruction<Real>& p, const Real* pre,
                           const Real* target, const Real* log_variance, Real* d_pre, Real* d_log_variance) {
  const std::int32_t n = p.n_neurons;
  const Real scale = reconstruction_scale(p);
  const Real fixed_inverse_variance = reconstruction_inverse_variance(p, Real(0)),
             half_log_offset = reconstruction_half_log_variance(p, Real(0));
  Real value[kNeuronTile], slope[kNeuronTile], slope_log_variance[kNeuronTile], sum = 0;
  for (std::int32_t first = 0; first < n; first += kNeuronTile) {
    const std::int32_t width = n - first < kNeuronTile ? n - first : kNeuronTile;
    for (std::int32_t i = 0; i < width; ++i) {
      Real inverse_variance = fixed_inverse_variance, half_log_variance = half_log_offset;
      if (observation == Observation::gaussian_learned) {
        inverse_variance = stable::exp(-log_variance[first + i]);
        half_log_variance += Real(0.5) * log_variance[first + i];
      }
      const ReconstructionTerm<Real> term = reconstruction_term(observation, output, pre[first + i], target[first + i],
                                                                inverse_variance, half_log_variance);
      value[i] = term.loss;
      slope[i] = scale * term.d_pre;
      slope_log_variance[i] = scale * term.d_log_variance;
    }
    sum += fixed_order_sum(value, width);
    if (d_pre) {
      for (std::int32_t i = 0; i < width; ++i) d_pre[first + i] = slope[i];
    }
    if (d_log_variance) {
      for (std::int32_t i = 0; i < width; ++i) d_log_variance[first + i] = slope_log_variance[i];
    }
  }
  return sum;
}

// float rows are built once for each choice, so that their loops have no branch; double rows choose as they go.
template <class Real>
using ReconstructionRow = Real (*)(const Reconstruction<Real>&, const Real*, const Real*, const Real*, Real*, Real*);

template <Observation observation, OutputMap output>
IDEM_SIMD_CLONES static float chosen_row(const Reconstruction<float>& p, const float* pre, const float* target,
                                         const float* log_variance, float* d_pre, float* d_log_variance) {
  return reconstruction_row(observation, output, p, pre, target, log_variance, d_pre, d_log_variance);
}

template <Observation observation>
static ReconstructionRow<float> row_by_output(OutputMap output) {
  switch (output) {
    case OutputMap::softplus: return chosen_row<observation, OutputMap::softplus>;
    case OutputMap::sigmoid: return chosen_row<observation, OutputMap::sigmoid>;
    case OutputMap::exponential: return chosen_row<observation, OutputMap::exponential>;
    case OutputMap::identity: break;
  }
  return chosen_row<observation, OutputMap::identity>;
}

static ReconstructionRow<float> row_of(const Reconstruction<float>& p) {
  if (p.observation == Observation::poisson) return row_by_output<Observation::poisson>(p.output);
  if (p.observation == Observation::gaussian_learned) return row_by_output<Observation::gaussian_learned>(p.output);
  return row_by_output<Observation::gaussian_fixed>(p.output);
}
static ReconstructionRow<double> row_of(const Reconstruction<double>&) {
  return [](const Reconstruction<double>& p, const double* pre, const double* target, const double* log_variance,
            double* d_pre, double* d_log_variance) {
    return reconstruction_row(p.observation, p.output, p, pre, target, log_variance, d_pre, d_log_variance);
  };
}

template <class Real>
void reconstruction_cpu(const Reconstruction<Real>& p, ThreadPool& pool) {
  check_reconstruction(p);
  const ReconstructionRow<Real> row_function = row_of(p);
  const bool learned = p.observation == Observation::gaussian_learned,
             has_constants = p.observation == Observation::poisson && p.keep_constants;
  const Real scale = reconstruction_scale(p);
  // A target row goes with all rows that read it, so that its constants are summed once.
  for_each_row_block(pool, p.fleet, p.n_rows < p.n_target_rows ? p.n_rows : p.n_target_rows, 16,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t target_row = begin; target_row < end; ++target_row) {
                         const Real* target = p.target.row(member, target_row);
                         const Real constants = has_constants ? sum_of_log_factorials(target, p.n_neurons) : Real(0);
                         for (std::int64_t row = target_row; row < p.n_rows; row += p.n_target_rows) {
                           const Real sum = row_function(
                               p, p.pre.row(member, row), target, learned ? p.log_variance.row(member, 0) : nullptr,
                               p.d_pre ? p.d_pre.row(member, row) : nullptr,
                               learned && p.d_log_variance_rows ? p.d_log_variance_rows.row(member, row) : nullptr);
                           p.loss[member * p.loss_stride + row] = scale * (sum + constants);
                         }
                       }
                     });
}
IDEM_INSTANTIATE_CPU(reconstruction, Reconstruction)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One warp per row, four neurons for each of its lanes.
__global__ void reconstruction_kernel(Reconstruction<float> p) {
  const int lane = static_cast<int>(threadIdx.x % 32), warps = static_cast<int>(blockDim.x / 32);
  const float scale = reconstruction_scale(p);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const bool learned = p.observation == Observation::gaussian_learned;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32; row < p.n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * warps) {
      const float *pre = p.pre.row(member, row), *target = p.target.row(member, row % p.n_target_rows);
      float sum = 0.0f;
      for (std::int32_t neuron = 4 * lane; neuron < p.n_neurons; neuron += 4 * 32) {
        const std::int32_t n = p.n_neurons - neuron;
        float4 d_pre = FourFeatures::load(pre + neuron, n), d_log_variance = {};
        float4 rest = FourFeatures::load(target + neuron, n);
        if (learned) d_log_variance = FourFeatures::load(p.log_variance.row(member, 0) + neuron, n);
        // Each value makes room for its gradient: a body that is long is there once.
        UNROLLED_BY(1) for (std::int32_t i = 0; i < 4; ++i) {
          const ReconstructionTerm<float> term = reconstruction_term(
              p.observation, p.output, d_pre.x, rest.x, reconstruction_inverse_variance(p, d_log_variance.x),
              reconstruction_half_log_variance(p, d_log_variance.x));
          if (i < n) sum += term.loss;
          if (i < n && p.observation == Observation::poisson && p.keep_constants) sum += stable::log_factorial(rest.x);
          d_pre = make_float4(d_pre.y, d_pre.z, d_pre.w, scale * term.d_pre);
          d_log_variance =
              make_float4(d_log_variance.y, d_log_variance.z, d_log_variance.w, scale * term.d_log_variance);
          rest = make_float4(rest.y, rest.z, rest.w, 0.0f);
        }
        if (p.d_pre) FourFeatures::store(p.d_pre.row(member, row) + neuron, n, d_pre);
        if (learned && p.d_log_variance_rows)
          FourFeatures::store(p.d_log_variance_rows.row(member, row) + neuron, n, d_log_variance);
      }
      sum = cu::warp_sum(sum);
      if (lane == 0) p.loss[member * p.loss_stride + row] = scale * sum;
    }
  }
}

void reconstruction_cuda(const Reconstruction<float>& p, Stream stream) {
  check_reconstruction(p);
  const int block = cu::threads(128), rows_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows + rows_per_block - 1) / rows_per_block, 0x7fffffffu),
                  cu::grid_extent(p.fleet.n_members));
  cu::launch("reconstruction", reconstruction_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
