#include <atomic>
#include <cmath>

#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

// What all parameters of a member share in this step.
template <class Real>
struct AdamMember {
  Real beta1, beta2, epsilon, gradient_scale, coupled_decay, kept_weight, step_size, inverse_root_bias2;
  bool steps;

  HD AdamMember(const Adam<Real>& p, std::int64_t member) : beta1(p.beta1), beta2(p.beta2), epsilon(p.epsilon), coupled_decay(p.coupled_decay) {
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
IDEM_SIMD_CLONES static void adam_parameters(const AdamMember<Real>& shared, std::int64_t n, const Real* __restrict__ gradient,
                                             Real* __restrict__ parameters, Real* __restrict__ moment1, Real* __restrict__ moment2) {
  const AdamMember<Real> member = shared;
  for (std::int64_t i = 0; i < n; ++i) member.update(gradient[i], parameters[i], moment1[i], moment2[i]);
}

template <class Real>
void adam_cpu(const Adam<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_parameters, 8192, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    const AdamMember<Real> shared(p, member);
    const std::int64_t at = member * p.member_stride + begin;
    const bool finite = shared.steps && (p.norm || all_finite(end - begin, p.gradient + at));  // a norm answers for all gradients
    if (finite) return adam_parameters(shared, end - begin, p.gradient + at, p.parameters + at, p.moment1 + at, p.moment2 + at);
    for (std::int64_t i = at; shared.steps && i < at + end - begin; ++i)
      if (is_finite(p.gradient[i])) shared.update(p.gradient[i], p.parameters[i], p.moment1[i], p.moment2[i]);
    if (p.nonfinite) std::atomic_ref(p.nonfinite[member]).store(1, std::memory_order_relaxed);  // of a member there are many tasks
  });
}
IDEM_INSTANTIATE_CPU(adam, Adam)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// A thread takes kAtOnce parameters, all of whose values are under way before the first is used; what the member shares costs it about as much as
// one of them.
constexpr int kAtOnce = 4;

__global__ void adam_kernel(Adam<float> p) {
  const std::int64_t apart = blockDim.x;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const AdamMember<float> shared(p, member);
    const std::int64_t base = member * p.member_stride;
    bool finite = shared.steps;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kAtOnce * apart + threadIdx.x; shared.steps && first < p.n_parameters;
         first += static_cast<std::int64_t>(gridDim.x) * kAtOnce * apart) {
      float gradient[kAtOnce], parameter[kAtOnce], moment1[kAtOnce], moment2[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) {
        const std::int64_t at = base + first + i * apart;
        const bool exists = first + i * apart < p.n_parameters;
        gradient[i] = exists ? p.gradient[at] : 0.0f;
        parameter[i] = exists ? p.parameters[at] : 0.0f;
        moment1[i] = exists ? p.moment1[at] : 0.0f;
        moment2[i] = exists ? p.moment2[at] : 0.0f;
      }
      for (int i = 0; i < kAtOnce; ++i) {
        const std::int64_t at = base + first + i * apart;
        if (first + i * apart >= p.n_parameters) continue;
        if (!is_finite(gradient[i])) {
          finite = false;
          continue;
        }
        shared.update(gradient[i], parameter[i], moment1[i], moment2[i]);
        p.parameters[at] = parameter[i];
        p.moment1[at] = moment1[i];
        p.moment2[at] = moment2[i];
      }
    }
    if (!finite && p.nonfinite) atomicExch(&p.nonfinite[member], 1u);
  }
}

void adam_cuda(const Adam<float>& p, Stream stream) {
  const int threads = cu::threads(256), per_block = kAtOnce * threads;
  const unsigned blocks = cu::grid_extent((p.n_parameters + per_block - 1) / per_block);
  cu::launch("adam", adam_kernel, dim3(blocks, cu::grid_extent(p.fleet.n_members)), static_cast<unsigned>(threads), 0, stream, p);
}
#endif

}  // namespace idem
