#include <atomic>
#include <cmath>

#include "kernels/common/cuda.h"
#include "kernels/common/four_floats.h"
#include "kernels/common/stable_math.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

// What all parameters of a member share in this step.
template <class Real>
struct AdamMember {
  Real beta1, beta2, epsilon, gradient_scale, coupled_decay, kept_weight, step_size, inverse_root_bias2;
  bool steps;

  HD AdamMember(const Adam<Real>& p, std::int64_t member)
      : beta1(p.beta1), beta2(p.beta2), epsilon(p.epsilon), coupled_decay(p.coupled_decay) {
    const Real norm = p.norm ? p.norm[member] : Real(0), learning_rate = p.learning_rate[member];
    steps = norm - norm == Real(0);  // neither infinite nor NaN
    gradient_scale = p.clip_norm > Real(0) && norm > p.clip_norm ? p.clip_norm / norm : Real(1);
    kept_weight = Real(1) - learning_rate * p.decoupled_decay;
    const Real step = static_cast<Real>(p.step[member]) + Real(1);
    step_size = learning_rate / one_minus_power(beta1, step);
    inverse_root_bias2 = Real(1) / stable::sqrt(one_minus_power(beta2, step));
  }

  HD void update(Real gradient, Real& parameter, Real& moment1, Real& moment2) const {
    const Real g = gradient * gradient_scale + coupled_decay * parameter;
    moment1 = beta1 * moment1 + (Real(1) - beta1) * g;
    moment2 = beta2 * moment2 + (Real(1) - beta2) * g * g;
    parameter = kept_weight * parameter - step_size * moment1 / (stable::sqrt(moment2) * inverse_root_bias2 + epsilon);
  }

 private:
  // 1 - beta^n without the cancellation of beta near 1.
  static HD Real one_minus_power(Real beta, Real n) {
    const Real exponent = n * stable::log(beta);
#if defined(__CUDA_ARCH__)
    return -::expm1(exponent);
#else
    return -std::expm1(exponent);
#endif
  }
};

template <class Real>
HD bool is_finite(Real gradient) {
  return gradient - gradient == Real(0);
}

#if IDEM_COMPILES_CPU_TWINS
// A question before the loop, as one inside it makes that several times slower.
template <class Real>
IDEM_SIMD_CLONES static bool all_finite(std::int64_t n, const Real* __restrict__ gradient) {
  std::uint32_t n_nonfinite = 0;
  for (std::int64_t i = 0; i < n; ++i) n_nonfinite += is_finite(gradient[i]) ? 0 : 1;
  return n_nonfinite == 0;
}

template <class Real>
IDEM_SIMD_CLONES static void adam_parameters(const AdamMember<Real>& shared, std::int64_t n,
                                             const Real* __restrict__ gradient, Real* __restrict__ parameters,
                                             Real* __restrict__ moment1, Real* __restrict__ moment2) {
  const AdamMember<Real> member = shared;
  for (std::int64_t i = 0; i < n; ++i) member.update(gradient[i], parameters[i], moment1[i], moment2[i]);
}

template <class Real>
void adam_cpu(const Adam<Real>& p, ThreadPool& pool) {
  for_each_row_block(
      pool, p.fleet, p.n_parameters, 8192, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
        const AdamMember<Real> shared(p, member);
        const std::int64_t at = member * p.member_stride + begin;
        const bool finite =
            shared.steps && (p.norm || all_finite(end - begin, p.gradient + at));  // a norm answers for all gradients
        if (finite)
          return adam_parameters(shared, end - begin, p.gradient + at, p.parameters + at, p.moment1 + at,
                                 p.moment2 + at);
        for (std::int64_t i = at; shared.steps && i < at + end - begin; ++i)
          if (is_finite(p.gradient[i])) shared.update(p.gradient[i], p.parameters[i], p.moment1[i], p.moment2[i]);
        if (p.nonfinite)
          std::atomic_ref(p.nonfinite[member]).store(1, std::memory_order_relaxed);  // of a member there are many tasks
      });
}
IDEM_INSTANTIATE_CPU(adam, Adam)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// A thread takes four neighbouring parameters; whether one is stepped is asked of its gradient.
struct AdamOfFour {
  const AdamMember<float>& member;
  bool& finite;

  __device__ __forceinline__ void update(float gradient, float& parameter, float& moment1, float& moment2) const {
    if (is_finite(gradient)) {
      member.update(gradient, parameter, moment1, moment2);
    } else {
      finite = false;
    }
  }
};

__global__ void __launch_bounds__(256, 4) adam_kernel(Adam<float> p) {
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const AdamMember<float> shared(p, member);
    bool finite = shared.steps;
    const AdamOfFour of_four{shared, finite};
    for (std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
         shared.steps && first < p.n_parameters; first += static_cast<std::int64_t>(gridDim.x) * blockDim.x * 4) {
      const std::int64_t at = member * p.member_stride + first;
      const std::int32_t n = p.n_parameters - first < 4 ? static_cast<std::int32_t>(p.n_parameters - first) : 4;
      const float4 gradient = FourFeatures::load(p.gradient + at, n);
      float4 parameter = FourFeatures::load(p.parameters + at, n);
      float4 moment1 = FourFeatures::load(p.moment1 + at, n), moment2 = FourFeatures::load(p.moment2 + at, n);
      of_four.update(gradient.x, parameter.x, moment1.x, moment2.x);
      of_four.update(gradient.y, parameter.y, moment1.y, moment2.y);
      of_four.update(gradient.z, parameter.z, moment1.z, moment2.z);
      of_four.update(gradient.w, parameter.w, moment1.w, moment2.w);
      FourFeatures::store(p.parameters + at, n, parameter);
      FourFeatures::store(p.moment1 + at, n, moment1);
      FourFeatures::store(p.moment2 + at, n, moment2);
    }
    if (!finite && p.nonfinite) atomicExch(&p.nonfinite[member], 1u);
  }
}

void adam_cuda(const Adam<float>& p, Stream stream) {
  const int threads = cu::threads(256), per_block = 4 * threads;
  const unsigned blocks = cu::grid_extent((p.n_parameters + per_block - 1) / per_block);
  cu::launch("adam", adam_kernel, dim3(blocks, cu::grid_extent(p.fleet.n_members)), static_cast<unsigned>(threads), 0,
             stream, p);
}
#endif

}  // namespace idem
